/** The configuration of one provider that uses this plugin (`providers.<name>.config` in `muster.yaml`). */
import { ProviderError } from '@muster/core'
import * as z from 'zod'

/** Workers are processes of the machine the host runs on. */
export interface LocalConfig {
  transport: 'local'
  /** Absolute folder of the workers. Default: under root `/var/lib/muster/<provider>-<digest>`, else the provider's data folder. */
  root?: string
  /** PATH of the workers. Default: that of the host, without folders that the workers' users cannot reach. */
  path?: string
  /** Most workers at once. Default: under root as many as there are users, else no limit. */
  slots?: number
  /** `off`: make no cgroup, and refuse cpu, memory and pids. Default `auto`: where one is writable. */
  cgroup?: 'auto' | 'off'
  /** The user ids that workers get under root, one each; `off`: workers run as the host's own user, without isolation. */
  users?: { from: number; to: number } | 'off'
  /** Most bytes of each of stdout and stderr of a command that are kept on the disk, in whole KiB; what comes after is missing, and its exit says so. Default 512 MiB. */
  logBytes?: number | 'unlimited'
  /** No worker is made while less is free on the disk of the workers. Default: the smaller of 512 MiB and 4 % of the disk. */
  reserveBytes?: number
  /** Folders and files that `mounts` may bind, with everything below them. */
  binds?: string[]
}

/**
 * Of each of both, so that a worker takes 1 GiB at most: far more than the log of any job that somebody reads, and little enough that one
 * that writes without end fills no disk.
 */
export const defaultLogBytes: number = 512 * 2 ** 20

export type BaremetalConfig = LocalConfig

/**
 * User ids nobody else hands out: free in systemd's table of ids (60578 to 61183; 61184 on is DynamicUser), not given to accounts
 * by Debian's and Red Hat's tools, and below 65536, so that they exist in containers with a map of 65,536 ids.
 */
export const defaultUsers: { from: number; to: number } = { from: 60_600, to: 61_183 }

/** Ids of accounts begin at 1000; `nobody` and the kernel's invalid id lie at 65534 and 65535. */
const uid = z.int().min(1000).max(2_000_000_000)

const path = z.string().regex(/^\/[^\0\n]*$/)

const localSchema = z.strictObject({
  transport: z.literal('local'),
  root: path.describe('Absolute folder of the workers.').exactOptional(),
  path: z.string().min(1).describe('PATH of the workers.').exactOptional(),
  slots: z.int().min(1).max(10_000).describe('Most workers at once.').exactOptional(),
  cgroup: z.enum(['auto', 'off']).describe('off: make no cgroup, and refuse cpu, memory and pids.').exactOptional(),
  users: z
    .union([z.strictObject({ from: uid, to: uid }), z.literal('off')])
    .describe('User ids of the workers under root, one each; off: the host’s own user, without isolation.')
    .exactOptional(),
  logBytes: z
    .union([z.int().min(65_536).multipleOf(1024), z.literal('unlimited')])
    .describe('Most bytes of each of stdout and stderr of a command that are kept on the disk, in whole KiB.')
    .exactOptional(),
  reserveBytes: z.int().min(0).describe('No worker is made while less is free on the disk of the workers.').exactOptional(),
  binds: z.array(path).describe('Folders and files that mounts may bind, with everything below them.').exactOptional(),
})

export const configSchema: z.ZodType<BaremetalConfig> = z.discriminatedUnion('transport', [localSchema])

/** What a pool says to this provider alone (`pools.<name>.worker.settings`). */
export interface LocalSettings {
  /** With `work: agent`: the program that takes the runs, and its arguments. */
  agent?: string[]
}

export const settingsSchema: z.ZodType<LocalSettings> = z.strictObject({
  agent: z
    .array(z.string().regex(/^[^\0]*$/))
    .min(1)
    .describe('With work: agent, the program that takes the runs, and its arguments.')
    .exactOptional(),
})

/** Checks a configuration. An error is `invalid-spec` with the field's path. */
export function parseConfig(input: unknown): Readonly<BaremetalConfig> {
  const parsed = configSchema.safeParse(input)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw refused(issue?.message ?? 'the configuration is not valid', issue?.path.map(String) ?? [])
  }
  const { users } = parsed.data
  if (typeof users === 'object' && users.to < users.from) throw refused('the range of user ids is empty', ['users', 'to'])
  return Object.freeze(parsed.data)
}

function refused(message: string, field: readonly string[]): ProviderError {
  return new ProviderError('invalid-spec', message, { effect: 'none', path: ['config', ...field].join('.') })
}
