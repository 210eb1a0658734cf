/** From a launch spec to what the fake vendor is asked for, and its refusals. Pure. */
import { createHash } from 'node:crypto'
import { isAbsolute, join, normalize } from 'node:path'
import * as z from 'zod'
import { ProviderError } from '../../errors.ts'
import type { WorkerCapabilities } from '../../plugin.ts'
import type { Handle, WorkerTarget } from '../../provider.ts'
import { fieldsOf, type LaunchSpec, type Resources } from '../../spec.ts'
import type { WorkerRecord } from './vendor.ts'

/** `settings` of a launch spec. */
export interface FakeSettings {
  /** Shown inside the worker, as any other field. */
  colour?: 'red' | 'green'
  /** With `work: agent`: the program that is the agent, and its arguments. */
  agent?: string[]
}

export const fakeSettingsSchema: z.ZodType<FakeSettings> = z.strictObject({
  colour: z.enum(['red', 'green']).exactOptional(),
  agent: z.array(z.string()).min(1).exactOptional(),
})

/** Images and profiles that are not there, so that a caller can see the refusal. */
export const absentImage = 'fake/absent'
const fakeProfiles: readonly string[] = ['small', 'large']

/** Where an agent finds its ticket, below the worker's root; `$MUSTER_AGENT_TICKET` names it, as `$MUSTER_AGENT_URL` has the address. */
export const ticketFile = '/agent.ticket'

/** Memory is given in whole mebibytes. */
const memoryStep = 1024 * 1024

/** Throws what a provider owes for a spec it cannot honour: `unsupported` or `invalid-spec`, with the path, before any effect. */
export function checkSpec(spec: LaunchSpec, capabilities: WorkerCapabilities): void {
  if (!capabilities.work.includes(spec.work.mode)) throw refused('unsupported', 'work.mode', `no work mode ${spec.work.mode}`)
  for (const path of fieldsOf(spec)) {
    if (!capabilities.fields.includes(path)) throw refused('unsupported', path, `${path} is not supported`)
  }
  if (spec.os !== undefined && spec.os !== 'linux') throw refused('unsupported', 'os', `no machines with ${spec.os}`)
  if (spec.image === undefined && capabilities.image === 'required') throw refused('invalid-spec', 'image', 'an image is needed')
  if (spec.image === absentImage) throw refused('invalid-spec', 'image', `no image ${spec.image}`)
  if (spec.profile !== undefined && !fakeProfiles.includes(spec.profile))
    throw refused('invalid-spec', 'profile', `no profile ${spec.profile}; there are ${fakeProfiles.join(', ')}`)
  spec.mounts?.forEach((mount, index) => {
    if (mount.readOnly === true) throw refused('unsupported', `mounts.${index}.readOnly`, 'mounts are writable here')
  })
  const bytes = Object.entries(spec.env ?? {}).reduce((sum, [name, value]) => sum + Buffer.byteLength(name + value), 0)
  if (bytes > capabilities.envBytes)
    throw refused('invalid-spec', 'env', `env of ${bytes} bytes; at most ${capabilities.envBytes}`)
  const settings = fakeSettingsSchema.safeParse(spec.settings ?? {})
  if (!settings.success) {
    const issue = settings.error.issues[0]
    throw refused('invalid-spec', ['settings', ...(issue?.path ?? [])].join('.'), issue?.message ?? 'bad settings')
  }
  const { agent } = settings.data
  if (spec.work.mode === 'agent' && agent === undefined)
    throw refused('invalid-spec', 'settings.agent', 'it does not say which program is the agent')
  if (spec.work.mode !== 'agent' && agent !== undefined)
    throw refused('unsupported', 'settings.agent', `a worker with work ${spec.work.mode} runs no agent`)
}

export function refused(
  code: 'unsupported' | 'invalid-spec' | 'not-found' | 'conflict',
  path: string,
  message: string,
): ProviderError {
  return new ProviderError(code, message, { effect: 'none', path })
}

