/** A plugin process for the wire's own tests: every method, answers at once, misbehaves as its config says. */
import { ProviderError } from '../errors.ts'
import { definePlugin, type WorkerPluginManifest } from '../plugin.ts'
import type { Call, ExecChunk, LogChunk, WorkerObservation, WorkerProvider } from '../provider.ts'
import type { LaunchSpec } from '../spec.ts'
import { serve } from './serve.ts'

const open = { type: 'object' }

export const echoManifest: WorkerPluginManifest = {
  schema: 1,
  name: '@muster/echo',
  version: '1.0.0',
  kind: 'worker-provider',
  contract: ['1.0'],
  entry: 'echo.test.child.ts',
  config: open,
  settings: open,
  capabilities: {
    work: ['command', 'hold'],
    fields: ['env'],
    exec: { reattach: false, stdin: true, tty: false, exitCode: true },
    copy: { in: true, out: true, afterExit: false },
    logs: { live: true, delayMs: 0, split: true },
    watch: true,
    forward: true,
    stats: false,
    headroom: false,
    quote: false,
    preparePool: false,
    idempotency: { by: 'id' },
    visibility: { launchMs: 0, goneMs: 0 },
    exitRetentionMs: null,
    exitCode: true,
    lifetime: 'host',
    fresh: true,
    services: false,
    image: 'none',
    fencing: 'none',
    callback: false,
    envBytes: 1024,
    handles: [1],
  },
  permissions: { net: [], unix: [], fsRead: [], fsWrite: [], env: [], childProcess: false },
  limits: { startMs: 5000, retireMs: 5000, heapMb: 256, inFlight: 64 },
  secrets: ['token'],
}

const chunk = Buffer.alloc(64 * 1024, 'a')

function observe(spec: LaunchSpec): WorkerObservation {
  return { id: spec.id, handle: { v: 1, data: { id: spec.id } }, tags: spec.tags, phase: 'running', ready: true }
}

export function echoProvider(): WorkerProvider {
  const workers = new Map<string, WorkerObservation>()
  let secret = ''
  return {
    async probe(call) {
      const { value, version } = await call.secret('token')
      secret = value
      call.log.info('probed', { value })
      return { state: 'ready', facts: { version, bytes: String(value.length) } }
    },
    async launch(spec) {
      if (spec.env?.['FAIL'] !== undefined) throw new ProviderError('capacity', 'full', { effect: 'none' })
      if (spec.env?.['CRASH'] !== undefined)
        queueMicrotask(() => {
          throw new Error(`${secret} escapes`)
        })
      if (spec.env?.['HANG'] !== undefined) await new Promise(() => undefined)
      workers.set(spec.id, observe(spec))
      return { handle: { v: 1, data: { id: spec.id } } }
    },
    async terminate(target) {
      workers.delete(target.id)
      return { state: 'gone' }
    },
    async list() {
      return { workers: [...workers.values()], asOf: new Date().toISOString() }
    },
    async inspect(targets) {
      return targets.flatMap((one) => workers.get(one.id) ?? [])
    },
    async *watch(): AsyncGenerator<WorkerObservation> {
      yield* workers.values()
    },
    async *logs(_target, options): AsyncGenerator<LogChunk> {
      for (let line = Number(options.cursor ?? 0); line < 1000; line++)
        yield { stream: 'stdout', cursor: String(line + 1), data: Buffer.from(`line ${line}\n`) }
    },
    async exec(_target, command) {
      const { promise, resolve } = Promise.withResolvers<{ code: number; reason: string }>()
      async function* output(): AsyncGenerator<ExecChunk> {
        let offset = command.from.stdout
        for await (const data of command.input ?? []) {
          yield { stream: 'stdout', offset, data }
          offset += data.length
        }
        resolve({ code: 0, reason: 'exited' })
      }
      return { output: output(), exit: promise }
    },
    async copyIn(_target, { tar }) {
      for await (const part of tar) void part
    },
    async *copyOut(_target, path, call: Call): AsyncGenerator<Uint8Array> {
      for (let left = Number(path); left > 0 && !call.signal.aborted; left -= chunk.length)
        yield left < chunk.length ? chunk.subarray(0, left) : chunk
    },
    async *forward(_target, { input }): AsyncGenerator<Uint8Array> {
      yield* input
    },
  }
}

if (import.meta.main) serve(definePlugin({ manifest: echoManifest, create: async () => echoProvider() }))
