/** What the runner asks a worker for, and what it makes of the answers: state, signals, an exec's own words. */
import { afterEach, expect, test, vi } from 'vitest'
import type { ExecInput } from '../provider.ts'
import { createRunner, type RawExec } from './index.ts'

const never = new AbortController().signal
const spec: ExecInput = { id: 'x1', command: ['true'], stdin: false, from: { stdout: 0, stderr: 0 } }

/** A worker that answers each connection with the next line, and ends it. */
function worker(...answers: string[]): { raw: RawExec; asked: string[][]; signals: AbortSignal[] } {
  const asked: string[][] = []
  const signals: AbortSignal[] = []
  const raw: RawExec = async ({ argv, signal }) => {
    asked.push(argv.slice(argv.indexOf('muster-runner') + 1))
    signals.push(signal)
    const line = answers.shift()
    return {
      output: (async function* () {
        yield { stream: 'stdout' as const, data: Buffer.from(`muster 1 ${line}\n`) }
      })(),
      exit: Promise.resolve({ code: 0 }),
    }
  }
  return { raw, asked, signals }
}

afterEach(() => void vi.useRealTimers())

test('a command runs, has ended in some way, or nobody knows it', async () => {
  const { raw, asked } = worker('running', 'exited 3 - 0 MARK', 'none')
  const runner = createRunner(raw, { dir: '/runs', shell: 'ash' })
  expect(await runner.state('x1', never)).toEqual({ state: 'running' })
  expect(await runner.state('x1', never)).toEqual({ state: 'exited', exit: { code: 3, reason: 'exited with 3' } })
  expect(await runner.state('x1', never)).toEqual({ state: 'unknown' })
  expect(asked[0]).toEqual(['state', 'ash', '/runs', 'x1'])
})

test('a signal waits for a command that is about to start, and has the name of a signal', async () => {
  const { raw, asked } = worker('early', 'early', 'ok', 'gone')
  await createRunner(raw).kill('x1', 'SIGTERM', never)
  expect(asked.map((words) => [words[0], ...words.slice(3)])).toEqual(Array.from({ length: 3 }, () => ['kill', 'x1', 'TERM']))
  await expect(createRunner(raw).kill('x1', 'TERM', never)).rejects.toMatchObject({ code: 'invalid-spec', path: 'signal' })
  await createRunner(raw).forget('x1', never)
  expect(asked).toHaveLength(4)
})

test('a command as another user is refused before anything is asked', async () => {
  const { raw, asked } = worker('bad other x')
  const runner = createRunner(raw, { user: 'ci' })
  const refused = { code: 'unsupported', effect: 'none', path: 'user' }
  await expect(runner.exec({ ...spec, user: 'root' }, never)).rejects.toMatchObject(refused)
  expect(asked).toEqual([])
  await expect(runner.exec({ ...spec, user: 'ci' }, never)).rejects.toMatchObject({ code: 'transient' })
})

test('an exec says from where its output goes on, and whether it has input, and how much of its output is kept', async () => {
  const { raw, asked } = worker('old', 'old', 'new', 'new')
  await createRunner(raw).exec({ ...spec, from: { stdout: 7, stderr: 8 } }, never)
  await createRunner(raw, { shared: true, logBytes: 65_536 }).exec({ ...spec, stdin: true }, never)
  expect(asked.map((words) => words.slice(3).with(4, '-'))).toEqual([
    ['x1', '7', '8', '0', '-', '0', '0'],
    ['x1', '0', '0', '1', '-', '1', '64'],
  ])
  // Output that is stored already, of a command that the worker would start anew.
  for (const from of [
    { stdout: 1, stderr: 0 },
    { stdout: 0, stderr: 1 },
  ])
    await expect(createRunner(raw).exec({ ...spec, from }, never)).rejects.toMatchObject({ code: 'not-found', effect: 'none' })
})

test('a connection is read to its end once its answer is here: who still writes there would never end', async () => {
  const over = Promise.withResolvers<void>()
  const raw: RawExec = async () => ({
    output: (async function* () {
      for (const text of ['muster 1 running\n', 'more', 'and more']) yield { stream: 'stdout' as const, data: Buffer.from(text) }
      over.resolve()
    })(),
    exit: over.promise.then(() => ({ code: 0 })),
  })
  expect(await createRunner(raw).state('x1', never)).toEqual({ state: 'running' })
  await over.promise
})

test('a connection that has ended is not cut later', async () => {
  vi.useFakeTimers()
  const { raw, signals } = worker('running')
  await createRunner(raw).state('x1', never)
  await vi.advanceTimersByTimeAsync(600_000)
  expect(signals.map(({ aborted }) => aborted)).toEqual([false])
})

test.each([
  ['stdout' as const, 'OCI runtime exec failed: exec failed:\r\n', /the protocol: OCI runtime exec failed: exec failed:$/],
  // Whoever says these may have begun it all the same.
  ['stdout' as const, 'Welcome to OCI runtime exec failed: x\n', /than the protocol: Welcome to OCI/],
  ['stderr' as const, 'no such\u001b[1m container\n', /was lost: no such \[1m container$/],
])('what is said over %s where no command can be begun stands in the error: %s', async (stream, text, message) => {
  const raw: RawExec = async () => ({
    output: (async function* () {
      yield { stream, data: Buffer.from(text) }
    })(),
    exit: Promise.resolve({}),
  })
  const effect = text.startsWith('OCI') ? 'none' : 'possible'
  const refused = { code: 'transient', message: expect.stringMatching(message), effect }
  await expect(createRunner(raw).exec(spec, never)).rejects.toMatchObject(refused)
  await expect(createRunner(raw).state('x1', never)).rejects.toMatchObject(refused)
})

test('and no more of it than a journal can take', async () => {
  const raw: RawExec = async () => ({
    output: (async function* () {
      yield { stream: 'stdout' as const, data: Buffer.from(`${'x'.repeat(4000)}\n`) }
    })(),
    exit: Promise.resolve({}),
  })
  const error: unknown = await createRunner(raw)
    .exec(spec, never)
    .catch((thrown: unknown) => thrown)
  expect(`${(error as Error).message.length}`).toMatch(/^5\d\d$/)
})
