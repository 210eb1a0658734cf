/** Runs in workers that hold: inputs in, the command by exec through cuts and faults, outputs out. */
import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ExecInput, type ExecSession, ProviderError, type WorkerExit } from '@muster/core'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { RunRecord, RunRequest } from '../model.ts'
import type { Runs } from '../runs-api.ts'
import { type Harness, openHarness, poolConfig } from '../testing/harness.ts'
import { startRuns } from './index.ts'

type Exec = (input: ExecInput, call: { idempotencyKey: string; signal: AbortSignal }) => Promise<ExecSession>

let h: Harness
let runs: Runs
let reports: string[]
let dataDir: string
beforeEach(async () => {
  reports = []
  dataDir = await mkdtemp(join(tmpdir(), 'muster-by-exec-'))
  h = await openHarness({ pools: [poolConfig({ work: 'hold' })], providers: [{ name: 'one' }] })
  runs = await startRuns({
    engine: h.engine,
    dataDir,
    killpoint: () => undefined,
    report: (message) => reports.push(message),
  })
})
afterEach(async () => {
  await runs.stop()
  await h.close()
  await rm(dataDir, { recursive: true, force: true })
})

const request = (over: Partial<RunRequest> = {}): RunRequest => ({
  pool: 'ci',
  command: ['build'],
  requirements: {},
  stdin: false,
  inputs: [],
  outputs: [],
  ...over,
})

/** Answers each exec with the next of these; the last one answers all that follow. */
function answers(...all: Exec[]): { asked: ExecInput[]; keys: string[] } {
  const seen = { asked: [] as ExecInput[], keys: [] as string[] }
  Object.assign(h.provider(), {
    exec: async (_target: unknown, input: ExecInput, call: Parameters<Exec>[1]) => {
      seen.asked.push(input)
      seen.keys.push(call.idempotencyKey)
      const next = all.length > 1 ? all.shift() : all[0]
      if (next === undefined) throw new Error('no answer')
      return next(input, call)
    },
  })
  return seen
}

/** Output from an offset on, then an exit or an error. */
function says(text: string, end: WorkerExit | Error, at = 0): Exec {
  return async () => ({
    output: (async function* () {
      if (text !== '') yield { stream: 'stdout' as const, offset: at, data: Buffer.from(text) }
      if (end instanceof Error) throw end
    })(),
    exit: end instanceof Error ? Promise.reject(end) : Promise.resolve(end),
  })
}

const passed: WorkerExit = { code: 0, reason: 'exited with 0' }
const fails =
  (...given: ConstructorParameters<typeof ProviderError>): Exec =>
  () =>
    Promise.reject(new ProviderError(...given))

/** Time passes until the run is in that state: what it writes to disk takes turns that no clock tells. */
async function untilIn(state: string, id: string): Promise<RunRecord | undefined> {
  await waitFor(
    `a run that is ${state}`,
    async () => {
      await h.pass(1000)
      return (await runs.find(id))?.state === state
    },
    { everyMs: 1, timeoutMs: 8000 },
  )
  return runs.find(id)
}

async function ended(given: RunRequest = request()): Promise<RunRecord | undefined> {
  const { id } = await runs.create(given, { principal: 'x' })
  return untilIn('ended', id)
}

async function logOf(id: string): Promise<string> {
  let text = ''
  for await (const { data } of runs.readLog(id, { from: 0, follow: false })) text += Buffer.from(data).toString()
  return text
}

test('a command is asked for by its durable id, with all that it needs, and its exit is the outcome', async () => {
  const { asked, keys } = answers(says('hello', passed))
  const run = await ended(request({ env: { A: 'b' }, workdir: '/w' }))
  expect(run).toMatchObject({ state: 'ended', outcome: 'passed', reason: 'exit 0' })
  expect(asked).toEqual([
    { id: run?.exec_id, command: ['build'], stdin: false, from: { stdout: 0, stderr: 0 }, env: { A: 'b' }, workdir: '/w' },
  ])
  expect(keys).toEqual([run?.exec_id])
  answers(says('', { code: 3, reason: 'exited with 3' }))
  expect(await ended()).toMatchObject({ outcome: 'failed', reason: 'exit 3' })
  expect(reports).toEqual([])
})

test('after a cut it goes on where the log ends, and what comes twice is stored once', async () => {
  const cut = new ProviderError('transient', 'cut off')
  const { asked } = answers(says('hello ', cut), says('lo wor', cut, 3), says('ld', passed, 9))
  const run = await ended()
  expect(run?.outcome).toBe('passed')
  expect(asked.map(({ from }) => from.stdout)).toEqual([0, 6, 9])
  expect(await logOf(run?.id ?? '')).toBe('hello world')
})