export function toRecord(spec: LaunchSpec, where: { parts: readonly string[]; now: number }): WorkerRecord {
  const { id, tags, image, profile, os, arch, network, security, labels, settings } = spec
  const digest = digestOf(spec)
  const record: WorkerRecord = {
    id,
    tags,
    digest,
    env: spec.env ?? {},
    workdir: spec.workdir ?? 'work',
    files: spec.files ?? [],
    mounts: spec.mounts ?? [],
    services: spec.services ?? [],
    machine: { image, profile, os, arch, network, security, labels, settings, resources: grantedResources(spec.resources) },
    part: where.parts[Number.parseInt(createHash('sha256').update(id).digest('hex').slice(0, 8), 16) % where.parts.length] ?? 'a',
    createdAt: where.now,
  }
  if (spec.work.mode === 'command') record.command = withTransfers(spec.work)
  if (spec.work.mode === 'agent') {
    const { agent } = settings as FakeSettings
    if (agent !== undefined) record.command = agent
    record.agent = { url: spec.work.url }
    record.files = [...record.files, { path: ticketFile, base64: Buffer.from(spec.work.ticket.$secret).toString('base64') }]
  }
  if (spec.readiness !== undefined) record.readiness = spec.readiness
  if (spec.lifetimeMs !== undefined) record.lifetimeMs = spec.lifetimeMs
  return record
}

export function grantedResources(asked: Resources | undefined): Resources | undefined {
  if (asked?.memoryBytes === undefined) return asked
  return { ...asked, memoryBytes: Math.ceil(asked.memoryBytes / memoryStep) * memoryStep }
}

/** The same for equal values, whatever the order of their keys. */
export function digestOf(value: unknown): string {
  const text = JSON.stringify(value, (_key, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  )
  return createHash('sha256').update(text).digest('hex')
}

/** A path inside the worker as one on this machine: absolute ones begin at the worker's own root. */
export function inside(home: string, record: Pick<WorkerRecord, 'workdir'>, path: string): string {
  const below = isAbsolute(path) ? path : join('/', record.workdir, path)
  return join(home, 'root', normalize(join('/', below)))
}

export function handleOf(record: Pick<WorkerRecord, 'id' | 'part'>): Handle {
  return { v: 2, data: { worker: record.id, part: record.part } }
}

const handleSchemas: Record<number, z.ZodType<string>> = {
  1: z.string(),
  2: z.strictObject({ worker: z.string(), part: z.string() }).transform((data) => data.worker),
}

/** A handle of any version that was ever written must name the target. Without one the id is enough. */
export function checkTarget(target: WorkerTarget): void {
  if (target.handle === undefined) return
  const read = handleSchemas[target.handle.v]?.safeParse(target.handle.data)
  if (read?.success !== true || read.data !== target.id) throw refused('invalid-spec', 'handle', `not a handle of ${target.id}`)
}

// Fetches inputs before the command and sends outputs after it, inside the worker: the plugin may be dead by then.
const TRANSFER = `
import { createHash } from 'node:crypto'
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
const [way, text] = process.argv.slice(1)
const here = (path) => path.startsWith('/') ? join(process.env.MUSTER_FAKE_ROOT, path) : path
for (const ref of JSON.parse(text)) {
  const path = here(ref.path)
  if (way === 'in') {
    const tar = Buffer.from(await (await fetch(ref.url)).arrayBuffer())
    if (createHash('sha256').update(tar).digest('hex') !== ref.sha256) throw new Error('input ' + ref.name + ' has another sha256')
    mkdirSync(path, { recursive: true })
    execFileSync('tar', ['-xf', '-', '--no-same-owner', '-C', path], { input: tar })
  } else {
    const body = execFileSync('tar', ['-cf', '-', '-C', dirname(path), basename(path)], { maxBuffer: ref.maxBytes })
    const answer = await fetch(ref.url, { method: 'PUT', body })
    if (!answer.ok) throw new Error('output ' + ref.name + ': ' + answer.status)
  }
}
`

function withTransfers(work: LaunchSpec['work'] & { mode: 'command' }): string[] {
  const { inputs, outputs, command } = work
  if (inputs === undefined && outputs === undefined) return command
  const script = `node=$1 code=$2 in=$3 out=$4; shift 4
"$node" --input-type=module -e "$code" in "$in" || exit 125
"$@"; exit=$?
"$node" --input-type=module -e "$code" out "$out" || exit 125
exit $exit`
  const refs = [JSON.stringify(inputs ?? []), JSON.stringify(outputs ?? [])]
  return ['/bin/sh', '-c', script, 'work', process.execPath, TRANSFER, ...refs, ...command]
}
