/** The host's own cost: a provider that answers at once, every intent on disk before its call. */
import { DatabaseSync } from 'node:sqlite'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Figure } from './report.ts'
import { type Rig, startRig } from './rig.ts'
import { quantile, summary } from './stats.ts'

const nullPlugin = join(import.meta.dirname, '../../../../packages/plugin-null')
const day = 24 * 3_600_000

function start(warm = 0): Promise<Rig> {
  const pool = `worker: { work: hold, lifetime: 24h }, scale: { max: 20000, warm: ${warm} }`
  return startRig({ plugin: nullPlugin, name: '@muster/plugin-null', pool })
}

/** One lease, from the request to active. */
async function launch(rig: Rig): Promise<{ id: string; ms: number }> {
  const begin = performance.now()
  const { id } = await rig.engine.leases.request({ pool: 'p', requirements: {}, ttlMs: day, principal: 'bench' })
  await rig.engine.leases.wait(id, (view) => view.lease.state === 'active')
  return { id, ms: performance.now() - begin }
}

/** `count` launches with `lanes` of them open at any time. */
async function launchMany(
  rig: Rig,
  { count, lanes }: { count: number; lanes: number },
): Promise<{ ids: string[]; perSecond: number; firstTenth: number; lastTenth: number }> {
  const ids: string[] = []
  const at: number[] = []
  const begin = performance.now()
  let left = count
  const lane = async (): Promise<void> => {
    while (left-- > 0) {
      ids.push((await launch(rig)).id)
      at.push(performance.now() - begin)
    }
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  const tenth = Math.floor(count / 10)
  const span = (from: number, to: number): number => ((at[to] ?? 0) - (at[from] ?? 0)) / 1000
  return {
    ids,
    perSecond: count / ((at.at(-1) ?? 0) / 1000),
    firstTenth: tenth / span(0, tenth),
    lastTenth: tenth / span(count - tenth - 1, count - 1),
  }
}

/** The least a durable launch can cost here: one row, one fsync, alone, one after the other. */
function bareFsyncs(count: number): number {
  const dir = mkdtempSync(join(tmpdir(), 'muster-bench-fsync-'))
  const db = new DatabaseSync(join(dir, 'x.db'))
  db.exec('pragma journal_mode = wal; pragma synchronous = full; create table t (id text primary key, v text) strict')
  const insert = db.prepare('insert into t values (?, ?)')
  const begin = performance.now()
  for (let n = 0; n < count; n++) insert.run(`w${n}`, 'x'.repeat(500))
  const perSecond = count / ((performance.now() - begin) / 1000)
  db.close()
  rmSync(dir, { recursive: true })
  return perSecond
}

/** Calls through guard and process, without engine and store. */
async function bareCalls(rig: Rig, count: number): Promise<{ perSecond: number; ms: number[] }> {
  const provider = rig.plugins.provider('p')
  const ms: number[] = []
  const begin = performance.now()
  for (let n = 0; n < count; n++) {
    const t = performance.now()
    await provider.inspect([{ id: `w${'0'.repeat(26)}` }])
    ms.push(performance.now() - t)
  }
  return { perSecond: count / ((performance.now() - begin) / 1000), ms }
}

/** Launches at a fixed rate: what the host adds when it is not saturated. Open loop, so that a stall is not hidden. */
async function atRate(
  rig: Rig,
  { perSecond, seconds }: { perSecond: number; seconds: number },
): Promise<{ ms: number[]; ids: string[] }> {
  const jobs: Promise<{ id: string; ms: number }>[] = []
  const begin = performance.now()
  for (let n = 0; n < perSecond * seconds; n++) {
    const due = begin + (n * 1000) / perSecond
    const wait = due - performance.now()
    if (wait > 1) await sleep(wait)
    jobs.push(launch(rig))
  }
  const done = await Promise.all(jobs)
  return { ms: done.map((one) => one.ms), ids: done.map((one) => one.id) }
}

async function idleShare(ms: number): Promise<number> {
  const before = process.cpuUsage()
  const begin = performance.now()
  await sleep(ms)
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000 / (performance.now() - begin)
}

export async function benchNull({ workers }: { workers: number }): Promise<Figure[]> {
  const figures: Figure[] = []
  const rig = await start()
  const facts = rig.store.facts()
  const setting = `${facts['engine']}, journal ${facts['journal_mode']}, synchronous ${facts['synchronous']}`
  const fsyncs = bareFsyncs(500)
  const calls = await bareCalls(rig, 2000)
  const call = summary(calls.ms)
  figures.push({
    name: 'call through guard and process, p50 / p99',
    value: `${call.p50.toFixed(2)} / ${call.p99.toFixed(2)} ms`,
    baseline: '',
    ratio: '',
    aim: '',
  })
  const rate = await atRate(rig, { perSecond: 100, seconds: 10 })
  const over = summary(rate.ms)
  figures.push({
    name: 'host overhead at 100 launches/s, p50 / p99',
    value: `${over.p50.toFixed(1)} / ${over.p99.toFixed(1)} ms`,
    baseline: `one call through the process: p99 ${call.p99.toFixed(2)} ms`,
    ratio: `p99 × ${(over.p99 / call.p99).toFixed(1)}`,
    aim: 'p99 < 20 ms',
  })
  await release(rig, rate.ids)
  const many = await launchMany(rig, { count: workers, lanes: 64 })
  figures.push({
    name: `launches/s sustained to ${workers} live workers (${setting})`,
    value: many.perSecond.toFixed(0),
    baseline: `bare rows with an fsync each: ${fsyncs.toFixed(0)}/s`,
    ratio: `× ${(many.perSecond / fsyncs).toFixed(2)}`,
    aim: '≥ 500/s',
  })
  figures.push({
    name: 'launches/s of the first tenth / of the last tenth',
    value: `${many.firstTenth.toFixed(0)} / ${many.lastTenth.toFixed(0)}`,
    baseline: '',
    ratio: `last/first × ${(many.lastTenth / many.firstTenth).toFixed(2)}`,
    aim: 'flat',
  })
  globalThis.gc?.()
  figures.push({
    name: `memory of the host at ${workers} live workers`,
    value: `${(process.memoryUsage().rss / 1e6).toFixed(0)} MB`,
    baseline: '',
    ratio: '',
    aim: '< 512 MB',
  })
  const idle = await idleShare(35_000)
  figures.push({
    name: `CPU of the host at rest, ${workers} live workers, over one reconcile`,
    value: `${(idle * 100).toFixed(1)} % of a core`,
    baseline: '',
    ratio: '',
    aim: '< 25 %',
  })
  const restart = await rig.restart()
  figures.push({
    name: `restart with ${workers} records to a full reconcile`,
    value: `${(restart / 1000).toFixed(2)} s`,
    baseline: '',
    ratio: '',
    aim: '< 5 s',
  })
  const events = await publish(rig, 500)
  figures.push({
    name: 'event publish: decision committed to subscriber, p50 / p95',
    value: `${quantile(events, 0.5).toFixed(1)} / ${quantile(events, 0.95).toFixed(1)} ms`,
    baseline: '',
    ratio: '',
    aim: '',
  })
  const begin = performance.now()
  await release(rig, many.ids)
  const removal = many.ids.length / ((performance.now() - begin) / 1000)
  figures.push({
    name: 'removals/s',
    value: removal.toFixed(0),
    baseline: `launches: ${many.perSecond.toFixed(0)}/s`,
    ratio: `× ${(removal / many.perSecond).toFixed(2)}`,
    aim: 'as fast as launches',
  })
  await rig.stop()
  figures.push(...(await benchWarm()))
  return figures
}

/** Ends leases and waits until their workers are gone. */
async function release(rig: Rig, ids: readonly string[]): Promise<void> {
  await Promise.all(ids.map((id) => rig.engine.leases.release(id, { reason: 'bench' })))
  while (rig.engine.workers.live()[Symbol.iterator]().next().done !== true) await sleep(10)
}

/** From the start of a write that carries a decision to its arrival at a subscriber. */
async function publish(rig: Rig, count: number): Promise<number[]> {
  const { store, journal, events } = rig.engine
  const abort = new AbortController()
  const sent = new Map<string, number>()
  const ms: number[] = []
  const all = Promise.withResolvers<void>()
  const reader = (async () => {
    for await (const row of events.subscribe(undefined, abort.signal)) {
      const at = sent.get(row.decision)
      if (at === undefined) continue
      ms.push(performance.now() - at)
      if (ms.length === count) all.resolve()
    }
  })().catch(() => undefined)
  await sleep(50)
  for (let n = 0; n < count; n++) {
    sent.set(`bench ${n}`, performance.now())
    await store.write((tx, after) =>
      journal.append(tx, after, { rule: 'worker-reached', decision: `bench ${n}`, pool: 'p', inputs: {} }),
    )
  }
  await all.promise
  abort.abort()
  await reader
  return ms
}

/** A lease that finds a warm worker. */
async function benchWarm(): Promise<Figure[]> {
  const warm = 200
  const rig = await start(warm)
  const ready = (): number => rig.engine.pools.get('p')?.workers.idle ?? 0
  const ms: number[] = []
  for (let round = 0; round < 5; round++) {
    while (ready() < warm) await sleep(20)
    for (let n = 0; n < 40; n++) ms.push((await launch(rig)).ms)
  }
  await rig.stop()
  const { p50, p99 } = summary(ms)
  return [
    {
      name: 'warm lease, p50 / p99',
      value: `${p50.toFixed(1)} / ${p99.toFixed(1)} ms`,
      baseline: '',
      ratio: '',
      aim: 'p99 < 10 ms',
    },
  ]
}
