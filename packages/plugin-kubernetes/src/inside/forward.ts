/** A TCP stream to a port inside a worker: through a program of its image, else through the API server's port-forward. */
import { type ForwardInput, ProviderError } from '@muster/core'
import { ApiFailure } from '../api/failure.ts'
import { forwardPort } from '../api/port-forward.ts'
import type { Cluster } from '../client.ts'
import { rawExecOf } from './exec.ts'
import type { Pod } from '../objects.ts'
import { nothingThere, openRelay } from '@muster/provider-parts/relay'
import { toKubernetesError } from '../api/verdict.ts'
import { workerContainer } from '../translate.ts'
import { podNameOf } from '../workers.ts'

/** Ends when the worker has ended its half. */
export async function* forwardTo(
  cluster: Cluster,
  { pod, port, input }: ForwardInput & { pod: Pod },
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const own = pod.spec.containers.find(({ name }) => name === workerContainer)?.ports ?? []
  if (own.length > 0 && !own.some(({ containerPort }) => containerPort === port))
    throw new ProviderError('invalid-spec', `port ${port} is none of the worker's network.ports`, {
      effect: 'none',
      path: 'port',
    })
  const name = podNameOf(pod)
  const relayed = await openRelay(rawExecOf(cluster, name), { host: '127.0.0.1', port, input }, signal).catch(noShell)
  if (relayed !== undefined) {
    yield* relayed
    return
  }
  try {
    yield* forwardPort(cluster.client.transport, { namespace: cluster.namespace, pod: name, port, input, signal })
  } catch (error) {
    throw error instanceof ApiFailure && error.code === 'REFUSED' ? nothingThere(port, error) : error
  }
}

/** An image without a shell has no relay. */
function noShell(error: unknown): undefined {
  if (!(error instanceof ApiFailure && toKubernetesError(error, { doing: 'reach it', mutates: false }).code === 'unsupported'))
    throw error
}
