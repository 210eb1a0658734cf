/** Animals as packages, and without a cage. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import { join } from 'node:path'
import type { Duplex, Readable } from 'node:stream'
import { connectPlugin } from '@muster/core'
import { tempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { plainManifest } from '../manifest.ts'
import { packEntries } from '../pack.ts'
import { bundled } from '../package.ts'
import type { Fate, Fault } from './faults.ts'
import type { Fence } from './fence.ts'
import { plainHost, type PlainHost } from './plain.ts'

export function bundledAnimal(): Promise<string> {
  return bundled(join(import.meta.dirname, 'animal.ts'))
}

/** Its package: path → content. */
function filesOf(name: Fault, code: string, version = '1.0.0'): Record<string, string> {
  const { permissions } = plainManifest('')
  const manifest = plainManifest(`@zoo/${name}`, {
    version,
    secrets: ['token'],
    permissions: { ...permissions, childProcess: name === 'forks-without-end' },
  })
  const pkg = { name: manifest.name, version: manifest.version, type: 'module', muster: 'muster-plugin.json' }
  return { 'package.json': JSON.stringify(pkg), 'muster-plugin.json': JSON.stringify(manifest), 'plugin.mjs': code }
}

/** Its tarball. */
export function packedAnimal(name: Fault, code: string, version?: string): Promise<Buffer> {
  return packEntries(Object.entries(filesOf(name, code, version)).map(([path, text]) => [`package/${path}`, text]))
}

/**
 * Starts it as a plain child of a host without defence, beside a data folder like the host's, until the harm is there: what became of what it
 * tried, or of who asked it. `done: …`: it could · `fell: …`, `did: …`: the host · `ended: …`: its process, with whatever shares it ·
 * `error: …`: its answer · `kept: …`, `took: …`: what it sent · `waits`: still, when a call with a deadline has been given up.
 */
export async function letLoose(
  name: Fault,
  { harm: { shows: harm, hasty = false }, code, fence }: { harm: NonNullable<Fate['harm']>; code: string; fence: Fence },
): Promise<string> {
  await using temp = await tempFolder('zoo')
  const [folder, data] = [join(temp.path, 'package'), join(temp.path, 'data')]
  const dataDir = join(data, 'providers/p')
  await mkdir(folder)
  await mkdir(dataDir, { recursive: true })
  for (const [path, text] of Object.entries(filesOf(name, code))) await writeFile(join(folder, path), text)
  const database = new DatabaseSync(join(data, 'muster.db'))
  database.exec('create table kept (secret text)')
  database.close()
  await using one = await started({ folder, dataDir }, fence)
  const told: string[] = []
  let [bytes, late] = [0, false]
  one.stdout.on('data', (chunk: Buffer) => (bytes += chunk.length))
  const host = plainHost(one.wire, { hasty })
  const tell = (promise: Promise<string>): void => void promise.then((text) => told.push(text))
  tell(outcomeOf(host, dataDir))
  tell(host.fell)
  tell(one.ended.then((how) => `ended: ${how}`))
  if (harm.source.startsWith('^waits')) void givenUp({ folder, dataDir }, fence).then(() => (late = true))
  const still = (): string[] => (late && told.length === 0 ? [`waits for ${host.awaited()} bytes`] : [])
  const seen = (): string[] => [...told, ...still(), `kept: ${bytes} bytes`, `took: ${host.taken()} messages`]
  const all = await waitFor(`the harm of ${name}`, seen, { until: (texts) => texts.some((text) => harm.test(text)) })
  return all.find((text) => harm.test(text)) ?? ''
}

interface Loose extends AsyncDisposable {
  wire: Duplex
  stdout: Readable
  ended: Promise<string>
}

async function started({ folder, dataDir }: { folder: string; dataDir: string }, fence: Fence): Promise<Loose> {
  const stdio = ['ignore', 'pipe', 'ignore', 'pipe'] as const
  const child = spawn(process.execPath, [join(folder, 'plugin.mjs')], { cwd: dataDir, stdio: [...stdio] })
  const ended = once(child, 'exit').then(([exit, signal]) => String(signal ?? exit))
  await fence.take(child.pid ?? -1)
  return {
    wire: child.stdio[3] as Duplex,
    stdout: child.stdout as Readable,
    ended,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

const traceparent = `00-${'0'.repeat(31)}1-${'0'.repeat(15)}1-00`
const query = { tags: { 'muster-owner': 'me', 'muster-provider': 'p' }, limit: 1 }
const call = { idempotencyKey: 'k', epoch: 1, attempt: 1, traceparent }
const configuration = (
  dataDir: string,
): { contract: string; config: object; context: { provider: string; owner: string; dataDir: string } } => ({
  contract: '1.0',
  config: {},
  context: { provider: 'p', owner: 'me', dataDir },
})

async function outcomeOf(host: PlainHost, dataDir: string): Promise<string> {
  try {
    await host.ask('configure', configuration(dataDir))
    // As good as none.
    const asked = { call: { ...call, deadlineMs: 2 ** 31 - 1 } }
    const probe = (await host.ask('worker.probe', asked)) as { facts?: Record<string, string> }
    const { polluted } = {} as { polluted?: string }
    if (polluted !== undefined) return `spoilt: every object has ${polluted}`
    // Whether it is still there.
    await host.ask('worker.list', { ...asked, query })
    return probe.facts?.['outcome'] ?? 'nothing'
  } catch (error) {
    return `error: ${(error as Error).message}`
  } finally {
    delete (Object.prototype as { polluted?: string }).polluted
  }
}

/** Resolves when another one of the same kind has had its deadline, or has ended. */
async function givenUp(place: { folder: string; dataDir: string }, fence: Fence): Promise<void> {
  await using one = await started(place, fence)
  const { worker, configure } = connectPlugin(one.wire, { inFlight: 8, secrets: ['token'] })
  const life = { deadlineMs: 3000 }
  try {
    await configure(configuration(place.dataDir), life)
    await worker.probe({ ...life, ...call, secret: async () => ({ value: 'x', version: '1' }) })
    await worker.list(query, { ...life, ...call })
  } catch {
    // As it should be.
  }
}
