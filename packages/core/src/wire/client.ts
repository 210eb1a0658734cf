/** The host's side of a plugin process: {@link connectPlugin}. */
import type { Duplex } from 'node:stream'
import type { CredentialProvider } from '../credential.ts'
import type { PluginManifest } from '../plugin.ts'
import type { Call, WorkerProvider } from '../provider.ts'
import type { CallOptions, LifeOptions } from './call-options.ts'
import { type ClientCore, type ConnectOptions, createClientCore } from './client-core.ts'
import { callMethod } from './client-method.ts'
import type { CloseReason } from './close.ts'
import { credentialMethods } from './credential-messages.ts'
import type { ConfigureParams, MethodSpec } from './messages.ts'
import type { PeerStats } from './peer.ts'
import { workerMethods } from './worker-messages.ts'

type WithOptions<F> = F extends (...args: [...infer A, Call]) => infer R ? (...args: [...A, CallOptions]) => R : never
type ClientOf<P> = { readonly [M in keyof P]-?: WithOptions<NonNullable<P[M]>> }

/**
 * All methods of the contract with {@link CallOptions} in the place of `Call`. One that the plugin has not fails with `unsupported`.
 * An iterable starts its call at the first `next()` and can be read once; `return()` cancels the call. `return()` of an exec's
 * output only lets go of the output; the session ends with its exit, its deadline or its signal.
 */
export type WorkerClient = ClientOf<WorkerProvider>
export type CredentialClient = ClientOf<CredentialProvider>

export interface PluginConnection {
  /** What the running plugin says it is. */
  describe(options: LifeOptions): Promise<PluginManifest>
  configure(params: ConfigureParams, options: LifeOptions): Promise<void>
  /** Resolves when all open calls, streams too, have ended and the plugin is about to exit; it refuses new ones meanwhile. */
  retire(options: LifeOptions): Promise<void>
  readonly worker: WorkerClient
  readonly credential: CredentialClient
  /** Settles once, when the connection has ended, with the reason. Open calls have failed by then. */
  readonly closed: Promise<CloseReason>
  /** Ends the connection at once; the plugin exits within a second. */
  close(message: string): void
  stats(): PeerStats & { waiting: number }
}

/** Speaks with a plugin over its duplex (file descriptor 3 of the child). Answers that break the contract end the connection. */
export function connectPlugin(socket: Duplex, options: ConnectOptions = {}): PluginConnection {
  const core = createClientCore(socket, options)
  return {
    describe: (life) => core.life('describe', {}, life),
    async configure(params, life) {
      await core.life('configure', params, life)
    },
    async retire(life) {
      try {
        await core.life('retire', {}, life)
      } catch (error) {
        // The answer can be lost when the process exits right after it.
        if (core.peer.closing?.kind !== 'ended') throw error
      }
    },
    worker: clientOf(core, 'worker', workerMethods) as unknown as WorkerClient,
    credential: clientOf(core, 'credential', credentialMethods) as unknown as CredentialClient,
    closed: core.peer.closed,
    close: (message) => core.peer.close({ kind: 'closed', message }),
    stats: () => core.stats(),
  }
}

function clientOf(core: ClientCore, kind: string, table: Readonly<Record<string, MethodSpec>>): Record<string, unknown> {
  const methods = Object.entries(table).map(([name, spec]) => {
    const method = { kind, name, spec }
    return [name, (...args: unknown[]) => callMethod(core, method, args)] as const
  })
  return Object.fromEntries(methods)
}

export type { CallOptions } from './call-options.ts'
