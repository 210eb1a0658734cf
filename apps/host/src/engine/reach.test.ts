/** Who may reach into a worker, when, and what is written of it. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { ProviderError, type WorkerCapabilities } from '@muster/core'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openCopies } from './copies.ts'
import { type Reach, reachOf } from './reach.ts'
import { fullCapabilities } from './testing/capabilities.ts'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'

const all: Partial<WorkerCapabilities> = { copy: { in: true, out: true, afterExit: true }, forward: true }
const who = { principal: 'ann', signal: new AbortController().signal }
let h: Harness
let reach: Reach
let worker: string
beforeEach(async () => {
  await open(all)
})
afterEach(() => h.close())

async function open(capabilities: Partial<WorkerCapabilities>): Promise<void> {
  h = await openHarness({ pools: [poolConfig()], providers: [{ name: 'one', capabilities }] })
  const { id } = await h.engine.leases.request(leaseRequest())
  await h.pass(1000)
  worker = h.engine.leases.get(id)?.worker_id ?? ''
  reach = reachOf(h.engine, await openCopies({ dataDir: h.dir, sealer: h.engine.sealer, clock: h.clock }))
}

async function* bytes(...parts: string[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part)
}

async function read(source: AsyncIterable<Uint8Array>): Promise<string> {
  let text = ''
  for await (const chunk of source) text += Buffer.from(chunk).toString()
  return text
}

/** All three, with how each ends. */
function tries(): Promise<unknown>[] {
  return [
    reach.copyIn(worker, { ...who, path: 'in', tar: bytes('tar') }),
    reach.copyOut(worker, { ...who, path: 'out' }),
    reach.forward(worker, { ...who, port: 80, input: bytes() }),
  ].map((one) => one.then(() => 'done').catch((error: unknown) => (error as { code: string }).code))
}

test('files go in and out, a connection to a port; each is a row of the journal with who did it', async () => {
  const got: unknown[] = []
  Object.assign(h.provider(), {
    copyIn: async (target: { id: string }, { path, tar }: { path: string; tar: AsyncIterable<Uint8Array> }) => {
      got.push([target.id, path, await read(tar)])
    },
    copyOut: (target: { id: string }, path: string) => bytes(target.id, ' ', path),
    forward: (_target: unknown, { port, input }: { port: number; input: AsyncIterable<Uint8Array> }) =>
      (async function* () {
        yield Buffer.from(`${port} ${await read(input)}`)
      })(),
  })
  await reach.copyIn(worker, { ...who, path: 'in', tar: bytes('a', 'b') })
  expect(got).toEqual([[worker, 'in', 'ab']])
  expect(await read(await reach.copyOut(worker, { ...who, path: 'out' }))).toBe(`${worker} out`)
  expect(await read(await reach.forward(worker, { ...who, port: 80, input: bytes('hello') }))).toBe('80 hello')
  const rows = (await h.engine.journal.why('worker', worker)).filter(({ rule }) => rule === 'worker-reached')
  expect(rows).toMatchObject([
    { decision: 'copy files in', pool: 'ci', provider: 'one' },
    { decision: 'copy files out' },
    { decision: 'forward ports' },
  ])
  expect(rows.map(({ inputs }) => JSON.parse(inputs) as unknown)).toEqual([
    { principal: 'ann', path: 'in' },
    { principal: 'ann', path: 'out' },
    { principal: 'ann', port: 80 },
  ])
})

test('a copy that is wrong from the start says so before its first byte; one that is left is ended', async () => {
  let ended = false
  Object.assign(h.provider(), {
    copyOut: (_target: unknown, path: string) =>
      (async function* () {
        try {
          if (path === 'none') throw new ProviderError('not-found', 'no such file')
          for (;;) yield Buffer.from('x')
        } finally {
          ended = true
        }
      })(),
  })
  await expect(reach.copyOut(worker, { ...who, path: 'none' })).rejects.toMatchObject({ code: 'not-found' })
  ended = false
  for await (const chunk of await reach.copyOut(worker, { ...who, path: 'some' })) {
    expect(Buffer.from(chunk).toString()).toBe('x')
    break
  }
  expect(ended).toBe(true)
})

