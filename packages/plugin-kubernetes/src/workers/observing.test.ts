import { expect, test } from 'vitest'
import { type Answer, drop, hang, json, startServer, type TestServer } from '../api/server.test.helper.ts'
import { createCluster } from '../client.ts'
import { annotationsOf } from '../labels.ts'
import type { Pod } from '../objects.ts'
import { createObserver, type Observer } from './observing.ts'
import { id, newCall, specOf } from '../testing/pure.test.helper.ts'
import { mountFailed, recorded } from '../testing/recorded.test.helper.ts'

const spec = specOf()
const slow: Pod = {
  metadata: { name: id, uid: 'uid', annotations: annotationsOf(spec), creationTimestamp: '2026-11-30T01:00:00Z' },
  spec: { containers: [], nodeName: 'node' },
  status: recorded.mounting,
}
const events = (count: number, next = ''): Answer =>
  json({
    metadata: { continue: next },
    items: Array.from({ length: count }, () => ({ ...mountFailed, lastTimestamp: new Date().toISOString() })),
  })

function observerOf(server: TestServer, clock: () => number): (...pods: Pod[]) => ReturnType<Observer['observe']> {
  const observer = createObserver(createCluster({ ...server, close: () => {} }, 'team'), clock)
  return (...pods) => observer.observe(pods, spec.tags, newCall())
}

test('who needs events shares one answer for a while, and reads no more than some of them', async () => {
  await using server = await startServer([events(500, 'two'), events(500, 'three')])
  let now = 0
  const observe = observerOf(server, () => now)
  const all = await Promise.all(Array.from({ length: 5 }, () => observe(slow)))
  expect(new Set(all.map(([seen]) => seen?.problem?.code))).toEqual(new Set(['invalid-spec']))
  await observe(slow)
  expect(server.seen).toHaveLength(2)
  now = 10_000
  await observe(slow)
  expect(server.seen).toHaveLength(4)
})

test('events that nobody tells are no failure of a list, and are not asked for again at once', async () => {
  await using server = await startServer([drop])
  const observe = observerOf(server, () => 0)
  expect(await observe(slow)).toMatchObject([{ id, phase: 'provisioning' }])
  const asked = server.seen.length
  await observe(slow)
  expect(server.seen).toHaveLength(asked)
})

test('a list that is given up waits for no events', async () => {
  await using server = await startServer([hang])
  const observer = createObserver(createCluster({ ...server, close: () => {} }, 'team'))
  const leaving = new AbortController()
  const looking = observer.observe([slow], spec.tags, { ...newCall(), signal: leaving.signal })
  leaving.abort(new Error('enough'))
  await expect(looking).rejects.toThrow('enough')
})

test('who is well, new, or another’s needs none', async () => {
  await using server = await startServer([hang])
  const observe = observerOf(server, () => 0)
  const young = { ...slow, metadata: { ...slow.metadata, creationTimestamp: new Date().toISOString() } }
  const other = {
    ...slow,
    metadata: { ...slow.metadata, annotations: annotationsOf(specOf({ tags: { ...spec.tags, 'muster-owner': 'x' } })) },
  }
  expect(await observe(young, other, { ...slow, status: recorded.runs })).toHaveLength(2)
  expect(server.seen).toEqual([])
})
