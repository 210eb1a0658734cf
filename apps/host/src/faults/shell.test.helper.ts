/**
 * Commands of one shell, each a process of its own, and Ctrl-C at half of them, whatever each is at: those are cancelled or never began, the
 * others are whole, and nothing is left.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { startProcess } from '@muster/test/systems/process'
import { waitFor } from '@muster/test/systems/wait'
import { heldBy, makeGate, runsIn } from './commands.test.helper.ts'
import { makeSite, type Site } from './daemon.test.helper.ts'
import { localVendor } from './vendors.test.helper.ts'

export interface Shell {
  /** Of all commands; half of them are interrupted. */
  commands: number
  /** Processes at once. */
  most: number
  seed: number
}

export interface ShellProved {
  commands: number
  atOnce: number
  passed: number
  /** Runs that ended so. */
  cancelled: number
  /** Commands that were interrupted before they had asked the daemon for a run. */
  unasked: number
}

/** Hundreds of programs start at once on a few cores. */
const patienceMs = 600_000

const bin = join(import.meta.dirname, '../../bin/muster.mjs')
/** What a `muster run` that waits has for itself: 25 to 29 MiB were measured, its part of what all share is 5. */
const EACH_BYTES = 40 * 2 ** 20
/** Of the memory that is free: the daemon, its workers and whoever else works here need some. */
const SHARE = 0.6

/** How many `muster run` this machine has memory for. */
export function roomFor(): number {
  const [, kB = '0'] = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8')) ?? []
  return Math.floor((Number(kB) * 1024 * SHARE) / EACH_BYTES)
}

/** Starts what its arguments name, as jobs of one shell, each with signals of its own as at a terminal; tells each pid, and each exit. */
const JOBS = `set -m
dir=$1 prog=$2 bin=$3 config=$4 file=$5; shift 5
pids=
for key do
  "$prog" "$bin" run -q --no-stdin -c "$config" --pool cold --label "key=$key" -- /bin/sh -c "$file" "$key" >"$dir/$key.out" 2>"$dir/$key.err" &
  pids="$pids $key:$!"
  echo "begun $key $!"
done
for one in $pids; do wait "\${one#*:}"; echo "ended \${one%%:*} $?"; done`

