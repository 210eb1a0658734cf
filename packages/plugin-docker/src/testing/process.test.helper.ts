/** The plugin as a process of its own, as the host runs it, and its death at any moment. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { type CallOptions, connectPlugin, type PluginConnection } from '@muster/core'

export interface PluginProcess extends PluginConnection {
  readonly child: ChildProcess
  /** Milliseconds from spawn to configured. */
  readonly startMs: number
  /** SIGKILL, and waits until it is dead. */
  kill(): Promise<void>
}

const entry = fileURLToPath(new URL('../plugin.ts', import.meta.url))

export async function startPlugin(
  config: object,
  context: { owner: string; provider: string },
  file: string = entry,
): Promise<PluginProcess> {
  const started = performance.now()
  const child = spawn(process.execPath, ['--conditions=@muster/source', file], {
    stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
    env: {},
  })
  const connection = connectPlugin(child.stdio[3] as Duplex)
  await connection.configure(
    { contract: '1.0', config, context: { ...context, dataDir: '/nonexistent' } },
    { deadlineMs: 60_000 },
  )
  return {
    ...connection,
    child,
    startMs: performance.now() - started,
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGKILL')
      await once(child, 'exit')
    },
  }
}

export function optionsOf(deadlineMs = 60_000): CallOptions {
  return {
    deadlineMs,
    idempotencyKey: 'key',
    epoch: 1,
    attempt: 1,
    traceparent: '00-00000000000000000000000000000001-0000000000000001-01',
  }
}
