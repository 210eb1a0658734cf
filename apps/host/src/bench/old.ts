/** A daemon that has worked for long: a store full of what has ended, beside an empty one. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, statSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type MusterClient } from '@muster/client'
import { systemClock } from '../engine/clock.ts'
import type { Context } from '../engine/context.ts'
import { openJournal } from '../engine/journal.ts'
import { dropOld } from '../engine/retention.ts'
import { dropOldRuns } from '../engine/runs/retention.ts'
import { storePath } from '../store/files.ts'
import { openSqliteStore } from '../store/open.ts'
import type { Figure } from './report.ts'
import { quantile } from './stats.ts'

const root = join(import.meta.dirname, '../../../..')
const hour = 3_600_000

interface Site {
  data: string
  config: string
}

/** What is measured of a daemon, in milliseconds; memory in MB. */
type Times = Record<'ready' | 'first' | 'far' | 'live' | 'pool' | 'why' | 'memory', number[]>

export async function benchOld({ records, rounds }: { records: number; rounds: number }): Promise<Figure[]> {
  const dir = await mkdtemp(join(tmpdir(), 'muster-bench-old-'))
  try {
    const empty = await makeSite(dir, 'empty')
    const full = await makeSite(dir, 'full')
    fill(storePath(full.data), records)
    const bytes = statSync(storePath(full.data)).size
    const times = { empty: none(), full: none() }
    for (let n = 0; n < rounds; n++) {
      await measure(empty, times.empty, 0)
      await measure(full, times.full, records)
    }
    return [...figuresOf(times, `${records} (${(bytes / 1e9).toFixed(1)} GB)`), ...(await sweep(full, records))]
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

const none = (): Times => ({ ready: [], first: [], far: [], live: [], pool: [], why: [], memory: [] })

function figuresOf({ empty, full }: { empty: Times; full: Times }, what: string): Figure[] {
  const row = (key: keyof Times, name: string, aim = ''): Figure => {
    const unit = key === 'memory' ? 'MB' : 'ms'
    const text = (values: number[]): string =>
      `${quantile(values, 0.5).toFixed(1)} / ${quantile(values, 0.95).toFixed(1)} ${unit}`
    return {
      name: `${name}, P50 / P95`,
      value: text(full[key]),
      baseline: `empty store: ${text(empty[key])}`,
      ratio: `P50 × ${(quantile(full[key], 0.5) / quantile(empty[key], 0.5)).toFixed(2)}`,
      aim,
    }
  }
  return [
    row('ready', `start to an API that answers, records of each kind: ${what}`, '< 1 s'),
    row('first', 'list of ended runs, first page of 100', ''),
    row('far', 'list of ended runs, page 100', ''),
    row('live', 'list of live workers of the pool that all of them were of', ''),
    row('pool', 'list of ended workers of a pool that has none', ''),
    row('why', 'why of one run', ''),
    row('memory', 'memory of the daemon after these', '< 512 MB'),
  ]
}

async function makeSite(dir: string, name: string): Promise<Site> {
  const data = join(dir, name)
  const config = join(dir, `${name}.yaml`)
  const plugin = { package: '@muster/plugin-null', version: '0.1.0', source: { folder: join(root, 'packages/plugin-null') } }
  await writeFile(join(dir, 'plugins.json'), JSON.stringify({ plugins: { null: plugin } }))
  const host = `host: { data: ${data}, plugins: ${join(dir, 'plugins.json')}, listen: "127.0.0.1:0", socket: { path: ${data}.sock } }`
  await writeFile(config, `${host}\nproviders: { p: { plugin: 'null' } }\npools: { p: { placement: [p] } }\n`)
  // Its form, its owner and its key.
  const { daemon, client } = await start({ data, config })
  await stop(daemon, client)
  return { data, config }
}

async function start({ data, config }: Site): Promise<{ daemon: ChildProcess; client: MusterClient; ms: number }> {
  const client = connect({ socket: `${data}.sock` }, { patienceMs: 0 })
  const begin = performance.now()
  const daemon = spawn(process.execPath, [join(root, 'apps/host/bin/muster.mjs'), 'up', '-c', config], { stdio: 'ignore' })
  while (
    !(await client.version().then(
      () => true,
      () => false,
    ))
  ) {
    if (daemon.exitCode !== null) throw new Error('the daemon did not start')
    await sleep(5)
  }
  return { daemon, client, ms: performance.now() - begin }
}

async function stop(daemon: ChildProcess, client: MusterClient): Promise<void> {
  client.close()
  daemon.kill('SIGTERM')
  await once(daemon, 'exit')
}

async function measure(site: Site, times: Times, records: number): Promise<void> {
  const { daemon, client, ms } = await start(site)
  const timed = async (key: keyof Times, work: () => Promise<unknown>): Promise<void> => {
    const begin = performance.now()
    await work()
    times[key].push(performance.now() - begin)
  }
  try {
    times.ready.push(ms)
    await timed('first', () => client.runs.list({ ended: 'true', limit: 100 }))
    const far = records < 10_000 ? {} : { before: id('r', records - 9900) }
    await timed('far', () => client.runs.list({ ended: 'true', limit: 100, ...far }))
    await timed('live', () => client.workers.list({ limit: 100, pool: 'p' }))
    await timed('pool', () => client.workers.list({ ended: 'true', limit: 100, pool: 'none' }))
    await timed('why', () => client.why('run', id('r', Math.ceil(records / 2))).catch(() => []))
    const rss = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${daemon.pid ?? 0}/status`, 'utf8'))?.[1]
    times.memory.push(Number(rss) / 1024)
  } finally {
    await stop(daemon, client)
  }
}

const id = (letter: string, n: number): string => `${letter}${String(n).padStart(26, '0')}`

/** Row by row through the API it would take an hour: SQLite makes them itself. All ended within the last day. */
function fill(path: string, records: number): void {
  using db = new DatabaseSync(path)
  const { seq } = db.prepare('select coalesce(max(seq), 0) as seq from journal').get() as { seq: number }
  const end = Date.now() - hour
  const numbers = `with recursive n(i) as (select 1 union all select i + 1 from n where i < ${records})`
  const as = (letter: string): string => `printf('${letter}%026d', i)`
  const at = (before: number): string => `${end} - (${records} - i) * 80 - ${before}`
  const spec = JSON.stringify({ work: { mode: 'command', command: ['npm', 'test'] }, image: 'node:26', env: { CI: '' } })
  const request = JSON.stringify({
    pool: 'p',
    requirements: {},
    command: ['npm', 'test'],
    inputs: [],
    outputs: [],
    principal: 'token:ci',
  })
  db.exec(`pragma synchronous = off; begin;
    ${numbers} insert into workers (id, pool, provider, phase, rev, spec, shape, epoch, created_at, launched_at, ready_at, grace_ms, ended_at, "end", terminate_reason, handle)
      select ${as('w')}, 'p', 'p', 'terminated', 9, '${spec}', '0123456789abcdef', 1, ${at(9000)}, ${at(8000)}, ${at(7000)}, 10000, ${at(0)}, 'gone', 'its run is over', '{"v":1,"data":{"id":"' || ${as('w')} || '"}}' from n;
    ${numbers} insert into leases (id, pool, state, rev, request, shape, worker_id, principal, of_run, requested_at, assigned_at, active_at, ttl_ms, ended_at, "end", end_reason)
      select ${as('l')}, 'p', 'ended', 5, '{"pool":"p","requirements":{}}', '0123456789abcdef', ${as('w')}, 'token:ci', 1, ${at(9000)}, ${at(8500)}, ${at(7000)}, 3600000, ${at(0)}, 'released', 'its run ended: passed' from n;
    ${numbers} insert into runs (id, kind, pool, lease_id, worker_id, state, rev, request, principal, created_at, queued_at, started_at, ended_at, outcome, exit, artifacts)
      select ${as('r')}, 'run', 'p', ${as('l')}, ${as('w')}, 'ended', 7, '${request}', 'token:ci', ${at(9000)}, ${at(9000)}, ${at(6000)}, ${at(0)}, 'passed', '{"code":0,"reason":"exited"}', '[]' from n;
    ${numbers} insert into journal (seq, at, rule, decision, pool, provider, worker_id, lease_id, run_id, inputs, change)
      select ${seq} + i, ${at(0)}, 'run-ended', 'the run ended: passed', 'p', 'p', ${as('w')}, ${as('l')}, ${as('r')}, '{"outcome":"passed","reason":null,"exit":{"code":0}}', '' from n;
    commit`)
}

/** Copies everything, then drops it, with a writer beside it. */
async function sweep({ data }: Site, records: number): Promise<Figure[]> {
  const store = await openSqliteStore(data)
  const clock = { ...systemClock, now: () => Date.now() + 48 * hour, wall: () => Date.now() + 48 * hour }
  const stopping = new AbortController().signal
  const write = async (): Promise<number> => {
    const begin = performance.now()
    const value = String(begin)
    await store.write((tx) =>
      tx
        .insertInto('meta')
        .values({ key: 'probe', value })
        .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
        .execute(),
    )
    return performance.now() - begin
  }
  const alone: number[] = []
  for (let n = 0; n < 500; n++) alone.push(await write())
  /** Writes again and again until it is told to stop. */
  const writing = (): (() => Promise<number[]>) => {
    const times: number[] = []
    let over = false
    const done = (async () => {
      while (!over) times.push(await write())
      return times
    })()
    return () => {
      over = true
      return done
    }
  }
  const whileCopied = writing()
  const copying = performance.now()
  await store.copyTo(join(data, 'copy.db'))
  const copied = (performance.now() - copying) / 1000
  const besideCopy = await whileCopied()
  const whileSwept = writing()
  const { bytes: size } = store.size()
  const settings = { retention: { recordsMs: hour, journalMs: hour } }
  const journal = await openJournal(store, clock)
  const begin = performance.now()
  await dropOld({ store, clock, settings, stopping, journal, plugins: { list: () => [] } } as unknown as Context)
  await dropOldRuns({
    engine: { store, clock },
    dataDir: data,
    retention: () => ({ runsMs: hour, records, logsMs: hour, logsBytes: 1 }),
    stopping,
    report: () => undefined,
  })
  const seconds = (performance.now() - begin) / 1000
  const before = store.size().bytes
  const shrinking = performance.now()
  while (await store.shrink());
  const shrunk = (performance.now() - shrinking) / 1000
  const beside = await whileSwept()
  await store.close()
  const { size: bytes } = statSync(storePath(data))
  const three = (values: number[]): string =>
    `${quantile(values, 0.5).toFixed(1)} / ${quantile(values, 0.99).toFixed(1)} / ${values.reduce((most, one) => Math.max(most, one), 0).toFixed(0)} ms`
  const besideRow = (what: string, values: number[]): Figure => ({
    name: `a small write beside ${what}, P50 / P99 / longest`,
    value: three(values),
    baseline: `alone: ${three(alone)}`,
    ratio: `P50 × ${(quantile(values, 0.5) / quantile(alone, 0.5)).toFixed(1)}`,
    aim: '',
  })
  return [
    {
      name: 'copy of the store for a backup',
      value: `${(size / 1e6 / copied).toFixed(0)} MB/s, ${copied.toFixed(1)} s`,
      baseline: '',
      ratio: '',
      aim: '',
    },
    besideRow('the copy', besideCopy),
    { name: 'rows dropped by a sweep', value: `${((records * 4) / seconds).toFixed(0)}/s`, baseline: '', ratio: '', aim: '' },
    besideRow('the sweep', beside),
    {
      name: 'files of the store after it gave its room back',
      value: `${(bytes / 1e6).toFixed(0)} MB, in ${shrunk.toFixed(1)} s`,
      baseline: `before: ${(before / 1e6).toFixed(0)} MB`,
      ratio: `× ${(bytes / before).toFixed(3)}`,
      aim: '',
    },
  ]
}
