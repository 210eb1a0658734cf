/** A way to an engine: what the ways have in common. */
import type { Duplex } from 'node:stream'

/** A connection takes a round trip or three, on another continent and under load some seconds. */
export const CONNECT_TIMEOUT_MS = 10_000

export interface Connector {
  /** A connection to the engine's API. Rejects with an EngineFailure that was not sent, or the ProviderError of a secret. */
  open(): Promise<Duplex>
  /** A TCP stream to an address that the engine's machine can reach; undefined: there is no way. */
  reach: ((host: string, port: number) => Promise<Duplex>) | undefined
  close(): void
}
