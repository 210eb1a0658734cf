import type { MusterClient, Run } from '@muster/client'
import { MusterError } from '@muster/client'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, expect, test, vi } from 'vitest'
import { followRun, noteSignals } from './follow.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

interface Told {
  run?: Partial<Run>
  provider?: { state: string; reason?: string }
  /** What following it comes to; default: it is waited for until nobody does. */
  logs?: () => Error
  cancel?: () => Promise<void>
  why?: { rule: string; decision: string }
  conditions?: { type: string; message: string }[]
}

const base = { id: 'r1', pool: 'ci', state: 'running', worker: 'w1' } as Run

function clientOf({
  run,
  provider = { state: 'ready' },
  logs,
  cancel = async () => undefined,
  why,
  conditions = [],
}: Told): MusterClient {
  const aborted = async (signal?: AbortSignal): Promise<never> =>
    new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true }))
  return {
    runs: {
      // oxlint-disable-next-line require-yield -- it ends without a byte
      async *logs(_id: string, { signal }: { signal?: AbortSignal }) {
        if (logs !== undefined) throw logs()
        await aborted(signal)
      },
      wait: async (_id: string, { signal }: { signal?: AbortSignal }) => aborted(signal),
      get: async () => ({ ...base, ...run }),
      cancel,
    },
    why: async () => (why === undefined ? [] : [why]),
    conditions: async () => conditions,
    workers: { get: async () => ({ provider: 'local' }) },
    providers: { get: async (name: string) => ({ name, ...provider }) },
  } as unknown as MusterClient
}

function following(
  told: Told,
  early?: ReturnType<typeof noteSignals>,
  quiet: boolean | 'but trouble' = true,
): { done: Promise<number>; said: () => string } {
  const spy = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  const done = followRun({ client: clientOf(told), run: base, stdin: false, quiet, cancels: true, ...(early && { early }) })
  return { done, said: () => spy.mock.calls.map(([text]) => String(text)).join('') }
}

/** As by Ctrl-C; whoever listens for it besides is left alone. */
function interrupt(): void {
  process.listeners('SIGINT').at(-1)?.('SIGINT')
}

const refused = (): Error => new MusterError('unauthorized', 'the token is expired', { hint: 'Ask an admin for a new one.' })

test('whoever cannot follow a run any more is told that it is not ended by that, and how to follow it again', async () => {
  const { done, said } = following({ logs: refused })
  expect(await done).toBe(125)
  expect(said()).toBe(
    'muster: the token is expired\nmuster: Ask an admin for a new one.\nmuster: run r1 is not ended by that; `muster runs attach r1` follows it again\n',
  )
})

test('a run that nobody knows any more cannot be followed again, and nobody is told so', async () => {
  const { done, said } = following({ logs: () => new MusterError('not-found', 'there is no run r1') })
  await expect(done).rejects.toThrow('there is no run r1')
  expect(said()).toBe('')
})

test('output that is kept no longer is told, and the run is followed to its end all the same', async () => {
  const client = clientOf({ logs: () => new MusterError('gone', 'the log of run r1 was removed while it runs') })
  Object.assign(client.runs, { wait: async () => ({ ...base, state: 'ended', outcome: 'failed', exit: { code: 7 } }) })
  const spy = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  expect(await followRun({ client, run: base, stdin: false, quiet: true, cancels: true })).toBe(7)
  expect(spy.mock.calls.join('')).toBe(
    'muster: no more of its output can be shown: the log of run r1 was removed while it runs\n',
  )
})

test('a cancel that is refused says that the run goes on', async () => {
  const { done, said } = following({ cancel: async () => Promise.reject(refused()) })
  interrupt()
  expect(await done).toBe(130)
  expect(said()).toMatch(/cancelling r1[^]*the token is expired[^]*run r1 is not ended by that/)
})

test('a signal in the moment in which the run is made is not lost between the one who made it and who follows it', async () => {
  const early = noteSignals()
  // One that nothing else here listens for: the system has it by then, and nobody was told yet.
  process.kill(process.pid, 'SIGHUP')
  const { done, said } = following({ cancel: async () => Promise.reject(refused()) }, early)
  expect(await done).toBe(130)
  expect(said()).toMatch(/^muster: SIGHUP: cancelling r1/)
  expect(early.signal.aborted).toBe(false)
})

test('Ctrl-C while its provider is away says what is waited for, and how to leave', async () => {
  const { done, said } = following({ provider: { state: 'degraded', reason: 'its process fell' } })
  interrupt()
  await waitFor('the line', () => said().includes('local'))
  expect(said()).toBe(
    [
      'muster: SIGINT: cancelling r1 …; once more: at once',
      'muster: r1: provider local, which has its worker, does not answer: its process fell; waiting for it. Once more leaves at once: the daemon ends the run then',
      '',
    ].join('\n'),
  )
  interrupt()
  expect(await done).toBe(130)
})