test('output with a hole in it is not taken: it is asked for again', async () => {
  const { asked } = answers(says('late', passed, 5), says('whole', passed))
  const run = await ended()
  expect([run?.outcome, asked.length]).toEqual(['passed', 2])
  expect(await logOf(run?.id ?? '')).toBe('whole')
})

test('a fault that stays ends it: before its begin the host’s, after it nobody knows', async () => {
  answers(fails('unsupported', 'no shell', { effect: 'none' }))
  expect(await ended()).toMatchObject({ outcome: 'infrastructure', reason: 'unsupported: no shell' })
  answers(fails('conflict', 'another command', { effect: 'none' }))
  expect(await ended()).toMatchObject({ outcome: 'unknown', reason: 'conflict: another command' })
  answers(says('x', new ProviderError('invalid-spec', 'odd')))
  expect(await ended()).toMatchObject({ outcome: 'unknown', reason: 'invalid-spec: odd' })
})

test('a plugin that falls over it before it begins is asked six times', async () => {
  const { asked } = answers(fails('internal', 'crashed'))
  // Else nobody could tell whether one of them has begun it.
  h.provider().execState = async () => ({ state: 'unknown' })
  expect(await ended()).toMatchObject({
    outcome: 'infrastructure',
    reason: 'the plugin failed at it 6 times: crashed',
  })
  expect(asked).toHaveLength(6)
})

test('a worker that does not know the command is believed in the end', async () => {
  const { asked } = answers(fails('not-found', 'never heard of it', { effect: 'none' }))
  expect(await ended()).toMatchObject({ outcome: 'infrastructure', reason: 'never heard of it' })
  expect(asked).toHaveLength(6)
  answers(says('x', { reason: 'unknown: its watcher was killed' }))
  expect(await ended()).toMatchObject({
    outcome: 'unknown',
    reason: 'nobody can tell how it ended: unknown: its watcher was killed',
  })
})

test('a worker that goes away with its command ends the run', async () => {
  answers(async () => {
    for (const worker of h.provider().vendor.workers.keys()) h.provider().vendor.workers.delete(worker)
    throw new ProviderError('not-found', 'no such worker')
  })
  const run = await ended()
  expect(run?.outcome).not.toBe('passed')
})

test('a cancel asks it to end, a second one kills it, and a worker that does not answer is left', async () => {
  const sent: string[] = []
  let tries = 0
  const forever: Exec = async (_input, { signal }) => ({
    output: (async function* () {
      yield { stream: 'stdout' as const, offset: 0, data: Buffer.from('begun') }
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
    })(),
    exit: new Promise(() => undefined),
  })
  answers(forever)
  Object.assign(h.provider(), {
    execKill: async (_target: unknown, { id, signal }: { id: string; signal: string }) => {
      tries += 1
      if (tries === 1) throw new ProviderError('transient', 'again')
      sent.push(`${id.slice(0, 1)} ${signal}`)
    },
  })
  const { id } = await runs.create(request(), { principal: 'x' })
  await untilIn('running', id)
  await runs.cancel(id, { principal: 'x', reason: 'enough' })
  await waitFor('the first signal', async () => {
    await h.pass(100)
    return sent.length > 0
  })
  expect(sent).toEqual(['x SIGTERM'])
  await runs.cancel(id, { principal: 'x', reason: 'now', force: true })
  await waitFor('the second signal', async () => {
    await h.pass(100)
    return sent.includes('x SIGKILL')
  })
  expect((await runs.find(id))?.state).toBe('running')
  expect(await untilIn('ended', id)).toMatchObject({ outcome: 'cancelled' })
})

test('a command that takes longer than it may is ended', async () => {
  const killed = Promise.withResolvers<WorkerExit>()
  answers(async () => ({
    output: (async function* () {
      yield { stream: 'stdout' as const, offset: 0, data: Buffer.from('begun') }
      await killed.promise
    })(),
    exit: killed.promise,
  }))
  Object.assign(h.provider(), { execKill: async () => killed.resolve({ signal: 'SIGTERM', reason: 'ended by SIGTERM' }) })
  const run = await ended(request({ timeoutMs: 30_000 }))
  expect(run?.outcome).toBe('timeout')
  expect((run?.ended_at ?? 0) - (run?.started_at ?? 0)).toBeGreaterThanOrEqual(30_000)
})

async function* bytes(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text)
}

