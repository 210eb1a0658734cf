/** What the daemon tells of itself, put together: metrics, traces, and the lines of the log about runs, workers and calls. */
import type { Logger } from 'pino'
import { openDoor } from '../api/door-error.ts'
import type { ApiObserver } from '../api/deps.ts'
import { urlHost } from '../config/address.ts'
import type { MusterConfig } from '../config/load.ts'
import { type NetworkSettings, readNetwork } from '../config/network.ts'
import type { Engine } from '../engine/api.ts'
import type { RunRecord } from '../engine/model.ts'
import type { CallWitness } from '../plugins/api.ts'
import { hostVersion } from '../version.ts'
import { callWitness } from './calls.ts'
import { countEngine, countRun } from './metrics/engine.ts'
import { createMetrics, type Metrics } from './metrics/metrics.ts'
import { countProcess, countStoreFiles } from './metrics/process.ts'
import { serveMetrics } from './metrics/server.ts'
import { tellConditions, tellDecisions, tellRun, tellWaiting } from './stories.ts'
import type { OtlpSettings } from './otlp.ts'
import { type Tracing, untraced } from './trace.ts'

export interface ObserveOptions {
  config: Pick<MusterConfig, 'data' | 'metrics' | 'network' | 'otlp'>
  log: Logger
}

export interface ObserveRoom {
  readonly metrics: Metrics
  readonly tracing: Tracing
  readonly witness: CallWitness
  readonly api: ApiObserver
  committed(writes: number, ms: number): void
  engine(engine: Engine): void
  runEnded(run: RunRecord): void
  /** Room that logs and outputs take. */
  measured(bytes: number): void
  /** Opens the address for scrapers, if there is one, and loads what nobody had to wait for. Errors: DoorError. */
  serve(): Promise<void>
  /** Ends what runs by itself; sends the last spans, for a bounded time. */
  stop(): Promise<void>
}

export async function openObserve({ config, log }: ObserveOptions): Promise<ObserveRoom> {
  const metrics = createMetrics()
  const tracing = config.otlp === undefined ? untraced : await exporting(config.otlp, { network: config.network, log })
  const stopProcess = countProcess(metrics)
  const stops = [tracing.stop, async () => stopProcess()]
  countStoreFiles(metrics, config.data)
  let runFiles: number | undefined
  metrics.onScrape((set) => {
    if (runFiles !== undefined) set('muster_run_files_bytes', runFiles)
  })
  return {
    metrics,
    tracing,
    witness: callWitness({ metrics, tracing, log }),
    api: {
      tracing,
      publicMetrics: config.metrics.public,
      scrape: metrics.scrape,
      answered: ({ operation, status, seconds }) => {
        metrics.count('muster_api_requests_total', { operation, status: String(status) })
        metrics.record('muster_api_request_seconds', seconds, { operation })
      },
      streams: (count) => metrics.onScrape((set) => set('muster_api_streams', count())),
    },
    committed: (writes, ms) => {
      metrics.record('muster_store_commit_seconds', ms / 1000)
      metrics.record('muster_store_commit_writes', writes)
    },
    engine: (engine) => {
      countEngine(metrics, engine)
      tellConditions({ engine, log })
      tellDecisions({ engine, log, tracing })
      tellWaiting({ engine, log, tracing })
    },
    runEnded: (run) => {
      countRun(metrics, run)
      tellRun({ log, tracing }, run)
    },
    measured: (bytes) => {
      runFiles = bytes
    },
    serve: async () => {
      if (config.metrics.listen !== undefined) {
        const { listen } = config.metrics
        const where = `${urlHost(listen.host)}:${listen.port}`
        const server = await openDoor('metrics', where, () => serveMetrics(metrics, listen))
        stops.push(server.close)
        log.info({ url: server.url }, 'metrics are served')
      }
      setImmediate(() => {
        metrics.load().catch((error: unknown) => log.error({ err: error }, 'the metrics cannot be loaded'))
      })
    },
    stop: async () => {
      await Promise.all(stops.map((stop) => stop()))
    },
  }
}

/** The exporter of traces is loaded here, where one is configured, and only then. */
async function exporting(
  otlp: OtlpSettings,
  { network, log }: { network: NetworkSettings | undefined; log: Logger },
): Promise<Tracing> {
  const { startOtlp } = await import('./otlp.ts')
  return startOtlp({
    ...otlp,
    version: hostVersion,
    log,
    ...(network === undefined ? {} : { network: await readNetwork(network) }),
  })
}