test('what the provider cannot is unsupported, a worker that is none is not found', async () => {
  await h.close()
  await open({})
  expect(await Promise.all(tries())).toEqual(['unsupported', 'unsupported', 'unsupported'])
  const { exec: _none, ...without } = h.provider().capabilities
  for (const capabilities of [without, { ...without, exec: { ...fullCapabilities.exec, tty: false } }]) {
    Object.assign(h.provider(), { capabilities })
    const command = { command: ['sh'], tty: { columns: 80, rows: 24 } }
    await expect(reach.terminal(worker, { ...who, command, input: bytes() })).rejects.toMatchObject({
      code: 'unsupported',
      message: "provider 'one' cannot open a terminal",
    })
  }
  // Nobody was let in, and it is not written that they were.
  expect((await h.engine.journal.why('worker', worker)).filter(({ rule }) => rule === 'worker-reached')).toEqual([])
  worker = 'none'
  expect(await Promise.all(tries())).toEqual(['not-found', 'not-found', 'not-found'])
})

test('a terminal that does not begin in time is given up, and its command with it', async () => {
  await h.close()
  await open({ exec: { reattach: true, stdin: true, tty: true, exitCode: true } })
  let asked: AbortSignal | undefined
  Object.assign(h.provider(), {
    exec: async (_target: unknown, _command: unknown, { signal }: { signal: AbortSignal }) => {
      asked = signal
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
    },
  })
  const opened = reach.terminal(worker, { ...who, command: { command: ['sh'], tty: { columns: 80, rows: 24 } } }).then(
    () => undefined,
    (error: unknown) => error,
  )
  await waitFor('the call', () => asked !== undefined)
  await h.pass(61_000)
  expect(await opened).toMatchObject({ code: 'deadline', message: expect.stringContaining('did not begin') as string })
  expect(asked?.aborted).toBe(true)
})

test('of a copy that is cut off the worker never hears; one that is all there goes on whoever leaves', async () => {
  const got: number[] = []
  let leaving = new AbortController()
  Object.assign(h.provider(), {
    copyIn: async (_target: unknown, { tar }: { tar: AsyncIterable<Uint8Array> }, call?: { signal?: AbortSignal }) => {
      leaving.abort()
      let size = 0
      for await (const chunk of tar) size += chunk.length
      call?.signal?.throwIfAborted()
      got.push(size)
    },
  })
  const part = Buffer.alloc(60_000, 'x')
  for (const parts of [1, 3]) {
    async function* cut(): AsyncGenerator<Uint8Array> {
      for (let sent = 0; sent < parts; sent++) yield part
      throw new Error('the body was cut off')
    }
    await expect(reach.copyIn(worker, { ...who, path: 'in', tar: cut() })).rejects.toThrow('cut off')
    expect(got).toEqual([])
    const all = Array.from({ length: parts }, () => part.toString())
    leaving = new AbortController()
    await reach.copyIn(worker, { ...who, signal: leaving.signal, path: 'in', tar: bytes(...all) })
    expect(got.splice(0)).toEqual([parts * part.length])
  }
  expect(existsSync(join(h.dir, 'copies')) ? readdirSync(join(h.dir, 'copies')) : []).toEqual([])
})

test('a copy that took its time is not given to whoever has the worker by then', async () => {
  await h.close()
  h = await openHarness({ pools: [poolConfig({ uses: 3, work: 'hold' })], providers: [{ name: 'one', capabilities: all }] })
  const first = await h.engine.leases.request(leaseRequest())
  await h.pass(1000)
  const id = h.engine.leases.get(first.id)?.worker_id ?? ''
  const reaching = reachOf(h.engine, await openCopies({ dataDir: h.dir, sealer: h.engine.sealer, clock: h.clock }))
  const got: string[] = []
  Object.assign(h.provider(), { copyIn: async (target: { id: string }) => void got.push(target.id) })
  const slow = async function* (): AsyncGenerator<Uint8Array> {
    yield Buffer.from('a')
    await h.engine.leases.release(first.id, { reason: 'over' })
    await h.engine.leases.request(leaseRequest())
    await h.settle()
    yield Buffer.from('b')
  }
  await expect(reaching.copyIn(id, { ...who, path: 'in', tar: slow() })).rejects.toMatchObject({ code: 'conflict' })
  expect([h.engine.workers.get(id)?.phase, got]).toEqual(['leased', []])
})