/** Rejects with what is wrong. */
export async function proveShell({ commands, most, seed }: Shell): Promise<ShellProved> {
  const vendor = await localVendor()
  const site = await makeSite({
    ...vendor.files(),
    pools: 'cold: { placement: [p], worker: { grace: 500ms }, scale: { max: 8 } }',
  })
  const proved: ShellProved = { commands, atOnce: 0, passed: 0, cancelled: 0, unasked: 0 }
  try {
    await site.start()
    await site.ready()
    const { id } = await site.client.runs.create({ pool: 'cold', command: ['true'] })
    await site.client.runs.wait(id)
    await workersGone(site)
    const before = await heldBy(site)
    const waves = Math.ceil(commands / most)
    for (let wave = 0; wave < waves; wave++) {
      const count = Math.ceil((commands * (wave + 1)) / waves) - Math.ceil((commands * wave) / waves)
      proved.atOnce = Math.max(proved.atOnce, count)
      await oneWave(site, { keys: Array.from({ length: count }, (_, n) => `${wave}-${n}`), seed }, proved)
      await workersGone(site)
    }
    const { owner } = await site.client.version()
    const left = await vendor.existing({ data: site.data, owner })
    if (left.length > 0) throw new Error(`workers are left: ${left.join()}`)
    await waitFor('the daemon to hold what it held before', async () => heldBy(site), {
      until: (now) => now.files <= before.files && now.processes === before.processes && now.streams === before.streams,
      timeoutMs: patienceMs,
    })
    return proved
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${site.output().slice(-8000)}`, { cause: error })
  } finally {
    await site.dispose()
    await vendor.dispose?.()
  }
}

interface Wave {
  keys: string[]
  seed: number
}

async function oneWave(site: Site, { keys, seed }: Wave, proved: ShellProved): Promise<void> {
  const gate = await makeGate()
  const folder = join(site.dir, `wave-${keys[0]}`)
  await mkdir(folder)
  const [, , script = ''] = gate.command('')
  const shell = await startProcess(
    ['/bin/bash', '-c', JOBS, 'jobs', folder, process.execPath, bin, site.config, script, ...keys],
    { cwd: site.dir, env: { ...process.env, NODE_V8_COVERAGE: undefined, NO_COLOR: '1' } },
  )
  const pidOf = (key: string): number => Number(new RegExp(`^begun ${key} (\\d+)$`, 'm').exec(shell.stdout())?.[1] ?? 0)
  const codeOf = (key: string): string | undefined => new RegExp(`^ended ${key} (\\d+)$`, 'm').exec(shell.stdout())?.[1]
  const interrupted = keys.filter((_, n) => n % 2 === 1)
  const others = keys.filter((_, n) => n % 2 === 0)
  const asked = async (): Promise<Set<string | undefined>> => {
    const live = await Promise.all((['queued', 'starting', 'running'] as const).map((state) => runsIn(site.client, state)))
    return new Set(live.flat().map(({ labels }) => labels['key']))
  }
  const pace = { timeoutMs: patienceMs, everyMs: 500 }
  try {
    // Half of them while all begin: some are being loaded then, some ask or have asked. The others once all wait.
    const [early, late] = [interrupted.filter((_, n) => n % 2 === 0), interrupted.filter((_, n) => n % 2 === 1)]
    const due = new Map(early.map((key) => [key, fraction(`${seed} ${key}`) * (late.length + others.length)]))
    await waitFor(
      'those to be interrupted that are while all begin',
      async () => {
        const { size } = await asked()
        for (const [key, from] of due)
          if (size >= from && pidOf(key) > 0) {
            due.delete(key)
            send(pidOf(key), 'SIGINT')
          }
        return due.size === 0
      },
      pace,
    )
    await waitFor(
      'all others to have asked',
      async () => {
        const seen = await asked()
        return [...late, ...others].every((key) => seen.has(key))
      },
      pace,
    )
    for (const key of late) send(pidOf(key), 'SIGINT')
    await waitFor(
      'the interrupted to be cancelled',
      async () => [...(await asked())].every((key) => others.includes(key ?? '')),
      pace,
    )
    await gate.open()
    const { code } = await shell.exited
    if (code !== 0) throw new Error(`the shell ended with ${code}: ${shell.stderr()}`)
    await waitFor('every run to be over', async () => (await asked()).size === 0, pace)
  } finally {
    await shell.stop()
    for (const key of keys) if (codeOf(key) === undefined && pidOf(key) > 0) send(pidOf(key), 'SIGKILL')
    await gate.dispose()
  }
  const ends = new Map((await runsIn(site.client, 'ended')).map(({ labels, outcome }) => [labels['key'], outcome]))
  for (const key of others) {
    const whole = (await readFile(join(folder, `${key}.out`), 'utf8')) === gate.whole(key)
    if (codeOf(key) !== '0' || !whole || ends.get(key) !== 'passed') throw new Error(await described(key, folder, ends.get(key)))
    proved.passed += 1
  }
  for (const key of interrupted) {
    const outcome = ends.get(key)
    // 130 is what a shell says of a program that SIGINT ended, too.
    if (codeOf(key) !== '130' || (outcome !== undefined && outcome !== 'cancelled'))
      throw new Error(await described(key, folder, outcome))
    if (outcome === undefined) proved.unasked += 1
    else proved.cancelled += 1
  }

  async function described(key: string, folder: string, outcome: string | undefined): Promise<string> {
    const said = await readFile(join(folder, `${key}.err`), 'utf8')
    return `command ${key} ended with ${codeOf(key)}, its run is ${outcome ?? 'none'}: ${said.slice(0, 2000)}`
  }
}

async function workersGone({ client }: Site): Promise<void> {
  await waitFor('every worker to be gone', async () => (await client.workers.list({ limit: 1 })).items.length === 0, {
    timeoutMs: patienceMs,
    everyMs: 250,
  })
}

/** One that has ended by now gets none. */
function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** 0 to 1, the same for the same text. */
function fraction(text: string): number {
  return createHash('sha256').update(text).digest().readUInt32BE() / 2 ** 32
}