test.each<Told>([
  { run: { state: 'ended' }, provider: { state: 'degraded' } },
  { provider: { state: 'ready' } },
  { run: { state: 'queued', worker: undefined } as never },
])('Ctrl-C says nothing of a provider that is there, or that is not waited for: %j', async (told) => {
  const get = vi.fn(async () => ({ ...base, ...told.run }))
  const client = clientOf(told)
  Object.assign(client.runs, { get })
  const spy = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  const done = followRun({ client, run: base, stdin: false, quiet: true, cancels: true })
  interrupt()
  await waitFor('the look', () => get.mock.calls.length > 0)
  // What a look leads to here is done in one turn.
  await new Promise((resolve) => setImmediate(resolve))
  interrupt()
  await done
  expect(spy.mock.calls.join('')).toBe('muster: SIGINT: cancelling r1 …; once more: at once\n')
})

test.each([
  { error: 'EPIPE', code: 141, cancelled: 1, told: '' },
  {
    error: 'ENOSPC',
    code: 125,
    cancelled: 0,
    told: 'muster: the output cannot be written: ENOSPC\nmuster: run r1 is not ended by that; `muster logs r1` shows all of its output\n',
  },
])('output that ends with $error: $code', async ({ error, code, cancelled, told }) => {
  const cancel = vi.fn(async () => Promise.reject(refused()))
  const { done, said } = following({ cancel })
  process.stdout.emit('error', Object.assign(new Error(error), { code: error }))
  expect(await done).toBe(code)
  expect(cancel).toHaveBeenCalledTimes(cancelled)
  if (cancelled === 0) expect(said()).toBe(told)
})

test('once nobody reads the output its run is killed, and how it ends is waited for by nobody', async () => {
  // All that the command wrote until then is stored before it ends: that takes as long as it takes.
  const cancel = vi.fn(async () => undefined)
  const { done, said } = following({ cancel })
  process.stdout.emit('error', Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }))
  expect(await done).toBe(141)
  expect(cancel).toHaveBeenCalledExactlyOnceWith('r1', { reason: 'nobody reads its output any more', force: true })
  expect(said()).toBe('')
})

test.each([
  ['is said to run there', { state: 'running', startedAt: '2026-01-31T09:30:00.000Z' }, ['waits', 'runs on worker w1']],
  ['is not, when it was cancelled before its command began', { state: 'ended', outcome: 'cancelled' }, ['waits']],
])('a run that got its worker after a while %s', async (...[, run, expected]) => {
  const client = clientOf({})
  const waiting = { ...base, state: 'uploading' }
  const said: string[] = []
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    said.push(String(text))
    return true
  })
  const { promise: over, resolve: end } = Promise.withResolvers<void>()
  Object.assign(client.runs, {
    get: async () => waiting,
    async *logs() {
      await over
      yield* []
    },
    wait: async (_id: string, { until }: { until?: string }) => {
      if (until === 'running') await waitFor('it to be told that it waits', () => said.some((text) => text.includes('waits')))
      else await over
      setImmediate(() => end())
      return { ...base, ...run }
    },
  })
  await followRun({ client, run: base, stdin: false, quiet: false, cancels: true })
  for (const text of ['waits', 'runs on worker w1']) expect(said.some((one) => one.includes(text))).toBe(expected.includes(text))
})

test.each([
  [
    'what is in the way of its command is told',
    { why: { rule: 'exec-retry', decision: 'could not be started: transient: no' } },
    /^muster: r1: could not be started: transient: no\n$/,
  ],
  [
    'that the disk of the daemon takes no output is told',
    { conditions: [{ type: 'output-waits', message: 'a file of a run cannot be written: EROFS' }] },
    /^muster: r1: a file of a run cannot be written: EROFS\n$/,
  ],
  ['one that merely waits says nothing', { conditions: [{ type: 'store-slow', message: 'slow' }] }, /^$/],
])('in somebody’s worker: %s', async (_, told, expected) => {
  vi.useFakeTimers()
  const run = { state: 'starting' as const }
  const { done, said } = following({ run, ...told }, undefined, 'but trouble')
  await vi.advanceTimersByTimeAsync(1500)
  const text = said()
  vi.useRealTimers()
  interrupt()
  interrupt()
  await done
  expect(text).toMatch(expected)
})

test('in somebody’s worker: that a command does not begin for long is told, once, with where to look', async () => {
  vi.useFakeTimers()
  const { done, said } = following({ run: { state: 'starting' } }, undefined, 'but trouble')
  await vi.advanceTimersByTimeAsync(5000)
  const soon = said()
  await vi.advanceTimersByTimeAsync(20_000)
  const late = said()
  vi.useRealTimers()
  interrupt()
  interrupt()
  await done
  expect(soon).toBe('')
  expect(late).toBe(
    'muster: r1: its command has not begun in worker w1 yet; `muster providers` shows whether a call there has no answer, `muster why run r1` what was tried\n',
  )
})
