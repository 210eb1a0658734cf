/** One configured plugin process and the host's side of it, with the calls' surroundings filled in. */
import { randomBytes } from 'node:crypto'
import { contractVersion, type PluginManifest } from '../../plugin.ts'
import type { SecretValue } from '../../provider.ts'
import { type CallOptions, connectPlugin, type PluginConnection, type WorkerClient } from '../../wire/client.ts'
import type { PluginLink, StartPlugin } from './link.ts'
import { type Tap, tap } from './tap.ts'

type Without<F> = F extends (...args: [...infer A, CallOptions]) => infer R ? (...args: A) => R : never

/** The contract's methods without their last parameter. */
export type Calls = { readonly [M in keyof WorkerClient]: Without<WorkerClient[M]> }

export interface Session extends Calls {
  readonly link: PluginLink
  readonly connection: PluginConnection
  readonly tap: Tap | undefined
  /** The same calls with other surroundings. */
  with(options: Partial<CallOptions>): Calls
  readonly described: PluginManifest
  /** Is its process alive and connected? */
  readonly open: boolean
  /** SIGKILL. */
  kill(): Promise<void>
  /** Ends the connection; the plugin exits by itself. */
  close(): Promise<void>
}

export interface SessionOptions {
  start: StartPlugin
  config: unknown
  owner: string
  provider: string
  dataDir: string
  /** Deadline of each call, unless it says otherwise. */
  patienceMs: number
  tapped: boolean
  secret?(name: string, refused: string | undefined): SecretValue
}

export async function openSession(options: SessionOptions): Promise<Session> {
  const { config, owner, provider, dataDir, patienceMs, secret } = options
  const link = options.start({ dataDir })
  const tapped = options.tapped ? tap(link.socket) : undefined
  const connection = connectPlugin(tapped?.socket ?? link.socket)
  let open = true
  const ended = (): void => {
    open = false
  }
  void connection.closed.then(ended)
  void link.exited.then(ended)
  const described = await connection.describe({ deadlineMs: patienceMs })
  await connection.configure(
    { contract: contractVersion, config, context: { provider, owner, dataDir } },
    { deadlineMs: patienceMs },
  )

  const usual = (): CallOptions => ({
    deadlineMs: patienceMs,
    idempotencyKey: randomBytes(8).toString('hex'),
    epoch: 1,
    attempt: 1,
    traceparent: `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-00`,
    ...(secret !== undefined && { secret: (name, { refused }) => Promise.resolve().then(() => secret(name, refused)) }),
  })
  const calls = (over: Partial<CallOptions>): Calls =>
    Object.fromEntries(
      Object.entries(connection.worker as unknown as Record<string, (...args: unknown[]) => unknown>).map(([name, method]) => [
        name,
        (...args: unknown[]) => method(...args, { ...usual(), ...over }),
      ]),
    ) as unknown as Calls

  return {
    ...calls({}),
    link,
    connection,
    tap: tapped,
    with: calls,
    described,
    get open() {
      return open
    },
    async kill() {
      await link.kill()
      connection.close('killed by the suite')
    },
    async close() {
      connection.close('the test is over')
      await link.exited
    },
  }
}
