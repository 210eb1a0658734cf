/**
 * A way to a port of a worker where nobody here reaches the engine's bridge: a program of the worker's own image connects to the port from inside.
 */
import { ProviderError, type WorkerId } from '@muster/core'
import { openRelay, type RelayTo } from '@muster/provider-parts/relay'
import type { Engine } from '../client.ts'
import { codedExecOf } from './exec.ts'

export interface Relay {
  engine: Engine
  id: WorkerId
}

/** What comes from the port, until it ends. */
export async function* relayPort(relay: Relay, to: RelayTo, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const relayed = await openRelay(codedExecOf(relay), to, signal)
  if (relayed === undefined)
    throw new ProviderError('unsupported', 'over TLS a port is reached by a program of the image: it has none', {
      ...{ effect: 'none', path: 'port' },
      hint: 'Use an image with /bin/sh and one of node, python3 or BusyBox, or reach the engine by `ssh`.',
    })
  yield* relayed
}
