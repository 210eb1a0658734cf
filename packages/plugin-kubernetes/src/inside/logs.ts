/** A worker's output, as its node keeps it: one stream of both, with a place in it that outlives whoever reads. */
import type { Call, LogChunk, LogOptions, WorkerId } from '@muster/core'
import { formatPosition, parsePosition } from '../api/log-position.ts'
import { followLog } from '../api/logs.ts'
import type { Cluster } from '../client.ts'
import type { Pod } from '../objects.ts'
import { workerContainer } from '../translate.ts'

export async function* readLogs(
  { client, namespace, workers }: Cluster,
  { id, options, check }: { id: WorkerId; options: LogOptions; check(pod: Pod): void },
  call: Call,
): AsyncGenerator<LogChunk> {
  const { cursor, follow } = options
  const pod = await workers.logged(id, { follow, signal: call.signal })
  if (pod === undefined) return
  const from = cursor === undefined ? {} : { from: parsePosition(cursor) }
  const target = { namespace, pod, container: workerContainer }
  for await (const { bytes, position, gap } of followLog(client.requests, target, {
    ...from,
    follow,
    check: (seen) => check(workers.of(seen as unknown as Pod)),
    signal: call.signal,
  })) {
    if (gap) call.log.warn('a part of the log is lost: the node has removed it', { worker: id })
    yield { stream: 'stdout', cursor: formatPosition(position), data: bytes }
  }
}
