/** Many calls and streams at once over a channel that cuts and delays as it likes, aborted and broken off anywhere. */
import { Duplex } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import type { WorkerPlugin } from '../plugin.ts'
import type { ExecChunk, WorkerObservation, WorkerProvider } from '../provider.ts'
import { connectPlugin, type PluginConnection } from './client.ts'
import { echoManifest } from './echo.test.child.ts'
import { configuration, execId, id, observation, options, query, spec } from './link.test.helper.ts'
import { createRedactor } from './redact.ts'
import { createService } from './service.ts'

const target = { id }

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(setImmediate)
}

/** Two ends; what goes in at one comes out at the other in pieces of the next size, after the next pause. */
function channel(sizes: readonly number[], pauses: readonly number[]): [Duplex, Duplex] {
  let step = 0
  const next = (from: readonly number[], otherwise: number): number => from[step++ % Math.max(1, from.length)] ?? otherwise
  const end = (other: () => Duplex): Duplex =>
    new Duplex({
      read: () => undefined,
      async write(chunk: Buffer, _encoding, done) {
        for (let at = 0; at < chunk.length;) {
          const size = next(sizes, chunk.length)
          await turns(next(pauses, 0))
          other().push(Buffer.from(chunk.subarray(at, at + size)))
          at += size
        }
        done()
      },
      final(done) {
        other().push(null)
        done()
      },
    })
  const left: Duplex = end(() => right)
  const right: Duplex = end(() => left)
  return [left, right]
}

const bytesOf = (index: number, length: number): Uint8Array => new Uint8Array(length).fill(index % 251)

function provider(): Partial<WorkerProvider> {
  return {
    async launch(given) {
      await turns(Number(given.env?.['TURNS'] ?? 0))
      return { handle: { v: 1, data: given.id } }
    },
    async terminate() {
      return { state: 'gone' }
    },
    async *watch(): AsyncGenerator<WorkerObservation> {
      for (let one = 0; one < 20; one++) yield observation
    },
    async *copyOut(_target, path): AsyncGenerator<Uint8Array> {
      for (let one = 0; one < 10; one++) yield bytesOf(one, Number(path))
    },
    async copyIn(_target, { tar, path }) {
      let left = Number(path)
      for await (const part of tar) if ((left -= part.length) < 0) return
    },
    async exec(_target, command) {
      const exit = Promise.withResolvers<{ code: number; reason: string }>()
      async function* output(): AsyncGenerator<ExecChunk> {
        let offset = 0
        try {
          for await (const data of command.input ?? []) {
            yield { stream: 'stdout', offset, data }
            offset += data.length
          }
        } finally {
          exit.resolve({ code: offset % 256, reason: 'exited' })
        }
      }
      return { output: output(), exit: exit.promise }
    },
  }
}

interface Step {
  what: 'launch' | 'terminate' | 'watch' | 'copyOut' | 'copyIn' | 'exec'
  size: number
  /** Waits so many turns before it begins. */
  begin: number
  /** Aborts after so many turns; never when undefined. */
  abort: number | undefined
  /** Breaks off after so many items. */
  items: number
}

async function* input(size: number): AsyncGenerator<Uint8Array> {
  for (let one = 0; one < 8; one++) yield bytesOf(one, size)
}

async function readSome(items: AsyncIterable<unknown>, most: number): Promise<number> {
  let seen = 0
  for await (const item of items) if (item !== undefined && ++seen >= most) break
  return seen
}

/** What came of it: the items that were read, or the code of its error. */
async function take(host: PluginConnection, { what, size, begin, abort, items }: Step): Promise<unknown> {
  await turns(begin)
  const controller = new AbortController()
  if (abort !== undefined) void turns(abort).then(() => controller.abort())
  const call = options({ signal: controller.signal, deadlineMs: 60_000 })
  switch (what) {
    case 'launch':
      return await host.worker.launch({ ...spec, env: { TURNS: String(items) } }, call)
    case 'terminate':
      return await host.worker.terminate(target, { graceMs: 0, force: false, reason: 'x' }, call)
    case 'watch':
      return await readSome(host.worker.watch(query, call), items)
    case 'copyOut':
      return await readSome(host.worker.copyOut(target, String(size), call), items)
    case 'copyIn':
      return await host.worker.copyIn(target, { path: String(size * items), tar: input(size) }, call)
    case 'exec': {
      const command = { id: execId, command: ['cat'], stdin: true, from: { stdout: 0, stderr: 0 }, input: input(size) }
      const session = await host.worker.exec(target, command, call)
      const seen = await readSome(session.output, items)
      return [seen, (await session.exit).reason]
    }
  }
}

const step: fc.Arbitrary<Step> = fc.record({
  what: fc.constantFrom(
    'launch' as const,
    'terminate' as const,
    'watch' as const,
    'copyOut' as const,
    'copyIn' as const,
    'exec' as const,
  ),
  size: fc.integer({ min: 1, max: 100_000 }),
  begin: fc.nat(5),
  abort: fc.option(fc.nat(30), { nil: undefined }),
  items: fc.integer({ min: 1, max: 25 }),
})

describe('chaos', () => {
  it('breaks no rule on either side, and leaves nothing open', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 15 }),
        fc.array(fc.integer({ min: 1000, max: 70_000 }), { minLength: 1, maxLength: 5 }),
        fc.array(fc.nat(2), { minLength: 1, maxLength: 5 }),
        async (...[steps, sizes, pauses]) => {
          const [left, right] = channel(sizes, pauses)
          const plugin: WorkerPlugin = { manifest: echoManifest, create: async () => provider() as WorkerProvider }
          const service = createService(right, plugin, { write: () => undefined, redactor: createRedactor() })
          const host = connectPlugin(left)
          await host.configure(configuration, { deadlineMs: 5000 })
          const results = await Promise.all(
            steps.map(async (one) => await take(host, one).catch((error: { code: string }) => error.code)),
          )
          for (const [index, result] of results.entries()) {
            if (typeof result === 'string') expect([steps[index]?.abort !== undefined, result]).toEqual([true, 'cancelled'])
          }
          await vi.waitFor(() => {
            expect(host.stats()).toMatchObject({ asked: 0, senders: 0, receivers: 0, dataFrames: 0 })
            expect(service.peer.stats()).toMatchObject({ open: 0, senders: 0, receivers: 0, dataFrames: 0 })
          })
          expect(service.peer.closing).toBeUndefined()
          host.close('done')
          expect(await host.closed).toEqual({ kind: 'closed', message: 'done' })
        },
      ),
      { numRuns: 60 },
    )
  })
})
