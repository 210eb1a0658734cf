/** Animals as packages, and without a cage. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { connectPlugin } from '@muster/core'
import { tempFolder } from '@muster/test/systems/temp'
import { plainManifest } from '../manifest.ts'
import { packEntries } from '../pack.ts'
import { bundled } from '../package.ts'
import type { Fault } from './faults.ts'

export function bundledAnimal(): Promise<string> {
  return bundled(join(import.meta.dirname, 'animal.ts'))
}

/** Its package: path → content. */
function filesOf(name: Fault, code: string, version = '1.0.0'): Record<string, string> {
  const manifest = plainManifest(`@zoo/${name}`, { version, secrets: ['token'] })
  const pkg = { name: manifest.name, version: manifest.version, type: 'module', muster: 'muster-plugin.json' }
  return { 'package.json': JSON.stringify(pkg), 'muster-plugin.json': JSON.stringify(manifest), 'plugin.mjs': code }
}

/** Its tarball. */
export function packedAnimal(name: Fault, code: string, version?: string): Promise<Buffer> {
  return packEntries(Object.entries(filesOf(name, code, version)).map(([path, text]) => [`package/${path}`, text]))
}

/**
 * Starts it as a plain child, as a host that trusts its plugins would, beside a data folder like the host's; resolves with what became of
 * what it tried.
 */
export async function letLoose(name: Fault): Promise<string> {
  await using temp = await tempFolder('zoo')
  const [folder, data] = [join(temp.path, 'package'), join(temp.path, 'data')]
  const dataDir = join(data, 'providers/p')
  await mkdir(folder)
  await mkdir(dataDir, { recursive: true })
  for (const [path, text] of Object.entries(filesOf(name, await bundledAnimal()))) await writeFile(join(folder, path), text)
  const database = new DatabaseSync(join(data, 'muster.db'))
  database.exec('create table kept (secret text)')
  database.close()
  const child = spawn(process.execPath, [join(folder, 'plugin.mjs')], {
    cwd: dataDir,
    stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
  })
  const ended = once(child, 'exit')
  try {
    const { worker, configure } = connectPlugin(child.stdio[3] as Duplex, { inFlight: 8, secrets: ['token'] })
    const life = { deadlineMs: 60_000 }
    await configure({ contract: '1.0', config: {}, context: { provider: 'p', owner: 'me', dataDir } }, life)
    const trace = `00-${'0'.repeat(31)}1-${'0'.repeat(15)}1-00`
    const call = {
      ...life,
      idempotencyKey: 'k',
      epoch: 1,
      attempt: 1,
      traceparent: trace,
      secret: () => Promise.reject(new Error('none')),
    }
    return (await worker.probe(call)).facts?.['outcome'] ?? 'nothing'
  } finally {
    child.kill('SIGKILL')
    await ended
  }
}
