/**
 * `pnpm prove`: the long form of the proofs that CI takes in short: the conformance suite against every seeded defect, processes that
 * stand still for two minutes, six silent minutes on a cluster, callers under upgrades of their plugin, a thousand commands of one shell, and
 * the kill proofs. Resumable; the last result, with seed and commit, is written to docs/proofs.md.
 *
 * Kills per point: fake 100, local 50, Docker 20. `MUSTER_PROVE_SHARE=0.1` takes a tenth. What was proved at this commit is not proved
 * again; a failure stops and names the point. With the word `silence`, `upgrades` or `commands` only those are proved, and put into the page
 * as it is.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { findDocker } from '@muster/test/systems/docker'
import { type KillPoint, killPoints } from '../engine/killpoint.ts'
import { limited, prove } from './kill.test.helper.ts'
import { proveShell, roomFor, type ShellProved } from './shell.test.helper.ts'
import { type SilenceProved, silenceIn, silenceText, testsPass } from './silence.test.helper.ts'
import { proveStop, type Stop } from './stop.test.helper.ts'
import { proveSwitch, type SwitchProved } from './switch.test.helper.ts'
import { dockerVendor, fakeVendor, localVendor, type OpenVendor } from './vendors.test.helper.ts'

const root = join(import.meta.dirname, '../../../..')
const stateFile = join(root, '.muster/prove.json')
/** Longer than any term, probe, list and short lease, and than a plugin may be silent. */
const stopMs = 120_000
/** Proofs that one site serves in turn: enough to save most of the starts, few enough that a failure tells where. */
const IN_ONE_SITE = 10
const share = Number(process.env['MUSTER_PROVE_SHARE'] ?? 1)
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim()

interface State {
  commit: string
  seed: number
  /** `vendor point` → proofs done, and how many of them were killed. */
  done: Record<string, { proved: number; killed: number }>
  /** How many tests of defects passed, each defect against the whole suite. */
  defects?: number
  /** `vendor what` of the stops that were survived. */
  stops?: string[]
  /** What lived through six silent minutes on a cluster; `absent`: why there is none here. */
  silence?: SilenceProved
  /** Callers of a provider whose plugin was switched, and killed. */
  switch?: SwitchProved
  /** Commands of one shell, half of them interrupted. */
  shell?: ShellProved
  seconds: number
}

const state = readState()
const begin = performance.now()
const none = { calls: 0, failed: 0, times: 0 }
const nothing: ShellProved = { commands: 0, atOnce: 0, passed: 0, cancelled: 0, unasked: 0 }
const docker = await findDocker()
const vendors: [string, number, OpenVendor][] = [
  ['fake', 100, fakeVendor],
  ['local', 50, localVendor],
  ...('system' in docker && docker.system !== undefined
    ? [['docker', 20, dockerVendor(docker.system.socket)] as [string, number, OpenVendor]]
    : []),
]

const file = join(root, 'docs/proofs.md')
const alone = {
  silence: { prove: proveSilence, text: () => silenceText(state.silence) },
  upgrades: { prove: proveSwitches, text: upgrades },
  commands: { prove: proveCommands, text: commands },
}
const asked = Object.entries(alone).filter(([word]) => process.argv.includes(word))
if (asked.length > 0) {
  for (const [, { prove: proveIt, text }] of asked) {
    await proveIt()
    writeFileSync(file, withPart(readFileSync(file, 'utf8'), text()))
  }
} else {
  state.defects ??= proveDefects()
  save()
  await proveStops()
  proveSilence()
  await proveSwitches()
  await proveCommands()
  for (const [name, full, vendor] of vendors)
    for (const point of killPoints)
      await provePoint(`${name} ${point}`, { point, vendor, count: Math.max(1, Math.round(full * share)) })
  state.seconds += (performance.now() - begin) / 1000
  save()
  writeFileSync(file, page())
  process.stdout.write(`${Object.values(state.done).reduce((sum, one) => sum + one.proved, 0)} proofs hold\n`)
}

/** Those of one vendor at once: what they do most of the time is to stand still. */
async function proveStops(): Promise<void> {
  const done = (state.stops ??= [])
  for (const [name, , vendor] of vendors)
    await Promise.all(
      (['daemon', 'plugin'] as const).map(async (what: Stop['what']) => {
        const key = `${name} ${what}`
        if (done.includes(key)) return
        await proveStop({ what, ms: stopMs, ttlMs: 30_000, vendor })
        done.push(key)
        save()
        process.stdout.write(`${key}: stood still for ${stopMs / 1000} s\n`)
      }),
    )
}

async function proveSwitches(): Promise<void> {
  const proved = (state.switch ??= await proveSwitch({ callers: 32, calls: 20_000, switches: 100, kills: 20 }))
  save()
  const { switched, killed } = proved
  if (switched.failed > 0) throw new Error(`${switched.failed} calls failed by an upgrade: ${switched.said.join('; ')}`)
  process.stdout.write(`switch: 0 of ${switched.calls} calls failed; ${killed.failed} of ${killed.calls} by plain restarts\n`)
}

async function proveCommands(): Promise<void> {
  const most = Math.min(1000, Math.max(50, roomFor()))
  const proved = (state.shell ??= await proveShell({ commands: Math.max(50, Math.round(1000 * share)), most, seed: state.seed }))
  save()
  process.stdout.write(
    `commands: ${proved.passed} passed, ${proved.cancelled + proved.unasked} of ${proved.commands} interrupted\n`,
  )
}

