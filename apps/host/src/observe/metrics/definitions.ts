/** Every metric there is. `docs/reference/metrics.md` is made from this table, and a test compares a real scrape with it. */

export interface MetricDefinition {
  kind: 'counter' | 'gauge' | 'histogram'
  /** One sentence; it is the HELP of the scrape too. */
  help: string
  /** All of them have few values: names of the configuration, words of the code. Never an id. */
  labels: readonly string[]
  /** Upper bounds, of histograms. */
  buckets?: readonly number[]
}

export const metricNames = [
  'muster_build_info',
  'muster_acting',
  'muster_conditions',
  'muster_workers',
  'muster_workers_ended_total',
  'muster_workers_adopted_total',
  'muster_worker_ready_seconds',
  'muster_worker_terminate_seconds',
  'muster_worker_memory_bytes',
  'muster_worker_cpu_seconds_total',
  'muster_worker_network_bytes_total',
  'muster_worker_disk_bytes_total',
  'muster_leases',
  'muster_leases_ended_total',
  'muster_lease_queue_seconds',
  'muster_lease_active_seconds',
  'muster_runs_ended_total',
  'muster_run_seconds',
  'muster_run_memory_peak_bytes',
  'muster_provider_calls_total',
  'muster_provider_call_seconds',
  'muster_provider_calls_waited_total',
  'muster_provider_calls_in_flight',
  'muster_provider_state',
  'muster_provider_breaker',
  'muster_provider_restarts_total',
  'muster_provider_turn_bytes',
  'muster_provider_turn_frames',
  'muster_plugin_spans_dropped_total',
  'muster_orphans',
  'muster_orphans_total',
  'muster_decisions_total',
  'muster_journal_rows_total',
  'muster_store_ok',
  'muster_store_waiting_writes',
  'muster_store_commit_seconds',
  'muster_store_commit_writes',
  'muster_store_bytes',
  'muster_run_files_bytes',
  'muster_api_requests_total',
  'muster_api_request_seconds',
  'muster_api_streams',
  'muster_event_loop_lag_seconds',
  'process_cpu_seconds_total',
  'process_start_time_seconds',
  'process_resident_memory_bytes',
  'process_open_fds',
  'nodejs_heap_size_used_bytes',
  'nodejs_heap_size_total_bytes',
] as const
export type MetricName = (typeof metricNames)[number]

export type Labels = Readonly<Record<string, string>>

/** Calls, requests and writes, in seconds: from what is nearly nothing to what is nearly hung. */
const CALL_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
/** Lives of workers: a local process is ready within milliseconds, a large machine after many minutes. */
const LIFE_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600]
const RUN_SECONDS = [0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400]
/** As limits are set: from 64 MiB, doubled. */
const RUN_BYTES = Array.from({ length: 12 }, (_, power) => 2 ** (26 + power))
/** Up to the largest group that the store takes. */
const GROUP_WRITES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]

const gauge = (help: string, ...labels: string[]): MetricDefinition => ({ kind: 'gauge', help, labels })
const counter = (help: string, ...labels: string[]): MetricDefinition => ({ kind: 'counter', help, labels })
const histogram = (help: string, buckets: readonly number[], ...labels: string[]): MetricDefinition => ({
  kind: 'histogram',
  help,
  labels,
  buckets,
})

