import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { createAsking, type Turn } from './asking.ts'

const never = new AbortController().signal
const limits = { open: 4, tried: 2, firstMs: 1, mostMs: 8, random: () => 0 }

/** The turns that have come, of those that were asked for. */
function begin(asking: ReturnType<typeof createAsking>, nodes: readonly string[], signal = never): Turn[] {
  const came: Turn[] = []
  for (const node of nodes)
    void asking.begin(node, signal).then(
      (turn) => came.push(turn),
      () => undefined,
    )
  return came
}

/** All that can go on without anybody's doing has. */
async function settled(): Promise<void> {
  for (let n = 0; n < 20; n++) await new Promise((resolve) => setImmediate(resolve))
}

/** Those that rest have rested: their pauses are of no length here. */
async function rested(came: readonly Turn[], many: number): Promise<void> {
  await waitFor('turns', () => came.length, { until: (seen) => seen >= many })
  await settled()
}

test('no more are tried at once than a number, and no more are open', async () => {
  const asking = createAsking(limits)
  const came = begin(asking, ['a', 'b', 'c', 'd', 'e'])
  await settled()
  expect(came).toHaveLength(2)
  came[0]?.answered()
  came[0]?.answered()
  await settled()
  expect(came).toHaveLength(3)
  came[1]?.answered()
  came[2]?.answered()
  await settled()
  expect([came.length, asking.wanted()]).toEqual([4, true])
  came[3]?.end()
  came[3]?.end()
  await settled()
  expect([came.length, asking.wanted()]).toEqual([5, false])
})

test('a node that gave none is tried by one at a time, the others of it wait; other nodes do not', async () => {
  const asking = createAsking({ ...limits, open: 9, tried: 3 })
  const came = begin(asking, ['a', 'a', 'a', 'a', 'a'])
  await settled()
  // All three began before any was refused; the others find out while they wait for their place.
  for (const turn of came.splice(0)) {
    turn.refused()
    turn.end()
  }
  const other = begin(asking, ['b'])
  await rested(came, 1)
  expect([came.length, other.length]).toEqual([1, 1])
  came[0]?.end()
  await rested(came, 2)
  came[1]?.answered()
  const more = begin(asking, ['a'])
  await settled()
  expect(more).toHaveLength(1)
})

test('pauses grow with each refusal of a node, and not with each worker of it', async () => {
  const rests: number[] = []
  const asking = createAsking({ ...limits, random: () => (rests.push(rests.length), 0) })
  const came = begin(asking, ['a', 'a', 'a'])
  await settled()
  came[0]?.refused()
  came[1]?.refused()
  came[0]?.end()
  came[1]?.end()
  expect(rests).toHaveLength(1)
  await rested(came, 3)
  came[2]?.refused()
  came[2]?.end()
  expect(rests).toHaveLength(2)
})

test('who gives up leaves its place, and its node to the next one', async () => {
  const asking = createAsking({ ...limits, open: 1, tried: 1 })
  const [held] = [begin(asking, ['a'])]
  await settled()
  const leaving = new AbortController()
  const left = begin(asking, ['b'], leaving.signal)
  await settled()
  leaving.abort()
  await settled()
  expect([left.length, asking.wanted()]).toEqual([0, false])
  held[0]?.refused()
  held[0]?.end()
  const resting = new AbortController()
  begin(asking, ['a'], resting.signal)
  const after = begin(asking, ['a'])
  resting.abort()
  await rested(after, 1)
  expect(after).toHaveLength(1)
})

test('a place that is given to one who gives up in the same moment goes to the next', async () => {
  const asking = createAsking({ ...limits, open: 1, tried: 1 })
  const held = begin(asking, ['a'])
  await settled()
  const leaving = new AbortController()
  const left = begin(asking, ['b'], leaving.signal)
  const next = begin(asking, ['c'])
  await settled()
  // It is told of its end first, and of its place then.
  leaving.abort()
  held[0]?.end()
  await settled()
  expect([left.length, next.length]).toEqual([0, 1])
})
