/** Processes of this machine as `/proc` shows them: who a pid is, and what a worker's processes use. */
import { randomBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'

/** One process for ever: a pid alone is used again. */
export interface Identity {
  pid: number
  /** Clock ticks since boot at which it started: field 22 of `/proc/PID/stat`. */
  start: string
  boot: string
}

export interface Stat {
  state: string
  start: string
  /** Clock ticks, with those of children that were waited for. */
  cpuTicks: number
  rssPages: number
}

/** The kernel's answer has not changed on any Linux since 2.6: USER_HZ is part of its ABI. */
export const ticksPerSecond = 100

/** Fields of `/proc/PID/stat`; the name in brackets may hold anything, so that counting begins after the last bracket. */
export function parseStat(text: string): Stat {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  // Field N of proc(5) stands at N - 3 here.
  const number = (field: number): number => Number(fields[field - 3] ?? 0)
  return {
    state: fields[0] ?? '',
    start: fields[22 - 3] ?? '',
    cpuTicks: number(14) + number(15) + number(16) + number(17),
    rssPages: number(24),
  }
}

/** Undefined when there is no such process. */
export async function statOf(pid: number): Promise<Stat | undefined> {
  try {
    return parseStat(await readFile(`/proc/${pid}/stat`, 'latin1'))
  } catch {
    return undefined
  }
}

export async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'latin1')).trim()
}

/** `PID.START.BOOT`, as the script writes it. */
export function parseIdentity(text: string): Identity | undefined {
  const match = /^(\d+)\.(\d+)\.(.+)$/.exec(text)
  return match === null ? undefined : { pid: Number(match[1]), start: match[2] ?? '', boot: match[3] ?? '' }
}

/** Does it run? A zombie and a pid that was used again do not. */
export async function isAlive(identity: Identity, boot: string): Promise<boolean> {
  if (identity.boot !== boot) return false
  const stat = await statOf(identity.pid)
  return stat !== undefined && stat.start === identity.start && !'ZX'.includes(stat.state)
}

/** A name that nobody else chooses, and that says whose it is: `PID.START.BOOT.NONCE`. */
export function draftName({ pid, start, boot }: Identity): string {
  return `${pid}.${start}.${boot}.${randomBytes(8).toString('hex')}`
}

/** Is whoever chose a name that ends in a {@link draftName} still at work? */
export async function isDraftOfLiving(name: string, boot: string): Promise<boolean> {
  const maker = parseIdentity(name.split('.').slice(-4, -1).join('.'))
  return maker !== undefined && (await isAlive(maker, boot))
}

export async function selfIdentity(boot: string): Promise<Identity> {
  return { pid: process.pid, start: (await statOf(process.pid))?.start ?? '0', boot }
}

/** How to know a worker's processes where no cgroup lists them; the script looks for the same (see script.ts). */
export type Kin = { uid: number } | { id: string; mark: number }

/** All living processes of a worker. Slow: it looks at every process of the machine. */
export async function kinOf(kin: Kin): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const found = await Promise.all(pids.map(async (pid) => ((await isKin(pid, kin)) ? pid : undefined)))
  return found.filter((pid) => pid !== undefined)
}

async function isKin(pid: number, kin: Kin): Promise<boolean> {
  const read = (name: string): Promise<string> => readFile(`/proc/${pid}/${name}`, 'latin1').catch(() => '')
  if ('uid' in kin) {
    const status = await read('status')
    return new RegExp(`^Uid:\\s+${kin.uid}\\s`, 'm').test(status) && !/^State:\s+[ZX]/m.test(status)
  }
  if (new RegExp(`^Max file locks +${kin.mark} `, 'm').test(await read('limits'))) return true
  return (await read('environ')).split('\0').includes(`MUSTER_WORKER=${kin.id}`)
}
