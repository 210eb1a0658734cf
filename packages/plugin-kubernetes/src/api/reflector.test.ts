import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { calls } from './calls.ts'
import { isStatus } from './failure.ts'
import { createReflector, type Reflector, type ReflectorOptions } from './reflector.ts'
import { type Answer, drop, hang, json, refuse, seen, startServer, stream, type TestServer } from './server.test.helper.ts'
import { type Change, createStore } from './store.ts'

interface Thing {
  metadata: { name: string; uid: string; resourceVersion: string }
}

const never = new AbortController().signal
const thing = (name: string, version: number, uid = `uid-${name}`): Thing => ({
  metadata: { name, uid, resourceVersion: String(version) },
})
const list = (version: number, ...items: Thing[]): Answer => json({ metadata: { resourceVersion: String(version) }, items })
const event = (type: string, object: unknown): string => `${JSON.stringify({ type, object })}\n`
const bookmark = (version: number): string => event('BOOKMARK', { metadata: { resourceVersion: String(version) } })

function reflect(server: TestServer, options: ReflectorOptions<Thing> = {}): Reflector<Thing> {
  const what = { list: calls.listPods, call: calls.watchPods, place: { namespace: 'n' } }
  return createReflector<Thing>(server.requests, what, { backOff: { firstMs: 1, mostMs: 5 }, random: () => 0.5, ...options })
}

const names = (reflector: Reflector<Thing>): string[] =>
  [...reflector.store.values()].map(({ metadata }) => `${metadata.name}@${metadata.resourceVersion}`).sort()
const versionsWatched = ({ seen }: TestServer): (string | undefined)[] =>
  seen.filter((one) => one.includes('watch=true')).map((one) => /resourceVersion=(\d+)/.exec(one)?.[1])

test('an event that is cut into pieces, one that comes twice and an overtaken one change the store once', async () => {
  const whole =
    event('ADDED', thing('b', 12)) +
    event('ADDED', thing('b', 12)) +
    event('MODIFIED', thing('a', 11)) +
    event('DELETED', thing('a', 13)) +
    event('ADDED', thing('a', 10))
  const pieces = [whole.slice(0, 7), whole.slice(7, 60), whole.slice(60, 61), whole.slice(61)]
  await using server = await startServer([list(10, thing('a', 9)), stream(pieces, 'hang')])
  const reflector = reflect(server)
  const changes: string[] = []
  const stop = new AbortController()
  const taking = (async () => {
    for await (const { type, object } of reflector.changes(stop.signal))
      changes.push(`${type} ${object.metadata.name}@${object.metadata.resourceVersion}`)
  })()
  taking.catch(() => {})
  await reflector.synced(never)
  await seen(() => expect(changes).toEqual(['set a@9', 'set b@12', 'gone a@13']))
  expect(names(reflector)).toEqual(['b@12'])
  stop.abort()
  await expect(taking).rejects.toThrow()
  await reflector.stop()
})

test.each<[string, Answer]>([
  ['was reset in the middle of an event', stream([event('ADDED', thing('b', 12)), '{"type":"ADD'], 'drop')],
  ['ended in the middle of an event', stream([event('ADDED', thing('b', 12)), '{"type":"ADD'], 'end')],
  ['said what is no JSON', stream([event('ADDED', thing('b', 12)), 'oops\n'], 'hang')],
  ['said what is no event', stream([event('ADDED', thing('b', 12)), '{"type":"NEW","object":{}}\n'], 'hang')],
  [
    'told an error of the server',
    stream([event('ADDED', thing('b', 12)), event('ERROR', { kind: 'Status', code: 500 })], 'hang'),
  ],
  ['ended in order', stream([event('ADDED', thing('b', 12))], 'end')],
])('a watch that %s goes on from the last version, without another list', async (_, first) => {
  await using server = await startServer([
    list(10, thing('a', 9)),
    first,
    refuse(503),
    drop,
    stream([event('ADDED', thing('c', 14))], 'hang'),
  ])
  const reflector = reflect(server)
  await seen(() => expect(names(reflector)).toEqual(['a@9', 'b@12', 'c@14']))
  expect(versionsWatched(server)).toEqual(['10', '12', '12', '12'])
  expect(reflector.state().failure).toBeUndefined()
  await reflector.stop()
})

test.each<[string, Answer]>([
  ['as an answer', refuse(410, { reason: 'Expired' })],
  ['inside the stream', stream([event('ERROR', { kind: 'Status', code: 410, reason: 'Expired' })], 'hang')],
])(
  'a version that was forgotten, told %s, means a new list: what is absent from it is gone, what is new there',
  async (_, gone) => {
    const after = list(20, thing('b', 18), thing('c', 19, 'another c'))
    await using server = await startServer([
      list(10, thing('a', 9), thing('c', 8)),
      gone,
      drop,
      after,
      stream([bookmark(25)], 'hang'),
    ])
    const reflector = reflect(server)
    const changes: Change<Thing>[] = []
    const taking = (async () => {
      for await (const change of reflector.changes(never)) changes.push(change)
    })()
    taking.catch(() => {})
    await seen(() => expect(names(reflector)).toEqual(['b@18', 'c@19']))
    await seen(() =>
      expect(changes.slice(-4).map(({ type, object }) => `${type} ${object.metadata.uid}`)).toEqual([
        'gone uid-a',
        'gone uid-c',
        'set uid-b',
        'set another c',
      ]),
    )
    await seen(() => expect(versionsWatched(server)[1]).toBe('20'))
    await reflector.stop()
    await expect(taking).rejects.toMatchObject({ code: 'STOPPED' })
  },
)

