/** Calls of a provider that wait for what is not theirs are counted; also where a lane that all share is built in. */
import { type CallOptions, ProviderError, type WorkerClient } from '@muster/core'
import { expect, test } from 'vitest'
import { createGuard, type Guard } from './guard.ts'
import { openHolds } from './holds.ts'
import { createRedactor } from './redactor.ts'
import { openWaits } from './waits.ts'

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Runs the work when its turn has come; what it returns settles when the place is free again. */
type Lane = (work: () => Promise<unknown>) => Promise<unknown>

const none: Lane = (work) => work()

/** One call at a time, whoever makes it. */
function oneAtATime(): Lane {
  let last: Promise<unknown> = Promise.resolve()
  return (work) => {
    const mine = last.then(work)
    last = mine.catch(() => undefined)
    return mine
  }
}

interface Straw {
  guard: Guard
  /** Why its calls waited, in order. */
  waited: string[]
  /** Answers the oldest call that is open. */
  answer(fault?: Error): void
}

function straw(lane: Lane, inFlight = 8): Straw {
  const waited: string[] = []
  const open: PromiseWithResolvers<unknown>[] = []
  const worker = new Proxy({} as WorkerClient, {
    get:
      () =>
      (...given: unknown[]) =>
        lane(() => {
          ;(given.at(-1) as CallOptions).placed?.()
          const one = Promise.withResolvers<unknown>()
          open.push(one)
          return one.promise
        }),
  })
  const holds = openHolds()
  const guard = createGuard({
    tags: { 'muster-owner': 'o', 'muster-provider': 'p' },
    fence: { mayAct: () => true, epoch: () => 1 },
    current: () => ({ worker, holds, inFlight }),
    secret: async () => ({ value: '', version: '1' }),
    redactor: createRedactor(),
    witness: ({ traceparent = '' }) => ({ traceparent, waited: (why) => void waited.push(why), end: () => undefined }),
    onFailure: () => undefined,
  })
  return {
    guard,
    waited,
    answer(fault) {
      const one = open.shift()
      if (fault === undefined) one?.resolve({})
      else one?.reject(fault)
    },
  }
}

test('a call waits for no call of another provider', async () => {
  const [hung, good] = [straw(none), straw(none)]
  void hung.guard.calls.probe()
  await nextTurn()
  const call = good.guard.calls.probe()
  await nextTurn()
  good.answer()
  await call
  expect([hung.waited, good.waited]).toEqual([[], []])
})

test('where both share a lane, the call that waited for the other one is counted', async () => {
  const lane = oneAtATime()
  const [hung, good] = [straw(lane), straw(lane)]
  const first = hung.guard.calls.probe()
  await nextTurn()
  const call = good.guard.calls.probe()
  await nextTurn()
  expect(good.waited).toEqual([])
  hung.answer()
  await first
  await nextTurn()
  good.answer()
  await call
  expect([hung.waited, good.waited]).toEqual([[], ['others']])
})

test('a call that waits for a place of its own provider is counted as such, and one that needs none is not', async () => {
  const own = oneAtATime()
  const one = straw((work) => own(work), 1)
  const calls = [one.guard.calls.probe(), one.guard.calls.list({ limit: 1 })]
  await nextTurn()
  one.answer()
  await calls[0]
  await nextTurn()
  one.answer()
  await calls[1]?.catch(() => undefined)
  expect(one.waited).toEqual(['own'])

  const free = straw(none, 1)
  void free.guard.calls.probe()
  const how = { graceMs: 0, force: false, reason: 'over' }
  const ends = [0, 1].map(() => free.guard.calls.terminate({ id: 'w' }, how, {}))
  await nextTurn()
  for (let n = 0; n < 3; n++) free.answer()
  await Promise.all(ends)
  expect(free.waited).toEqual([])
})

test('places are free again when their calls have ended, well or not', async () => {
  const own = oneAtATime()
  const one = straw((work) => own(work), 2)
  for (const fault of [undefined, new ProviderError('transient', 'down'), undefined]) {
    const call = one.guard.calls.probe().catch(() => undefined)
    await nextTurn()
    one.answer(fault)
    await call
  }
  const late = straw(async (work) => (await nextTurn(), work()), 2)
  const call = late.guard.calls.probe()
  await nextTurn()
  await nextTurn()
  late.answer()
  await call
  expect([one.waited, late.waited]).toEqual([[], ['others']])
})

test('who waits for a place waits for its own, until one has left; who needs none takes none', async () => {
  const waits = openWaits()
  const told: string[] = []
  const late = async (limit: number, trying = false): Promise<{ leave(): void }> => {
    const wait = waits.enter({ limit, trying })
    await nextTurn()
    wait.placed((why) => told.push(why))
    return wait
  }
  const one = await late(1)
  const two = await late(1)
  const free = await late(Infinity)
  one.leave()
  two.leave()
  const three = await late(1)
  three.leave()
  free.leave()
  await late(1)
  await late(9, true)
  expect(told).toEqual(['others', 'own', 'others', 'others', 'others', 'own'])
  // In its own turn nobody waits.
  waits.enter({ limit: 1, trying: false }).placed((why) => told.push(why))
  expect(told).toHaveLength(6)
})
