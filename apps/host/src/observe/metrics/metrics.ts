/** What the daemon counts. Nothing of the metrics library is loaded in the way of the start: what is counted before is kept. */
import type { Labels, MetricName, SetGauge, Sink } from './definitions.ts'

export interface Metrics {
  /** Adds to a counter. */
  count(name: MetricName, labels?: Labels, by?: number): void
  /** Puts a value into a histogram. */
  record(name: MetricName, value: number, labels?: Labels): void
  /** Asked at each scrape for the values of gauges, and of counters that somebody else keeps. What fails is left out of that scrape. */
  onScrape(read: (set: SetGauge) => void | Promise<void>): void
  /** The scrape, in Prometheus' text format 0.0.4. */
  scrape(): Promise<string>
  /** Loads the library now, when nobody waits for the start any more. */
  load(): Promise<void>
}

/** What may be counted between the first event and the library: the take-up of 10,000 workers, with room to spare. */
const MOST_EARLY = 50_000

export function createMetrics(): Metrics {
  const early: ((sink: Sink) => void)[] = []
  const readers: ((set: SetGauge) => void | Promise<void>)[] = []
  let sink: Sink | undefined
  let loading: Promise<Sink> | undefined

  function put(work: (sink: Sink) => void): void {
    if (sink !== undefined) work(sink)
    else if (early.length < MOST_EARLY) early.push(work)
  }

  function load(): Promise<Sink> {
    loading ??= import('./prometheus.ts').then(({ prometheusSink }) => {
      const made = prometheusSink(readers)
      for (const work of early.splice(0)) work(made)
      sink = made
      return made
    })
    return loading
  }

  return {
    count: (name, labels = {}, by = 1) => put((to) => to.count(name, labels, by)),
    record: (name, value, labels = {}) => put((to) => to.record(name, value, labels)),
    onScrape: (read) => void readers.push(read),
    scrape: async () => (await load()).scrape(),
    load: async () => void (await load()),
  }
}
