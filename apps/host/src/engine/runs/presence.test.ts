import { expect, test } from 'vitest'
import type { Artifact, RunRecord } from '../model.ts'
import { testClock, type TestClock } from '../testing/clock.ts'
import { counting, createPresence, type Presence } from './presence.ts'
import type { RunRecords } from './records.ts'

function start(refused = 0): { presence: Presence; clock: TestClock; cancelled: string[]; live: Set<string> } {
  const clock = testClock()
  const cancelled: string[] = []
  const live = new Set(['r'])
  let left = refused
  const presence = createPresence({
    engine: { clock },
    records: { get: (id: string) => (live.has(id) ? {} : undefined) } as unknown as RunRecords,
    cancel: async (id, reason) => {
      cancelled.push(`${id}: ${reason}`)
      if (left-- > 0) throw new Error('the store is ill')
    },
  })
  presence.watch({ id: 'r', request: JSON.stringify({ detachMs: 1000 }) } as RunRecord)
  return { presence, clock, cancelled, live }
}

async function pass(clock: TestClock, ms: number): Promise<void> {
  const until = clock.now() + ms
  while (clock.step(until)) await new Promise(setImmediate)
  await new Promise(setImmediate)
}

const gone = 'r: no client for 1000 ms'

test('a run ends when nobody has been there for its time, and not before', async () => {
  const { clock, cancelled } = start()
  await pass(clock, 999)
  expect(cancelled).toEqual([])
  await pass(clock, 1)
  expect(cancelled).toEqual([gone])
})

test('while one of its clients is there it goes on; the time runs from the last one’s leaving', async () => {
  const { presence, clock, cancelled } = start()
  await pass(clock, 900)
  const [first, second] = [presence.attach('r'), presence.attach('r')]
  await pass(clock, 5000)
  first()
  first()
  await pass(clock, 5000)
  expect(cancelled).toEqual([])
  second()
  await pass(clock, 999)
  expect(cancelled).toEqual([])
  await pass(clock, 1)
  expect(cancelled).toEqual([gone])
})

test('a store that cannot write is asked again; of a run that has ended nothing is', async () => {
  const ill = start(2)
  await pass(ill.clock, 3000)
  expect(ill.cancelled).toEqual([gone, gone, gone])
  const over = start()
  over.live.clear()
  await pass(over.clock, 5000)
  expect(over.cancelled).toEqual([])
})

test('a client that is back before a store is asked again keeps the run alive', async () => {
  const { presence, clock, cancelled } = start(1)
  while (cancelled.length === 0 && clock.step(clock.now() + 1000));
  const leave = presence.attach('r')
  await pass(clock, 0)
  await pass(clock, 5000)
  expect(cancelled).toEqual([gone])
  leave()
  await pass(clock, 1000)
  expect(cancelled).toEqual([gone, gone])
})

test('what is forgotten or stopped ends nothing, also when its client leaves later', async () => {
  const forgotten = start()
  const leave = forgotten.presence.attach('r')
  forgotten.presence.forget('r')
  leave()
  const stopped = start()
  stopped.presence.stop()
  const armed = start()
  armed.presence.forget('r')
  for (const { clock, cancelled } of [forgotten, stopped, armed]) {
    await pass(clock, 5000)
    expect(cancelled).toEqual([])
  }
})

test('a run that asked for nothing is left alone', async () => {
  const { presence, clock, cancelled } = start()
  presence.watch({ id: 'other', request: '{}' } as RunRecord)
  presence.attach('other')()
  presence.forget('r')
  await pass(clock, 5000)
  expect(cancelled).toEqual([])
})

test('who follows the log, uploads or sends standard input is a client, and who only reads what is there is none', async () => {
  const { presence, clock, cancelled } = start()
  const gate = Promise.withResolvers<void>()
  const piece = { stream: 'stdout', next: 1, data: Buffer.from('x') } as const
  const runs = counting(presence, {
    readLog: async function* () {
      yield piece
      await gate.promise
    },
    putInput: () => gate.promise.then(() => ({}) as Artifact),
    writeStdin: () => gate.promise.then(() => ({ offset: 0, ended: true })),
  })
  const read = async (follow: boolean): Promise<void> => {
    for await (const one of runs.readLog('r', { from: 0, follow })) expect(one).toBe(piece)
  }
  const tar = (async function* () {})()
  const all = [
    read(true),
    runs.putInput('r', { name: 'in', tar }),
    runs.writeStdin('r', { offset: 0, data: Buffer.alloc(0), end: true }),
  ]
  await pass(clock, 5000)
  expect(cancelled).toEqual([])
  gate.resolve()
  await Promise.all(all)
  const ended = [...cancelled]
  await pass(clock, 1000)
  expect([ended, cancelled]).toEqual([[], [gone]])
  const other = start()
  const reading = counting(other.presence, {
    ...runs,
    readLog: async function* () {
      await new Promise(() => undefined)
      yield piece
    },
  }).readLog('r', { from: 0, follow: false })
  void reading[Symbol.asyncIterator]().next()
  await pass(other.clock, 1000)
  expect(other.cancelled).toEqual([gone])
})

test('each counts for itself, and one that fails or is left counts no longer', async () => {
  for (const how of ['follow', 'upload', 'stdin'] as const) {
    const { presence, clock, cancelled } = start()
    const runs = counting(presence, {
      readLog: async function* () {
        yield { stream: 'stdout', next: 1, data: Buffer.from('x') }
      },
      putInput: () => Promise.reject(new Error('cut off')),
      writeStdin: () => Promise.reject(new Error('cut off')),
    })
    await pass(clock, 900)
    if (how === 'follow') for await (const _ of runs.readLog('r', { from: 0, follow: true })) break
    const tar = (async function* () {})()
    if (how === 'upload') await expect(runs.putInput('r', { name: 'in', tar })).rejects.toThrow('cut off')
    const data = Buffer.alloc(0)
    if (how === 'stdin') await expect(runs.writeStdin('r', { offset: 0, data, end: true })).rejects.toThrow('cut off')
    await pass(clock, 900)
    expect([how, cancelled]).toEqual([how, []])
    await pass(clock, 100)
    expect([how, cancelled]).toEqual([how, [gone]])
  }
})
