import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { ExecInput, ExecSession } from '../provider.ts'
import { createRunner, type RawChunk, type RawExec } from './index.ts'
import { openLink } from './link.ts'

const spec: ExecInput = { id: 'x1', command: ['true'], stdin: false, from: { stdout: 0, stderr: 0 } }
const never = new AbortController().signal

interface FakeWorker {
  raw: RawExec
  /** Lines of ours so far, the script left out. */
  asked: string[]
  aborted: () => boolean
}

type Out = string | { bell: string } | { hang: true } | { fail: Error }
const hang = { hang: true } as const

/** A worker that answers the script with `hello`, and each line after it with the next of `answers`; then its output ends. */
function fakeWorker(
  hello: Out[],
  answers: Out[][] = [],
  exit: Promise<{ code?: number }> = new Promise(() => undefined),
): FakeWorker {
  const asked: string[] = []
  let aborted = false
  const raw: RawExec = async ({ stdin, signal }) => {
    signal.addEventListener('abort', () => (aborted = true))
    async function* say(parts: Out[]): AsyncGenerator<RawChunk> {
      for (const part of parts) {
        if (typeof part === 'object' && 'hang' in part) await new Promise(() => undefined)
        else if (typeof part === 'string') yield { stream: 'stdout', data: Buffer.from(part) }
        else if ('bell' in part) yield { stream: 'stderr', data: Buffer.from(part.bell) }
        else throw part.fail
      }
    }
    async function* output(): AsyncGenerator<RawChunk> {
      const lines = stdin?.[Symbol.asyncIterator]()
      await lines?.next()
      yield* say(hello)
      for (const answer of answers) {
        const line = await lines?.next()
        if (line?.done === true) return
        asked.push(
          Buffer.from(line?.value ?? [])
            .toString('latin1')
            .split('\n')[0] ?? '',
        )
        yield* say(answer)
      }
    }
    return { output: output(), exit }
  }
  return { raw, asked, aborted: () => aborted }
}

async function read(session: ExecSession): Promise<string[]> {
  const chunks: string[] = []
  for await (const { stream, offset, data } of session.output) chunks.push(`${stream} ${offset} ${Buffer.from(data).toString()}`)
  return chunks
}
async function fails(session: ExecSession): Promise<unknown> {
  const error = await read(session).catch((caught: unknown) => caught)
  expect(await session.exit.catch((caught: unknown) => caught)).toEqual(error)
  return error
}

