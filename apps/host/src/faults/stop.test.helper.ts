/**
 * A process that stands still (SIGSTOP) while it works, and goes on: no lease whose holder could not renew it ends, no worker and no byte
 * is lost or doubled, and all ends as it should.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { waitFor } from '@muster/test/systems/wait'
import { makeSite, patienceMs, type Site } from './daemon.test.helper.ts'
import type { OpenVendor } from './vendors.test.helper.ts'
import { gapIn, startCounting } from './work.test.helper.ts'

export interface Stop {
  what: 'daemon' | 'plugin'
  /** How long it stands still. */
  ms: number
  /** Of the lease that a client holds meanwhile: shorter than the stop. */
  ttlMs: number
  vendor: OpenVendor
}

/** A plugin that stood still for as long as two minutes is taken for hung: ended, and left alone for five minutes. */
const backMs = 600_000
/** A line each 50 ms: for longer than all of it takes. */
const most = 30_000

/** Rejects with what is wrong, and with what the daemon said. */
export async function proveStop(stop: Stop): Promise<void> {
  const vendor = await stop.vendor()
  const site = await makeSite(vendor.files())
  try {
    await work(site, stop)
    await site.stop()
    for (const [id, times] of vendor.made?.(site) ?? []) if (times !== 1) throw new Error(`${id} was made ${times} times`)
  } catch (error) {
    const what = `${vendor.name}, ${stop.what} stopped for ${stop.ms} ms: ${(error as Error).message}`
    throw new Error(`${what}\n${site.output().slice(-8000)}`, { cause: error })
  } finally {
    await site.dispose()
    await vendor.dispose?.()
  }
}

async function work(site: Site, { what, ms, ttlMs }: Stop): Promise<void> {
  const { client } = site
  await site.start()
  await site.ready()
  const pools = ['hold', 'hold', 'cold', 'cold']
  const all = await Promise.all(pools.map((pool) => startCounting(client, pool, { most })))
  // Its time-out would be over, by the clock on the wall.
  const timed = await client.runs.create({ pool: 'hold', command: ['sleep', '3600'], timeoutMs: ms })
  await waitFor('every run to write', () => all.every((one) => one.seen() > 2), { timeoutMs: patienceMs })
  await waitFor('the run with a time-out to run', async () => (await client.runs.get(timed.id)).state === 'running', {
    timeoutMs: patienceMs,
  })
  const lease = await client.leases.create({ pool: 'hold', ttlMs })
  await client.leases.wait(lease.id)
  const before = await workersOf(site)
  if (before.length !== 6) throw new Error(`${before.length} workers, not 6`)

  const pid = what === 'daemon' ? daemonOf(site) : ((await client.providers.get('p')).pid ?? 0)
  const held = what === 'plugin' ? renewing(site, { id: lease.id, everyMs: ttlMs / 3 }) : undefined
  const stood = Date.now()
  process.kill(pid, 'SIGSTOP')
  try {
    // paced: the time in which nobody watches is what is tested
    await sleep(ms)
  } finally {
    goOn(pid)
  }
  const woke = Date.now()
  await held?.()
  const renewed = await client.leases.renew(lease.id)
  if (renewed.state !== 'active') throw new Error(`the lease is ${renewed.state}`)
  // Of a plugin the daemon's clock went on, and so did the time-out.
  const { outcome } = await client.runs.get(timed.id)
  if (what === 'daemon' && outcome !== undefined) throw new Error(`the run with a time-out ended: ${outcome}`)
  await client.runs.cancel(timed.id)
  const keep = renewing(site, { id: lease.id, everyMs: ttlMs / 3 })
  await waitFor('the provider to be ready', async () => (await client.providers.get('p')).state === 'ready', {
    timeoutMs: backMs,
  })
  const seen = all.map((one) => one.seen())
  await waitFor('every run to go on', () => all.every((one, index) => one.seen() > (seen[index] ?? 0)), { timeoutMs: backMs })
  await keep()
  const after = await workersOf(site)
  const lost = before.filter((id) => !after.includes(id))
  if (lost.length > 1 || after.some((id) => !before.includes(id))) throw new Error(`${before.join()} became ${after.join()}`)

  await Promise.all(all.map((one) => one.end()))
  for (const one of all) {
    const { run, text } = await one.done
    if (run.outcome !== 'failed' || run.exit?.code !== 5) throw new Error(`a run ended: ${run.outcome}, ${run.reason}`)
    const gap = gapIn(text)
    if (gap !== undefined) throw new Error(gap)
  }
  const [startedAt, endedAt] = await timesOf(site, timed.id)
  if (startedAt > stood || endedAt < woke || endedAt > Date.now())
    throw new Error(`the run that was cancelled after it is told to have run from ${startedAt} to ${endedAt}, not by the clock`)
  await client.leases.release(lease.id)
  await waitFor('nothing to be left', () => workersOf(site), { until: (ids) => ids.length === 0, timeoutMs: patienceMs })
}

/** A plugin may have been ended meanwhile. */
function goOn(pid: number): void {
  try {
    process.kill(pid, 'SIGCONT')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

async function workersOf({ client }: Site): Promise<string[]> {
  return (await client.workers.list({ limit: 100 })).items.map((one) => one.id).sort()
}

async function timesOf({ client }: Site, run: string): Promise<[startedAt: number, endedAt: number]> {
  const { startedAt, endedAt } = await client.runs.get(run)
  return [Date.parse(startedAt ?? ''), Date.parse(endedAt ?? '')]
}

function daemonOf({ data }: Site): number {
  return (JSON.parse(readFileSync(join(data, 'endpoint.json'), 'utf8')) as { pid: number }).pid
}

/** A holder that renews its lease, until the returned function is called; that rejects when a renewal was refused. */
function renewing({ client }: Site, { id, everyMs }: { id: string; everyMs: number }): () => Promise<void> {
  const over = new AbortController()
  const done = (async () => {
    while (!over.signal.aborted) {
      await client.leases.renew(id)
      // paced: as a holder does
      await sleep(everyMs, undefined, { signal: over.signal }).catch(() => undefined)
    }
  })()
  done.catch(() => undefined)
  return async () => {
    over.abort()
    await done
  }
}
