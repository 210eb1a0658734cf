/** What a plugin costs: its start by level of isolation, its calls, its memory, each beside the least that another process can cost. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DiscoveredPlugin } from '../plugins/package.ts'
import { type IsolationLevel, isolationLevels } from '../plugins/registry.ts'
import type { PluginProcess } from '../plugins/process.ts'
import { createRedactor } from '../plugins/redactor.ts'
import { startSession } from '../plugins/session.ts'
import { openUsers } from '../plugins/users.ts'
import { type Echo, startEcho } from './echo.ts'
import { type Benched, benched, lockedPlugins } from './packed.ts'
import type { Figure } from './report.ts'
import { type Rig, startRig } from './rig.ts'
import { quantile, summary } from './stats.ts'

/** Of no deployment and no test. */
const users = { from: 1_100_000_000, to: 1_100_000_099 }
const aliases = Object.keys(benched) as Benched[]
const levels: readonly IsolationLevel[] = process.getuid?.() === 0 ? isolationLevels : isolationLevels.slice(0, 2)

/** From the start to a configured process, by plugin and level; and what each then has of the memory. */
export async function benchLevels(rounds: number): Promise<Figure[]> {
  const dir = await mkdtemp(join(tmpdir(), 'muster-bench-levels-'))
  try {
    // Users of plugins come to their own folders through it.
    await chmod(dir, 0o711)
    const plugins = await lockedPlugins(dir)
    const ms = new Map<string, number[]>()
    const mb = new Map<string, number[]>()
    // In turn, so that all meet the same machine.
    for (let n = 0; n < rounds; n++) {
      note(ms, 'node', await bareNode())
      const echo = await startEcho()
      note(mb, 'node', await residentMb(echo.pid))
      await echo.stop()
      for (const plugin of plugins)
        for (const level of levels) {
          const began = performance.now()
          const child = await startAt(level, { plugin, dir, n })
          note(ms, `${plugin.alias} ${level}`, performance.now() - began)
          note(mb, `${plugin.alias} ${level}`, await residentMb(child.pid))
          child.kill()
          await child.exited
        }
    }
    const of = (all: Map<string, number[]>, key: string): number[] => all.get(key) ?? []
    return aliases.flatMap((alias) => [
      ...levels.map((level) =>
        beside(`plugin ${alias} at ${level}: described and configured, P50 / P95`, {
          own: of(ms, `${alias} ${level}`),
          bare: of(ms, 'node'),
          what: 'a Node that ends at once',
          unit: 'ms',
          aim: '< 150 ms',
        }),
      ),
      beside(`plugin ${alias}: memory of its process once configured, P50 / P95`, {
        own: levels.flatMap((level) => of(mb, `${alias} ${level}`)),
        bare: of(mb, 'node'),
        what: 'a Node with the same socket',
        unit: 'MB',
        aim: '',
      }),
    ])
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

async function startAt(
  level: IsolationLevel,
  { plugin, dir, n }: { plugin: DiscoveredPlugin; dir: string; n: number },
): Promise<PluginProcess> {
  const own = join(dir, 'providers', `${plugin.alias}-${level}-${n}`)
  await mkdir(join(dir, 'providers'), { recursive: true })
  await chmod(join(dir, 'providers'), 0o711)
  return startSession({
    plugin: { ...plugin, isolation: { ...plugin.isolation, level, ownUser: level === 'L3' } },
    provider: { name: plugin.alias, alias: plugin.alias, config: benched[plugin.alias as Benched].config, secrets: {} },
    owner: 'bench',
    users: openUsers({ range: users, data: dir }),
    dataDir: own,
    redactor: createRedactor(),
    onLine: () => undefined,
  })
}

async function bareNode(): Promise<number> {
  const begin = performance.now()
  await once(spawn(process.execPath, ['-e', '0'], { stdio: 'ignore' }), 'exit')
  return performance.now() - begin
}

export async function residentMb(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1]) / 1024
}

/** One call after the other, and as many as go with 32 open. */
export async function benchCalls(count: number): Promise<Figure[]> {
  const rig = await startRig({
    plugin: join(import.meta.dirname, '../../../../packages/plugin-null'),
    name: '@muster/plugin-null',
    pool: 'worker: { work: hold }',
  })
  const echo = await startEcho()
  try {
    const [own, bare]: [Times, Times] = [none(), none()]
    // In turn, so that both meet the same machine.
    for (let round = 0; round < 10; round++) {
      await calls(own, { count: count / 10, call: () => ask(rig) })
      await calls(bare, { count: count / 10, call: () => send(echo) })
    }
    const [mine, least] = [summary(own.ms), summary(bare.ms)]
    const text = ({ p50, p99 }: { p50: number; p99: number }): string => `${p50.toFixed(3)} / ${p99.toFixed(3)} ms`
    const perSecond = ({ done, ms }: Times['many']): number => done / (ms / 1000)
    return [
      {
        name: 'round trip of a call through guard and process, one at a time, p50 / p99',
        value: text(mine),
        baseline: `a frame of the same size, given back as it is: ${text(least)}`,
        ratio: `p50 × ${(mine.p50 / least.p50).toFixed(2)}, p99 × ${(mine.p99 / least.p99).toFixed(2)}`,
        aim: '',
      },
      {
        name: 'calls/s through guard and process, 32 open',
        value: perSecond(own.many).toFixed(0),
        baseline: `such frames: ${perSecond(bare.many).toFixed(0)}/s`,
        ratio: `× ${(perSecond(own.many) / perSecond(bare.many)).toFixed(2)}`,
        aim: '',
      },
    ]
  } finally {
    await echo.stop()
    await rig.stop()
  }
}

interface Times {
  ms: number[]
  many: { done: number; ms: number }
}

const none = (): Times => ({ ms: [], many: { done: 0, ms: 0 } })
const id = `w${'0'.repeat(26)}`
/** As long as the message of that call. */
const body = Buffer.alloc(330, 0x20)

const ask = (rig: Rig): Promise<unknown> => rig.plugins.provider('p').inspect([{ id }])
const send = (echo: Echo): Promise<unknown> => echo.call(body)

async function calls(into: Times, { count, call }: { count: number; call: () => Promise<unknown> }): Promise<void> {
  for (let n = 0; n < count; n++) {
    const began = performance.now()
    await call()
    into.ms.push(performance.now() - began)
  }
  const began = performance.now()
  let left = count * 4
  const lane = async (): Promise<void> => {
    while (left-- > 0) await call()
  }
  await Promise.all(Array.from({ length: 32 }, lane))
  into.many.done += count * 4
  into.many.ms += performance.now() - began
}

function note(all: Map<string, number[]>, key: string, value: number): void {
  all.set(key, [...(all.get(key) ?? []), value])
}

interface Beside {
  own: readonly number[]
  bare: readonly number[]
  /** What is bare. */
  what: string
  unit: string
  aim: string
}

export function beside(name: string, { own, bare, what, unit, aim }: Beside): Figure {
  const text = (values: readonly number[]): string => {
    const [p50, p95] = [quantile(values, 0.5), quantile(values, 0.95)]
    return `${p50.toFixed(p50 < 10 ? 1 : 0)} / ${p95.toFixed(p95 < 10 ? 1 : 0)} ${unit}`
  }
  return {
    name,
    value: text(own),
    baseline: `${what}: ${text(bare)}`,
    ratio: `P50 × ${(quantile(own, 0.5) / quantile(bare, 0.5)).toFixed(2)}`,
    aim,
  }
}