describe('a conversation', () => {
  test('attaches, takes output of any cut, finds the marks, and lets go', async () => {
    const worker = fakeWorker(
      ['muster', ' 1 old\n'],
      [['o 3\nab', 'c', 'e 1\n!', '.\n'], ['x 1 1 7 - 0 MARK\no 6\n', 'dMAR', 'K;.', '\n'], ['x 1 1 7 - 0 MARK\ne 4\nMARK.\n']],
      Promise.resolve({ code: 0 }),
    )
    const session = await createRunner(worker.raw).exec({ ...spec, from: { stdout: 10, stderr: 20 } }, never)
    expect(await read(session)).toEqual(['stdout 10 ab', 'stdout 12 c', 'stderr 20 !', 'stdout 13 d'])
    expect(await session.exit).toEqual({ code: 7, reason: 'exited with 7' })
    expect(worker.asked).toEqual(['t', 't', 't'])
    expect(worker.aborted()).toBe(false)
  })

  test('sends the command only to a worker that does not have it', async () => {
    const worker = fakeWorker(['muster 1 new \n'], [['muster 1 ok\n'], ['u\n.\n']])
    const session = await createRunner(worker.raw).exec(spec, never)
    expect(await read(session)).toEqual([])
    expect(await session.exit).toEqual({ reason: expect.stringContaining('unknown') })
    expect(worker.asked[0]).toMatch(/^\d+$/)
  })

  test('one that was handed the command and does not answer in time may begin it yet, which a lost connection does not say', async () => {
    const worker = fakeWorker(['muster 1 new \n'], [[hang]])
    const start = createRunner(worker.raw, { answerMs: 30 }).exec(spec, never)
    await expect(start).rejects.toMatchObject({ code: 'deadline', effect: 'possible' })
    const cut = fakeWorker(['muster 1 new \n'], [[{ fail: new Error('reset by peer') }]])
    const lost = createRunner(cut.raw, { answerMs: 30 }).exec(spec, never)
    await expect(lost).rejects.toMatchObject({ code: 'transient', effect: 'possible' })
    const silent = createRunner(fakeWorker([hang], []).raw, { answerMs: 30 }).exec(spec, never)
    await expect(silent).rejects.toMatchObject({ code: 'transient' })
  })

  test.each([
    ['stdout', 'o', 'e', '0 1'],
    ['stderr', 'e', 'o', '1 0'],
  ])('%s, whose pump is gone, ends without a mark, and the exit says so', async (...[stream, its, others, alive]) => {
    const worker = fakeWorker(
      ['muster 1 old\n'],
      [
        [`x ${alive} 0 - 0 MARK\n${its} 5\nlast\n`, '.\n'],
        [`x ${alive} 0 - 0 MARK\n.\n`],
        [`x 0 0 0 - 0 MARK\n${others} 4\nMARK.\n`],
      ],
    )
    const session = await createRunner(worker.raw).exec(spec, never)
    expect(await read(session)).toEqual([`${stream} 0 la`, `${stream} 2 st\n`])
    expect(await session.exit).toMatchObject({ code: 0, reason: expect.stringContaining(`the end of ${stream} is missing`) })
  })

  test.each([
    [0, 'the worker could not keep it'],
    [7, 'the worker keeps 7 bytes of it'],
    [8, 'the worker keeps 8 bytes of it'],
    [9, 'the worker could not keep it'],
  ])('why the end of a stream of 8 bytes is missing, of a worker that keeps %i: %s', async (logBytes, why) => {
    const worker = fakeWorker(['muster 1 old\n'], [['o 8\nabcdefgh.\n'], ['x 0 0 7 - 0 MARK\n.\n']])
    const session = await createRunner(worker.raw, { logBytes }).exec(spec, never)
    await read(session)
    expect((await session.exit).reason).toBe(
      `exited with 7; the end of stdout is missing, ${why}; the end of stderr is missing, the worker could not keep it`,
    )
  })

  test('input is sent to a command that reads it alone, and what a worker says of input nobody sent is nothing', async () => {
    const input = (async function* () {
      yield Buffer.from('hello')
    })()
    const worker = fakeWorker(['muster 1 old\n'], [['. 0 0\n'], ['. 0 0\n'], ['x 1 1 0 - 0 MARK\no 4\nMARKe 4\nMARK.\n']])
    const session = await createRunner(worker.raw).exec({ ...spec, input }, never)
    expect(await read(session)).toEqual([])
    expect(await session.exit).toMatchObject({ code: 0 })
    expect(worker.asked).toEqual(['t', 't', 't'])
  })

  test.each([
    ['bash', false],
    ['', true],
  ])('a variable that bash owns is passed on unless the shell in the worker is bash: %j', async (shell, passes) => {
    const worker = fakeWorker([`muster 1 new ${shell}\n`], [['muster 1 ok\n'], ['u\n.\n']])
    const session = createRunner(worker.raw).exec({ ...spec, env: { UID: '7' } }, never)
    if (passes) await read(await session)
    else await expect(session).rejects.toMatchObject({ code: 'unsupported', path: 'env.UID' })
  })

  test('of a stream that has ended with its mark nothing is missing, though its pump is gone', async () => {
    const worker = fakeWorker(['muster 1 old\n'], [['x 1 1 7 - 0 MARK\no 5\naMARK.\n'], ['x 0 0 7 - 0 MARK\ne 5\nbMARK.\n']])
    const session = await createRunner(worker.raw).exec(spec, never)
    expect(await read(session)).toEqual(['stdout 0 a', 'stderr 0 b'])
    expect(await session.exit).toEqual({ code: 7, reason: 'exited with 7' })
  })
})

