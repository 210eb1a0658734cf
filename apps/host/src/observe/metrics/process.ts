/** The daemon's process and its files, read at the scrape. */
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { hostVersion } from '../../version.ts'
import type { Metrics } from './metrics.ts'

/** How often the loop is looked at; what is shorter is not seen. */
const RESOLUTION_MS = 20
const QUANTILES = [
  ['0.5', 50],
  ['0.99', 99],
] as const

/** Returns what ends the watching. */
export function countProcess(metrics: Metrics): () => void {
  const loop = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  loop.enable()
  metrics.onScrape((set) => {
    set('muster_build_info', 1, { version: hostVersion, node: process.versions.node })
    // It measures from one look to the next, so that a loop on time shows the pause between two looks.
    const lag = (ns: number): number => Math.max(0, (Number.isFinite(ns) ? ns : 0) / 1e9 - RESOLUTION_MS / 1000)
    for (const [quantile, percentile] of QUANTILES)
      set('muster_event_loop_lag_seconds', lag(loop.count === 0 ? 0 : loop.percentile(percentile)), { quantile })
    set('muster_event_loop_lag_seconds', lag(loop.count === 0 ? 0 : loop.max), { quantile: '1' })
    loop.reset()
    const { user, system } = process.cpuUsage()
    set('process_cpu_seconds_total', (user + system) / 1e6)
    set('process_start_time_seconds', Math.round((Date.now() / 1000 - process.uptime()) * 1000) / 1000)
    const { rss, heapUsed, heapTotal } = process.memoryUsage()
    set('process_resident_memory_bytes', rss)
    set('nodejs_heap_size_used_bytes', heapUsed)
    set('nodejs_heap_size_total_bytes', heapTotal)
  })
  metrics.onScrape(async (set) => {
    set('process_open_fds', (await readdir('/proc/self/fd')).length)
  })
  return () => loop.disable()
}

/** Sizes of the embedded store. */
export function countStoreFiles(metrics: Metrics, dataDir: string): void {
  metrics.onScrape(async (set) => {
    for (const [part, name] of [
      ['database', 'muster.db'],
      ['wal', 'muster.db-wal'],
    ] as const) {
      const found = await stat(join(dataDir, name)).catch(() => undefined)
      if (found !== undefined) set('muster_store_bytes', found.size, { part })
    }
  })
}