test('bookmarks alone move the version; silence without them opens a new watch', async () => {
  // By what is asked for: on a busy machine the silence may come before the bookmarks.
  const watched: Answer = (request, response, url) => {
    const on = url.searchParams.get('resourceVersion') === '17'
    stream(on ? [event('ADDED', thing('a', 18))] : [bookmark(15), bookmark(17)], 'hang')(request, response, url)
  }
  await using server = await startServer([list(10), watched])
  const reflector = reflect(server, { silenceMs: 60 })
  await seen(() => expect(names(reflector)).toEqual(['a@18']))
  expect(server.seen.filter((one) => !one.includes('watch=true'))).toHaveLength(1)
  await reflector.stop()
})

test('a server that is away at the start: the list comes once it is there', async () => {
  await using server = await startServer([drop, refuse(503), refuse(500), list(10, thing('a', 9)), hang])
  const reflector = reflect(server)
  await reflector.synced(never)
  expect(names(reflector)).toEqual(['a@9'])
  await reflector.stop()
  await expect(reflector.synced(never)).rejects.toMatchObject({ code: 'STOPPED' })
})

test('one that is stopped before it knew anything tells so, and nothing of it runs on', async () => {
  await using server = await startServer([hang])
  const reflector = reflect(server)
  const waiting = reflector.synced(never)
  waiting.catch(() => {})
  await seen(() => expect(server.seen).toHaveLength(1))
  await reflector.stop()
  await expect(waiting).rejects.toMatchObject({ code: 'STOPPED' })
  expect(server.seen).toHaveLength(1)
})

test('a watch that always ends at once is not opened in a storm', async () => {
  const waits: number[] = []
  await using server = await startServer([list(10), stream([], 'end')])
  const reflector = reflect(server, { onFailure: (error) => waits.push(error.message.length) })
  await seen(() => expect(waits.length).toBeGreaterThan(3))
  expect(reflector.state().failure?.message).toBe('a watch ended at once')
  await reflector.stop()
})

test('whatever is repeated or late, the store is what the events say', () => {
  const step = fc.record({ name: fc.constantFrom('a', 'b', 'c'), gone: fc.boolean(), repeat: fc.nat(3) })
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const model = new Map<string, number>()
      const store = createStore<Thing>()
      store.replace([], '0')
      const told: { type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: Thing }[] = []
      let births = 0
      const uids = new Map<string, string>()
      const mirror = new Map<string, string>()
      const feed = (one: (typeof told)[number]): void => {
        for (const { type, object } of store.apply(one.type, one.object)) {
          if (type === 'set') mirror.set(object.metadata.uid, object.metadata.resourceVersion)
          else expect(mirror.delete(object.metadata.uid)).toBe(true)
        }
      }
      steps.forEach(({ name, gone, repeat }, at) => {
        const version = at + 1
        if (gone && !model.has(name)) return
        if (!model.has(name)) uids.set(name, `uid-${++births}`)
        const type = gone ? 'DELETED' : model.has(name) ? 'MODIFIED' : 'ADDED'
        told.push({ type, object: thing(name, version, uids.get(name)) })
        feed(told.at(-1) as (typeof told)[number])
        for (const old of told.slice(-1 - repeat)) feed(old)
        if (gone) model.delete(name)
        else model.set(name, version)
      })
      const expected = new Map([...model].map(([name, version]) => [uids.get(name), String(version)]))
      expect(new Map([...store.values()].map(({ metadata }) => [metadata.uid, metadata.resourceVersion]))).toEqual(expected)
      expect(mirror).toEqual(expected)
    }),
  )
})

test('one that nobody lets in any more ends with the refusal, and only when that does not pass', async () => {
  const refused = refuse(403, { reason: 'Forbidden' })
  const watched = stream([event('ADDED', thing('a', 11))], 'end')
  // A server that begins is away first, and then does not know its own rights yet.
  await using server = await startServer([list(10), drop, drop, refused, refused, watched, refused])
  let now = 0
  const reflector = reflect(server, { isRefusal: (error) => isStatus(error, 403), clock: () => now })
  const changes: string[] = []
  const taking = (async () => {
    for await (const { object } of reflector.changes(never)) changes.push(object.metadata.name)
  })()
  taking.catch(() => {})
  // Many in a row, and no time between them.
  await seen(() => expect(server.seen.length).toBeGreaterThan(12))
  expect(reflector.state().failure).toMatchObject({ status: 403 })
  now = 20_000
  await expect(taking).rejects.toMatchObject({ status: 403 })
  expect(changes).toEqual(['a'])
  await reflector.stop()
})

test('of each object only what is asked for is kept', async () => {
  const large = (name: string, version: number): Thing => ({ ...thing(name, version), spec: 'x'.repeat(1000) }) as Thing
  await using server = await startServer([list(10, large('a', 9)), stream([event('ADDED', large('b', 11))], 'hang')])
  const reflector = reflect(server, { pick: ({ metadata }) => ({ metadata }) })
  await seen(() => expect(names(reflector)).toEqual(['a@9', 'b@11']))
  expect([...reflector.store.values()].flatMap(Object.keys)).toEqual(['metadata', 'metadata'])
  await reflector.stop()
})