describe('a connection that fails', () => {
  test.each<[string, Out[][]]>([
    ['at the first answer', []],
    ['in the middle of bytes', [['o 10\nabc']]],
    ['in the middle of a line', [['o 1']]],
    ['between answers', [['.\n']]],
    ['with an error', [[{ fail: new Error('reset') }]]],
    ['with another text than the protocol', [['motd\n']]],
    ['with a line that does not end', [['x'.repeat(10_000)]]],
  ])('%s is transient with a possible effect, in output and exit alike', async (_name, answers) => {
    const worker = fakeWorker(['muster 1 old\n'], answers)
    const session = await createRunner(worker.raw).exec(spec, never)
    expect(await fails(session)).toMatchObject({ code: 'transient', effect: 'possible' })
  })

  test('what came instead of the protocol is for the log, as far as it says something', async () => {
    const worker = fakeWorker(['muster 1 old\n'], [[`motd of ${'x'.repeat(300)}\n`]])
    const cause = { message: `motd of ${'x'.repeat(192)}` }
    expect(await fails(await createRunner(worker.raw).exec(spec, never))).toMatchObject({ cause })
  })

  test('hanging after its process ended', async () => {
    const worker = fakeWorker(['muster 1 old\n'], [[hang]], Promise.resolve({ code: 137 }))
    const session = await createRunner(worker.raw).exec(spec, never)
    expect(await fails(session)).toMatchObject({ code: 'transient' })
  })

  test('hanging after its exit was rejected', async () => {
    const exit = Promise.withResolvers<{ code?: number }>()
    const worker = fakeWorker(['muster 1 old\n'], [[hang]], exit.promise)
    const session = await createRunner(worker.raw).exec(spec, never)
    exit.reject(new Error('socket closed'))
    expect(await fails(session)).toMatchObject({ code: 'transient', cause: { message: 'socket closed' } })
    expect(worker.aborted()).toBe(true)
  })

  test('silent for longer than an answer may take', async () => {
    const worker = fakeWorker(['muster 1 old\n'], [[hang]])
    const session = await createRunner(worker.raw, { answerMs: 30 }).exec(spec, never)
    expect(await fails(session)).toMatchObject({ code: 'transient', cause: { message: 'no answer in time' } })
  })

  test('before the first word', async () => {
    const runner = (out: Out[], exit?: Promise<{ code?: number }>) => createRunner(fakeWorker(out, [], exit).raw)
    await expect(runner([]).exec(spec, never)).rejects.toMatchObject({ code: 'transient' })
    await expect(runner(['welcome\n']).exec(spec, never)).rejects.toMatchObject({ code: 'transient' })
    const without = { code: 'unsupported', effect: 'none' }
    const text = 'OCI runtime exec failed: "sh": executable file not found\n'
    await expect(runner([text], Promise.resolve({ code: 126 })).exec(spec, never)).rejects.toMatchObject(without)
    await expect(runner([], Promise.resolve({ code: 127 })).state('x1', never)).rejects.toMatchObject(without)
    const refuse: RawExec = async () => await Promise.reject(new Error('no such container'))
    await expect(createRunner(refuse).exec(spec, never)).rejects.toThrow('no such container')
  })
})

test('the worker refuses: the reason comes through', async () => {
  const asks = (line: string) => createRunner(fakeWorker([`muster 1 ${line}\n`]).raw)
  await expect(asks('bad tool setsid is missing').exec(spec, never)).rejects.toMatchObject({
    code: 'unsupported',
    effect: 'none',
  })
  await expect(asks('bad dir /x is full').exec(spec, never)).rejects.toMatchObject({
    code: 'transient',
    message: expect.stringContaining('/x is full'),
  })
  await expect(asks('running').forget('x1', never)).rejects.toMatchObject({ code: 'conflict', effect: 'none' })
  await expect(asks('none').kill('x1', 'TERM', never)).rejects.toMatchObject({ code: 'invalid-spec' })
  const worker = fakeWorker(['muster 1 old\n'], [['! too short\n']])
  expect(await fails(await createRunner(worker.raw).exec(spec, never))).toMatchObject({ code: 'conflict', message: 'too short' })
})