test('inputs and files are in the worker before the command, outputs are stored after it', async () => {
  const order: string[] = []
  let cut = true
  Object.assign(h.provider(), {
    copyIn: async (_target: unknown, { path, tar }: { path: string; tar: AsyncIterable<Uint8Array> }) => {
      let text = ''
      for await (const chunk of tar) text += Buffer.from(chunk).toString('latin1')
      if (cut) {
        cut = false
        throw new ProviderError('transient', 'cut off')
      }
      const names = [...text.matchAll(/^[\w./]+(?=\0)/gm)].map(([name]) => name)
      order.push(`in ${path} ${text.includes('\0') ? names[0] : text}`)
    },
    copyOut: (_target: unknown, path: string) => {
      order.push(`out ${path}`)
      if (path === 'none') throw new ProviderError('not-found', 'no such file')
      return bytes(`of ${path}`)
    },
  })
  answers(async (input, call) => {
    order.push('exec')
    return says('', passed)(input, call)
  })
  const output = (name: string, more: { path?: string; optional?: boolean } = {}): RunRequest['outputs'][number] => ({
    name,
    path: more.path ?? name,
    ...(more.optional === undefined ? {} : { optional: more.optional }),
  })
  const file = (path: string) => ({ path, base64: Buffer.from('x').toString('base64') })
  const given = request({
    inputs: [{ name: 'a', path: 'src' }],
    files: [file('rel'), file('/abs/file')],
    outputs: [output('dist'), output('maybe', { path: 'none', optional: true })],
  })
  const { id } = await runs.create(given, { principal: 'x' })
  await runs.putInput(id, { name: 'a', tar: bytes('the source') })
  const run = await untilIn('ended', id)
  expect(run).toMatchObject({ outcome: 'passed' })
  expect(order).toEqual(['in / abs/file', 'in . rel', 'in src the source', 'exec', 'out dist', 'out none'])
  const sha256 = createHash('sha256').update('of dist').digest('hex')
  expect(JSON.parse(run?.artifacts ?? '[]')).toMatchObject([
    { name: 'a', direction: 'in', state: 'dropped' },
    { name: 'dist', direction: 'out', state: 'stored', sha256, bytes: 7 },
    { name: 'maybe', direction: 'out', state: 'missing' },
  ])
})

test('an output that is not there fails a run that passed; inputs that no worker takes are the host’s fault', async () => {
  Object.assign(h.provider(), {
    copyIn: () => Promise.reject(new ProviderError('unsupported', 'takes nothing', { effect: 'none' })),
    copyOut: () => {
      throw new ProviderError('not-found', 'no such file')
    },
  })
  answers(says('', passed))
  const outputs = [{ name: 'dist', path: 'dist' }]
  expect(await ended(request({ outputs }))).toMatchObject({ outcome: 'failed', reason: 'it left no output dist' })
  answers(says('', { code: 2, reason: 'exited with 2' }))
  expect(await ended(request({ outputs }))).toMatchObject({ outcome: 'failed', reason: 'exit 2' })
  const files = [{ path: 'a', base64: '' }]
  expect(await ended(request({ files }))).toMatchObject({
    outcome: 'infrastructure',
    reason: 'its inputs could not be delivered: takes nothing',
  })
})

test('inputs that do not come end the run when its time is over, and one that is cancelled before ends at once', async () => {
  const waits = request({ inputs: [{ name: 'a', path: 'a' }], queueTimeoutMs: 20_000 })
  const { id } = await runs.create(waits, { principal: 'x' })
  await h.pass(19_000)
  expect((await runs.find(id))?.state).toBe('uploading')
  const other = await runs.create(waits, { principal: 'x' })
  await runs.cancel(other.id, { principal: 'x', reason: 'changed my mind' })
  expect(await untilIn('ended', id)).toMatchObject({ outcome: 'infrastructure', reason: 'its inputs did not come within 20 s' })
  expect(await untilIn('ended', other.id)).toMatchObject({ outcome: 'cancelled', reason: 'changed my mind' })
})

test('a run that is cancelled while its inputs go in never begins', async () => {
  const going = Promise.withResolvers<void>()
  const through = Promise.withResolvers<void>()
  Object.assign(h.provider(), {
    copyIn: async (_target: unknown, { path }: { path: string }) => {
      if (path !== 'slow') throw new ProviderError('transient', 'not now')
      going.resolve()
      await through.promise
    },
  })
  const { asked } = answers(says('', passed))
  const cancel = (id: string): Promise<unknown> => runs.cancel(id, { principal: 'x', reason: 'changed my mind' })
  const create = async (path: string): Promise<string> => {
    const { id } = await runs.create(request({ inputs: [{ name: 'a', path }] }), { principal: 'x' })
    await runs.putInput(id, { name: 'a', tar: bytes('the source') })
    return id
  }
  // Its last input arrives all the same.
  const slow = await create('slow')
  await h.pass(5000)
  await going.promise
  await cancel(slow)
  through.resolve()
  expect(await untilIn('ended', slow)).toMatchObject({ outcome: 'cancelled', reason: 'changed my mind', started_at: null })
  // Its inputs wait for a provider.
  const away = await create('away')
  await untilIn('starting', away)
  await cancel(away)
  expect(await untilIn('ended', away)).toMatchObject({ outcome: 'cancelled', reason: 'changed my mind', started_at: null })
  expect(asked).toEqual([])
})