async function provePoint(
  key: string,
  { point, vendor, count }: { point: KillPoint; vendor: OpenVendor; count: number },
): Promise<void> {
  const entry = (state.done[key] ??= { proved: 0, killed: 0 })
  // The seed decides at which passing: reproducible by seed and number.
  const left = Array.from(
    { length: Math.max(0, count - entry.proved) },
    (_, n) => 1 + (hash(state.seed + (entry.proved + n) * 7919) % 4),
  )
  const sites = Array.from({ length: Math.ceil(left.length / IN_ONE_SITE) }, (_, n) =>
    left.slice(n * IN_ONE_SITE, (n + 1) * IN_ONE_SITE),
  )
  await Promise.all(
    sites.map((passings) =>
      limited(async () => {
        const { killed } = await prove({ point, passings, vendor })
        entry.proved += passings.length
        entry.killed += killed
        save()
      }),
    ),
  )
  process.stdout.write(`${key}: ${entry.proved} proved, ${entry.killed} killed\n`)
}

/** Each seeded defect against every test of the conformance suite: caught by the one named for it, and by no other. */
function proveDefects(): number {
  const folder = mkdtempSync(join(tmpdir(), 'muster-prove-'))
  try {
    const totals = join(folder, 'totals')
    const args = ['--project', 'contract', 'packages/core/src/testing/defects']
    if (!testsPass(args, { MUSTER_PROVE_DEFECTS: 'all', MUSTER_TEST_TOTALS: totals }))
      throw new Error('not every seeded defect is caught by its own test alone')
    return Number(/^(\d+) passed/.exec(readFileSync(totals, 'utf8'))?.[1])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function proveSilence(): void {
  state.silence ??= silenceIn()
  save()
  const { absent, seconds = 0 } = state.silence
  process.stdout.write(`silence: ${absent === undefined ? `${seconds} s were lived through` : `not proved, ${absent}`}\n`)
}

/** A small integer hash: Knuth, The Art of Computer Programming 6.4, multiplicative hashing. */
function hash(value: number): number {
  return Math.imul(value, 2_654_435_761) >>> 8
}

function readState(): State {
  const fresh: State = { commit, seed: Number(process.env['MUSTER_PROVE_SEED'] ?? Date.now() % 1e6), done: {}, seconds: 0 }
  try {
    const old = JSON.parse(readFileSync(stateFile, 'utf8')) as State
    return old.commit === commit ? old : fresh
  } catch {
    return fresh
  }
}

function save(): void {
  mkdirSync(dirname(stateFile), { recursive: true })
  writeFileSync(stateFile, JSON.stringify(state, null, 2))
}

/** The page as it is, with this part anew; one that has none gets it before the kills. */
function withPart(text: string, part: string): string {
  const [head = ''] = part.split('\n')
  const parts = text.split(/\n+(?=## )/).filter((one) => !one.startsWith(head))
  const at = parts.findIndex((one) => one.startsWith('## Kills'))
  return parts.toSpliced(at, 0, `${part} Proved alone at commit ${state.commit}.`).join('\n\n')
}

function commands(): string {
  const { commands: all, atOnce, passed, cancelled, unasked } = state.shell ?? nothing
  return `## Commands

${all} \`muster run\` of one shell, each a process of its own, ${atOnce} at once (as many as this machine has memory for), on a pool of eight local
workers; half of them get SIGINT: some at any moment while all begin, some while all wait. ${passed} were left alone, ended with 0 and had their own output
whole. Of the interrupted, ${cancelled} had a run, and each of those ended cancelled; ${unasked} had not asked for one yet. All of them were 130 to the shell, no worker, lease or run
was left, and the daemon held as many files, processes and streams as before.`
}

function upgrades(): string {
  const { switched, killed, accounted } = state.switch ?? { switched: none, killed: none, accounted: 0 }
  return `## Upgrades

32 callers of a host with its store, engine and guards asked for leases, lists and inspections, each again as soon as it was answered, while
another version of the plugin took over ${switched.times} times by the operation behind \`muster plugins upgrade\`: verified, started beside, asked for
every live worker (${accounted} accounted for in all), switched. ${switched.failed} of ${switched.calls} calls to the plugin failed, the engine's own among
them. In the same run, the plain way, killing the process and starting it again ${killed.times} times, failed ${killed.failed} of ${killed.calls}; a caller that was
refused waited until the process was back.`
}

function page(): string {
  const rows = killPoints.map((point) => {
    const cells = vendors.map(([name]) => {
      const { proved, killed } = state.done[`${name} ${point}`] ?? { proved: 0, killed: 0 }
      return `${killed} of ${proved}`
    })
    return `| ${point} | ${cells.join(' | ')} |`
  })
  return `# Proofs

Written by \`pnpm prove\` at commit ${state.commit}, seed ${state.seed}, in ${Math.round(state.seconds / 60)} minutes.

## Seeded defects

${state.defects ?? 0} tests passed: each defect of \`@muster/core/testing\` ran against the whole conformance suite, was caught by the test named
for it, and by that test alone; a sound provider passes all.

## Stops

A daemon, or the plugin's process, is stopped (SIGSTOP) for ${stopMs / 1000} s with runs whose output is followed, a lease of 30 s and a run whose
time-out is as long as the stop, and goes on (SIGCONT): ${(state.stops ?? []).join(', ')}. Each holds that the lease lives, that every run ended
with its own exit and every line of its log once, in the worker that it began in, and that nothing was left.

${silenceText(state.silence)}

${upgrades()}

${commands()}

## Kills

The daemon kills itself at each point while two runs and a lease are under way, and is started again, armed for the next. Each proof
holds that every run ended once with its own exit and every byte of its log once, that there was one worker for each live record and none
without one, and that nothing was left. The cells say how often the daemon was killed at the point, of how many proofs; in the others the
work had ended before the point was passed so often, and the same was checked.

| point | ${vendors.map(([name]) => name).join(' | ')} |
| --- | ${vendors.map(() => '---').join(' | ')} |
${rows.join('\n')}
`
}