export const metricDefinitions: Readonly<Record<MetricName, MetricDefinition>> = {
  muster_build_info: gauge('1, with what runs as labels.', 'version', 'node'),
  muster_acting: gauge('1 while this host holds the term and may act, else 0.'),
  muster_conditions: gauge("Lasting states worth an operator's eye that hold now.", 'scope', 'type'),

  muster_workers: gauge('Live workers by record phase.', 'pool', 'provider', 'phase'),
  muster_workers_ended_total: counter(
    'Workers that were closed, by how they ended: gone, lost, refused, never-made, disowned.',
    'pool',
    'provider',
    'end',
  ),
  muster_workers_adopted_total: counter('Live workers that this host took over at its start.', 'provider'),
  muster_worker_ready_seconds: histogram(
    'From the durable intent to launch until the worker was ready.',
    LIFE_SECONDS,
    'pool',
    'provider',
  ),
  muster_worker_terminate_seconds: histogram(
    'From the decision to terminate until the provider had nothing of the worker any more.',
    LIFE_SECONDS,
    'pool',
    'provider',
  ),

  muster_worker_memory_bytes: gauge(
    'Memory of live workers together, by their last samples, where their provider tells.',
    'pool',
  ),
  muster_worker_cpu_seconds_total: counter(
    'Processor time of workers, where their provider tells; counted while they live.',
    'pool',
  ),
  muster_worker_network_bytes_total: counter('What workers received and sent, counted likewise.', 'pool', 'direction'),
  muster_worker_disk_bytes_total: counter(
    'What workers read from disks and wrote to them, counted likewise.',
    'pool',
    'direction',
  ),

  muster_leases: gauge('Leases that have not ended: queued, or held (a worker is made for it, or it has one).', 'pool', 'state'),
  muster_leases_ended_total: counter('Leases that ended: released, expired, lost, refused, cancelled, failed.', 'pool', 'end'),
  muster_lease_queue_seconds: histogram('From the request of a lease until a worker was assigned to it.', LIFE_SECONDS, 'pool'),
  muster_lease_active_seconds: histogram('From the request of a lease until its worker was ready.', LIFE_SECONDS, 'pool'),

  muster_runs_ended_total: counter(
    'Runs that ended: passed, failed, timeout, cancelled, oom, infrastructure, unknown.',
    'pool',
    'outcome',
  ),
  muster_run_seconds: histogram('From the start of a command to the end of its run.', RUN_SECONDS, 'pool'),
  muster_run_memory_peak_bytes: histogram('The most memory that a run had, where it is known.', RUN_BYTES, 'pool'),

  muster_provider_calls_total: counter(
    'Calls to a provider that have settled; code ok, or that of the error.',
    'provider',
    'method',
    'code',
  ),
  muster_provider_call_seconds: histogram(
    'Duration of calls to a provider, streams left out.',
    CALL_SECONDS,
    'provider',
    'method',
  ),
  muster_provider_calls_waited_total: counter(
    'Calls that did not go to the plugin at once: for a place of their own provider (own), or for anything else (others), as no call should.',
    'provider',
    'reason',
  ),
  muster_provider_calls_in_flight: gauge('Calls that are open at the plugin process.', 'provider'),
  muster_provider_state: gauge('1 for the state that the provider is in.', 'provider', 'state'),
  muster_provider_breaker: gauge('1 for the state that the breaker of the provider is in.', 'provider', 'state'),
  muster_provider_restarts_total: counter('Restarts of the plugin process since the daemon started.', 'provider'),
  muster_provider_turn_bytes: gauge(
    "The most bytes that one turn of the host's event loop has read from the plugin.",
    'provider',
  ),
  muster_provider_turn_frames: gauge(
    "The most frames that one turn of the host's event loop has taken from the plugin.",
    'provider',
  ),
  muster_plugin_spans_dropped_total: counter(
    'Spans of plugins that were not recorded: more than a call may have, or of another trace.',
    'provider',
  ),

  muster_orphans: gauge('Workers with our owner tag and without a record: quarantined or being removed.', 'provider', 'state'),
  muster_orphans_total: counter(
    'What happened to orphans: quarantined (found), removed (asked to end), gone.',
    'provider',
    'event',
  ),

  muster_decisions_total: counter('Decisions of this process, by the rule that made them.', 'rule'),
  muster_journal_rows_total: counter('Decisions ever written to the journal of this store.'),
  muster_store_ok: gauge('1 while the store takes writes, else 0.'),
  muster_store_waiting_writes: gauge('Writes that wait for the store.'),
  muster_store_commit_seconds: histogram('Duration of one commit of the store, with all writes in it.', CALL_SECONDS),
  muster_store_commit_writes: histogram('Writes that shared one commit.', GROUP_WRITES),
  muster_store_bytes: gauge('Size of the store on disk.', 'part'),
  muster_run_files_bytes: gauge(
    'Logs and outputs on disk, as of the last round of retention (soon after the start, then hourly).',
  ),

  muster_api_requests_total: counter('Answered requests; operation is that of the OpenAPI document.', 'operation', 'status'),
  muster_api_request_seconds: histogram(
    'From a request to the end of its answer, long polls and streams included.',
    CALL_SECONDS,
    'operation',
  ),
  muster_api_streams: gauge('Answers that stream now.'),

  muster_event_loop_lag_seconds: gauge(
    'How late the event loop was since the last scrape, by quantile; 1 is the worst.',
    'quantile',
  ),
  process_cpu_seconds_total: counter('User and system time of the daemon.'),
  process_start_time_seconds: gauge('When the daemon started, in seconds since 1970.'),
  process_resident_memory_bytes: gauge('Resident memory of the daemon.'),
  process_open_fds: gauge('Open file descriptors of the daemon; absent where the system does not tell.'),
  nodejs_heap_size_used_bytes: gauge('Used heap of the daemon.'),
  nodejs_heap_size_total_bytes: gauge('Reserved heap of the daemon.'),
}

export type SetGauge = (name: MetricName, value: number, labels?: Labels) => void

/** Where values go once the library is there. */
export interface Sink {
  count(name: MetricName, labels: Labels, by: number): void
  record(name: MetricName, value: number, labels: Labels): void
  scrape(): Promise<string>
}