describe('signals and leaving', () => {
  test('an abort settles at once, with the reason as its code', async () => {
    const worker = fakeWorker(['muster 1 old\n'], [[hang]])
    const stop = new AbortController()
    const session = await createRunner(worker.raw).exec(spec, stop.signal)
    const failed = fails(session)
    stop.abort(new DOMException('too late', 'TimeoutError'))
    expect(await failed).toMatchObject({ code: 'deadline' })
    await vi.waitFor(() => expect(worker.aborted()).toBe(true), 3000)
    await expect(createRunner(worker.raw).exec(spec, AbortSignal.abort())).rejects.toMatchObject({
      code: 'cancelled',
      effect: 'none',
    })
  })

  test('an abort while the raw exec is being made reaches it', async () => {
    const stop = new AbortController()
    const reason = new DOMException('too late', 'TimeoutError')
    let told: unknown
    const raw: RawExec = async ({ signal }) => {
      stop.abort(reason)
      told = signal.reason
      throw new Error('cut')
    }
    await expect(createRunner(raw).exec(spec, stop.signal)).rejects.toMatchObject({ code: 'deadline' })
    expect(told).toBe(reason)
  })

  test('a raw exec that is made all the same after the abort is let go of, and read to its end', async () => {
    const stop = new AbortController()
    const got: string[] = []
    const over = Promise.withResolvers<void>()
    const raw: RawExec = async ({ stdin }) => {
      stop.abort()
      async function* output(): AsyncGenerator<RawChunk> {
        for await (const data of stdin ?? []) {
          got.push(Buffer.from(data).toString())
          yield { stream: 'stdout', data }
        }
        over.resolve()
      }
      return { output: output(), exit: over.promise.then(() => ({})) }
    }
    await openLink(raw, { argv: [], signal: stop.signal, answerMs: 1000 })
    await over.promise
    expect(got).toEqual([expect.stringMatching(/#\.\n$/), 'q\n'])
  })

  test('an abort settles the exit also when nobody reads', async () => {
    const worker = fakeWorker(['muster 1 old\n'], [[hang]])
    const stop = new AbortController()
    const session = await createRunner(worker.raw).exec(spec, stop.signal)
    stop.abort()
    await expect(session.exit).rejects.toMatchObject({ code: 'cancelled' })
    await vi.waitFor(() => expect(worker.aborted()).toBe(true), 3000)
  })

  test('output that is left rejects the exit and frees the connection', async () => {
    const worker = fakeWorker(['muster 1 old\n'], [['o 3\nabc', hang]])
    const session = await createRunner(worker.raw).exec(spec, never)
    for await (const chunk of session.output) {
      expect(chunk.offset).toBe(0)
      break
    }
    await expect(session.exit).rejects.toMatchObject({ code: 'cancelled' })
    await vi.waitFor(() => expect(worker.aborted()).toBe(true), 3000)
  })
})

describe('the pace', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }))
  afterEach(() => void vi.useRealTimers())

  test('slower with silence, at most a second; a bell ends the wait', async () => {
    const worker = fakeWorker(['muster 1 old\n'], [...Array.from({ length: 200 }, () => ['.\n']), [{ bell: '\n' }, 'u\n.\n']])
    const session = await createRunner(worker.raw).exec(spec, never)
    const done = read(session)
    await vi.advanceTimersByTimeAsync(1000)
    const first = worker.asked.length
    expect(first).toBeGreaterThan(15)
    await vi.advanceTimersByTimeAsync(20_000)
    const later = worker.asked.length
    await vi.advanceTimersByTimeAsync(10_000)
    expect(worker.asked.length - later).toBe(10)
    await vi.advanceTimersByTimeAsync(200_000)
    expect(await done).toEqual([])
    expect(worker.asked.length).toBe(201)
  })

  test('ended by input that comes', async () => {
    const worker = fakeWorker(['muster 1 old\n'], [...Array.from({ length: 200 }, () => ['. 0 0\n']), ['u\n.\n']])
    const typed = Promise.withResolvers<void>()
    async function* input(): AsyncGenerator<Uint8Array> {
      await typed.promise
      yield Buffer.from('abc')
    }
    const session = await createRunner(worker.raw).exec({ ...spec, stdin: true, input: input() }, never)
    const done = read(session)
    await vi.advanceTimersByTimeAsync(20_000)
    expect(new Set(worker.asked)).toEqual(new Set(['t']))
    typed.resolve()
    // Of the second that it would wait.
    await vi.advanceTimersByTimeAsync(1)
    expect(worker.asked.at(-1)).toBe('w 0 3')
    await vi.advanceTimersByTimeAsync(600_000)
    expect(await done).toEqual([])
  })

  test('quick again once something has come', async () => {
    const quiet = (count: number): Out[][] => Array.from({ length: count }, () => ['.\n'])
    const worker = fakeWorker(['muster 1 old\n'], [...quiet(60), ['o 1\na.\n'], ...quiet(200)])
    const session = await createRunner(worker.raw).exec(spec, never)
    const done = read(session).catch(() => undefined)
    while (worker.asked.length < 61) await vi.advanceTimersByTimeAsync(100)
    const before = worker.asked.length
    await vi.advanceTimersByTimeAsync(900)
    expect(worker.asked.length - before).toBeGreaterThan(10)
    await vi.advanceTimersByTimeAsync(600_000)
    await done
  })

  test('a bell while nothing is asked makes the next question come at once', async () => {
    const bells = Array.from({ length: 50 }, (): Out[] => ['.\n', { bell: '\n' }])
    const worker = fakeWorker(['muster 1 old\n'], [...bells, ['u\n.\n']])
    const session = await createRunner(worker.raw).exec(spec, never)
    const done = read(session)
    await vi.advanceTimersByTimeAsync(1)
    expect(await done).toEqual([])
    expect(worker.asked.length).toBe(51)
  })
})
