/** The metrics library: OpenTelemetry's instruments, read as Prometheus' text. */
import type { Counter, Histogram, Observable } from '@opentelemetry/api'
import { PrometheusSerializer } from '@opentelemetry/exporter-prometheus'
import { AggregationTemporality, InstrumentType, MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics'
import { type MetricDefinition, metricDefinitions, type MetricName, type SetGauge, type Sink } from './definitions.ts'

/** Label sets of one metric; a deployment with more pools than this has them summed up in one more set. */
const MOST_SERIES = 5000

/** Reads when asked, and only then. */
class PullReader extends MetricReader {
  constructor() {
    super({
      cardinalitySelector: () => MOST_SERIES,
      // Cumulative gauges would show for ever what was seen once, as a phase that no worker is in any more.
      aggregationTemporalitySelector: (type) =>
        type === InstrumentType.OBSERVABLE_GAUGE ? AggregationTemporality.DELTA : AggregationTemporality.CUMULATIVE,
    })
  }
  protected override async onForceFlush(): Promise<void> {}
  protected override async onShutdown(): Promise<void> {}
}

export function prometheusSink(readers: readonly ((set: SetGauge) => void | Promise<void>)[]): Sink {
  const reader = new PullReader()
  const meter = new MeterProvider({ readers: [reader] }).getMeter('muster')
  const serializer = new PrometheusSerializer(undefined, false, undefined, true, true)
  const counters = new Map<MetricName, Counter>()
  const histograms = new Map<MetricName, Histogram>()
  const observed = new Map<MetricName, Observable>()

  for (const [key, { kind, help, buckets }] of Object.entries(metricDefinitions) as [MetricName, MetricDefinition][]) {
    const options = { description: help }
    if (kind === 'histogram')
      histograms.set(key, meter.createHistogram(key, { ...options, advice: { explicitBucketBoundaries: [...(buckets ?? [])] } }))
    else if (kind === 'gauge') observed.set(key, meter.createObservableGauge(key, options))
    else if (ownCounters.has(key)) observed.set(key, meter.createObservableCounter(key, options))
    else counters.set(key, meter.createCounter(key, options))
  }
  meter.addBatchObservableCallback(
    async (result) => {
      const set: SetGauge = (name, value, labels = {}) => {
        const instrument = observed.get(name)
        if (instrument !== undefined) result.observe(instrument, value, labels)
      }
      for (const read of readers)
        try {
          await read(set)
        } catch {
          // A store that is ill cannot be asked; the rest of the scrape says so.
        }
    },
    [...observed.values()],
  )
  return {
    count: (name, labels, by) => counters.get(name)?.add(by, labels),
    record: (name, value, labels) => histograms.get(name)?.record(value, labels),
    scrape: async () => serializer.serialize((await reader.collect()).resourceMetrics),
  }
}

/** Counters that somebody else keeps: read at the scrape, not added to. */
const ownCounters: ReadonlySet<MetricName> = new Set<MetricName>([
  'muster_journal_rows_total',
  'muster_provider_restarts_total',
  'process_cpu_seconds_total',
])
