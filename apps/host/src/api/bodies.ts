/** The schemas of what creating calls take. */
import { fileSpecSchema, resourcesSchema, type FileSpec, type Resources, type TerminalSize } from '@muster/core'
import { z } from 'zod'
import { maxKeepMs } from '../engine/runs/keep.ts'
import { named } from './schemas.ts'

/** No system takes a NUL in an argument, a variable or a path, and none half of a pair of UTF-16. */
const free = z
  .string()
  .regex(/^[^\0]*$/, 'holds a NUL character')
  .refine((given) => given.isWellFormed(), 'holds half of a character, which no bytes can be made of')
/** As long as the longest path of a system; no name of an image is longer. */
const text = free.min(1).max(4096)
/** Of a pool, a provider, a token. */
export const name: z.ZodString = z.string().regex(/^[a-z0-9-]{1,40}$/, 'a name has 1 to 40 characters of a-z, 0-9 and -')
/** A duration that somebody asks for. 30 days: longer ones are a slip of units. */
export const asked: z.ZodInt = z.int().min(1).max(2_592_000_000)
/** The rule of a name: zod says no more than that it is wrong. */
function forKey(rule: string): (issue: { code?: string }) => string | undefined {
  return ({ code }) => (code === 'invalid_key' ? rule : undefined)
}

/** For finding things again: they are kept with each record, and shown with it in every list. */
const LABELS = 64
const LABEL_BYTES = 16_384
const labels = z
  .record(z.string().min(1).max(63), z.string().max(255), { error: forKey('the name of a label has 1 to 63 characters') })
  .refine((given) => Object.keys(given).length <= LABELS, `more than ${LABELS} labels`)
  .refine(
    (given) => Buffer.byteLength(Object.entries(given).flat().join('')) <= LABEL_BYTES,
    `more than ${LABEL_BYTES} bytes together`,
  )
  .meta({ maxProperties: LABELS })
const env = z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), free, {
  error: forKey('the name of a variable has A-Z, a-z, 0-9 and _, and does not begin with a digit'),
})
/** No system starts a program with more; longer lists travel as files. */
const command = z.array(free).min(1).max(10_000).describe('Program and arguments; no shell is put around them.')

/** All text of one request, and its files, together; larger things travel as inputs, which are not held in memory. */
export const INLINE_BYTES = 262_144

interface Wishes {
  image?: string
  profile?: string
  env?: Record<string, string>
  resources?: Resources
  os?: 'linux' | 'windows' | 'darwin'
  arch?: 'amd64' | 'arm64'
  labels?: Record<string, string>
  mode?: 'command' | 'hold'
}

const wishes = {
  image: text.exactOptional(),
  profile: text.exactOptional(),
  env: env.exactOptional(),
  resources: resourcesSchema.exactOptional(),
  os: z.enum(['linux', 'windows', 'darwin']).exactOptional(),
  arch: z.enum(['amd64', 'arm64']).exactOptional(),
  labels: labels.exactOptional(),
  mode: z.enum(['command', 'hold']).describe('The way of working it needs. Default: the pool decides.').exactOptional(),
}

export interface LeaseBody extends Wishes {
  pool: string
  ttlMs?: number
  queueTimeoutMs?: number
}
export const leaseBodySchema: z.ZodType<LeaseBody> = named(
  'LeaseRequest',
  z.strictObject({
    pool: name,
    ...wishes,
    ttlMs: asked.describe('It ends this long after it was got or renewed. Default 5 min.').exactOptional(),
    queueTimeoutMs: asked.describe("Longest wait for a worker. Default: the pool's.").exactOptional(),
  }),
)

interface CommandBody {
  command: string[]
  env?: Record<string, string>
  workdir?: string
  stdin?: boolean
  timeoutMs?: number
  detachMs?: number
  labels?: Record<string, string>
}
const commandParts = {
  command,
  env: env.exactOptional(),
  workdir: text.exactOptional(),
  stdin: z.boolean().describe('Will standard input be sent? Default false: the command reads end-of-file.').exactOptional(),
  timeoutMs: asked.describe('From the start of the command. Default: as long as its worker lives.').exactOptional(),
  detachMs: asked.describe('Ends it when no client has followed it for this long. Default: it runs on.').exactOptional(),
  labels: labels.exactOptional(),
}

const SAME_NAME = 'two have the same name'
/** By its name each is stored, and one would take the other's place. */
function differInName(given: readonly { name: string }[]): boolean {
  return new Set(given.map((one) => one.name)).size === given.length
}

export interface RunBody extends CommandBody, Wishes {
  pool?: string
  lease?: string
  files?: FileSpec[]
  queueTimeoutMs?: number
  inputs?: { name: string; path: string }[]
  outputs?: { name: string; path: string; optional?: boolean }[]
  keepFailedMs?: number
}
export const runBodySchema: z.ZodType<RunBody> = named(
  'RunRequest',
  z
    .strictObject({
      pool: name.exactOptional(),
      lease: z.string().max(100).describe('Instead of a pool: a lease you hold.').exactOptional(),
      ...wishes,
      ...commandParts,
      files: z.array(fileSpecSchema).max(100).exactOptional(),
      queueTimeoutMs: asked.exactOptional(),
      inputs: z
        .array(z.strictObject({ name, path: text }))
        .max(20)
        .refine(differInName, SAME_NAME)
        .describe('Tars that are uploaded next, each unpacked under its path. The run waits for all of them.')
        .exactOptional(),
      outputs: z
        .array(z.strictObject({ name, path: text, optional: z.boolean().exactOptional() }))
        .max(20)
        .refine(differInName, SAME_NAME)
        .describe(
          'Paths that are collected after the command, also when it failed. Without one that is not `optional` nothing has passed.',
        )
        .exactOptional(),
      keepFailedMs: z
        .int()
        .min(0)
        .max(maxKeepMs)
        .describe(
          "When the run fails its worker is kept so long, at most for its lifetime, and commands still go in. The worker holds then, whatever its pool prefers. 0: not at all. Default: the pool's.",
        )
        .exactOptional(),
    })
    .refine((body) => (body.pool === undefined) !== (body.lease === undefined), 'give exactly one of pool and lease')
    .refine(
      (body) => body.lease === undefined || body.keepFailedMs === undefined,
      'a lease keeps its worker for as long as it is renewed: leave keepFailedMs out',
    ),
)

export interface ExecBody extends CommandBody {
  user?: string
}
export const execBodySchema: z.ZodType<ExecBody> = named(
  'ExecRequest',
  z.strictObject({ ...commandParts, user: text.exactOptional() }),
)

/** As the kernel has it (tty_ioctl(4), struct winsize). */
const extent = z.int().min(1).max(65_535)
const sizeParts = { columns: extent, rows: extent }
export const terminalSizeSchema: z.ZodType<TerminalSize> = z.strictObject(sizeParts)

/** The first frame of a terminal. */
export interface TerminalBody extends TerminalSize, Pick<ExecBody, 'command' | 'env' | 'workdir' | 'user' | 'stdin'> {}
export const terminalBodySchema: z.ZodType<TerminalBody> = z.strictObject({
  command,
  env: env.exactOptional(),
  workdir: text.exactOptional(),
  user: text.exactOptional(),
  stdin: z.boolean().exactOptional(),
  ...sizeParts,
})
