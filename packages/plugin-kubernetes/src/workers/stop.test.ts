/** How the end of a worker is known: by the watch that is open, and by an API server's word. */
import type { Terminated } from '@muster/core'
import { expect, test } from 'vitest'
import { type Answer, json, refuse, seen, startServer, type TestServer } from '../api/server.test.helper.ts'
import { createCluster } from '../client.ts'
import { createEnds } from './ends.ts'
import { annotationsOf, labelsOf } from '../labels.ts'
import type { Pod } from '../objects.ts'
import { type KubernetesProvider, kubernetesProvider } from '../provider.ts'
import { fields, id, newCall, specOf } from '../testing/pure.test.helper.ts'
import { recorded } from '../testing/recorded.test.helper.ts'
import { handleOf } from '../translate.ts'

const spec = specOf()
const target = { id, handle: handleOf({ name: id, uid: 'ours' }) }
const gentle = { graceMs: 5000, force: false, reason: 'done' }
const forced = { graceMs: 0, force: true, reason: 'done' }

const podOf = (over: Partial<Pod['metadata']> = {}): Pod => ({
  metadata: { name: id, uid: 'ours', resourceVersion: '10', labels: labelsOf(spec), annotations: annotationsOf(spec), ...over },
  spec: { containers: [], nodeName: 'node' },
  status: recorded.runs,
})
const at = (seconds: number): string => new Date(Date.now() + seconds * 1000).toISOString()
const ending = (seconds = 5): Pod => podOf({ deletionTimestamp: at(seconds), deletionGracePeriodSeconds: 1 })

/** Tells an open watch of one event. */
type Tell = (event: { type: string; object: Pod }) => void

interface Watched {
  server: TestServer
  provider: KubernetesProvider
  /** What was asked since the watch was open. */
  methods(): string[]
  tell: Tell
  stop(): Promise<void>
}

/** A provider whose watch is open, at a server that answers what is done by `others`. */
async function withWatch(others: (tell: Tell) => Readonly<Record<string, Answer>>): Promise<Watched> {
  let send: Tell = () => undefined
  const tell: Tell = (event) => send(event)
  const answers = others(tell)
  const server = await startServer([
    (request, response, url) => {
      if (url.searchParams.get('watch') === 'true') {
        response.writeHead(200).flushHeaders()
        send = (event) => response.write(`${JSON.stringify(event)}\n`)
      } else if (!url.pathname.endsWith(id))
        json({ metadata: { resourceVersion: '10' }, items: [podOf()] })(request, response, url)
      else answers[request.method ?? '']?.(request, response, url)
    },
  ])
  const cluster = createCluster({ ...server, close: () => {} }, 'team')
  const provider = kubernetesProvider({ cluster, context: { owner: 'owner', provider: 'kubernetes' }, fields })
  const over = new AbortController()
  const watching = (async () => {
    for await (const _one of provider.watch({ tags: spec.tags, limit: 500 }, { ...newCall(), signal: over.signal }));
  })().catch(() => undefined)
  await seen(() => expect(server.seen).toHaveLength(2))
  return {
    server,
    provider,
    tell,
    methods: () => server.seen.slice(2).map((one) => one.split(' ')[0] ?? ''),
    async stop() {
      over.abort()
      await watching
      await server[Symbol.asyncDispose]()
    },
  }
}

/** The watch shows it no more before its end is answered: whoever waits for it must have begun before. */
const ends =
  (tell: Tell): Answer =>
  (...asked) => {
    tell({ type: 'DELETED', object: podOf({ resourceVersion: '11' }) })
    setImmediate(() => json(ending())(...asked))
  }

test.each<[string, Answer, Terminated['state']]>([
  ['none of its name is there', refuse(404, { reason: 'NotFound' }), 'gone'],
  ['another one has its name', json(podOf({ uid: 'another' })), 'gone'],
  ['it has only lost its label', json(podOf({ labels: {} })), 'terminating'],
  ['nobody says whether it is there', refuse(403, { reason: 'Forbidden' }), 'terminating'],
])('terminate: the watch shows it no more, and %s', async (_what, there, state) => {
  for (const how of [gentle, forced]) {
    const watched = await withWatch((tell) => ({ DELETE: ends(tell), GET: there }))
    expect((await watched.provider.terminate(target, how, newCall())).state).toBe(state)
    expect(watched.methods()).toEqual(['DELETE', 'GET'])
    await watched.stop()
  }
})

test('terminate: a wait is given up with its call, holds up no second one, and all that wait are told', async () => {
  const watched = await withWatch(() => ({ DELETE: json(ending()), GET: refuse(404, { reason: 'NotFound' }) }))
  const over = new AbortController()
  const first = watched.provider.terminate(target, gentle, newCall())
  const second = watched.provider.terminate(target, gentle, { ...newCall(), signal: over.signal })
  const third = watched.provider.terminate(target, gentle, newCall())
  await seen(() => expect(watched.methods()).toEqual(['DELETE', 'DELETE', 'DELETE']))
  over.abort()
  await expect(second).rejects.toMatchObject({ code: 'cancelled' })
  watched.tell({ type: 'DELETED', object: podOf({ resourceVersion: '11' }) })
  expect(await Promise.all([first, third])).toEqual([{ state: 'gone' }, { state: 'gone' }])
  await watched.stop()
})

test('terminate: without time left before the deadline it is answered at once', async () => {
  const watched = await withWatch(() => ({ DELETE: json(ending()) }))
  const ended = await watched.provider.terminate(target, gentle, { ...newCall(), deadline: Date.now() })
  expect(ended.state).toBe('terminating')
  expect(watched.methods()).toEqual(['DELETE'])
  await watched.stop()
})

interface Force {
  /** Seconds from now until which it has, by the answer. */
  by: number
  /** How this process has asked for its end before. */
  before?: typeof gentle
  requests: string
}

test.each<[string, Force]>([
  ['one that was asked for long ago, with a longer grace', { by: -10, requests: 'DELETE exec' }],
  ['one that was asked for just now', { by: 1, requests: 'DELETE' }],
  ['one that this process asked for just now, with a longer grace', { by: 1, before: gentle, requests: 'DELETE DELETE exec' }],
  ['one that this process has cut already', { by: -10, before: forced, requests: 'DELETE exec DELETE' }],
])('force: %s', async (_what, { by, before, requests }) => {
  await using server = await startServer([json(ending(by))])
  const execs: string[] = []
  server.onUpgrade((request, socket) => {
    execs.push(`${request.url}`)
    server.seen.push('exec')
    socket.destroy()
  })
  const cluster = createCluster({ ...server, close: () => {} }, 'team')
  const provider = kubernetesProvider({ cluster, context: { owner: 'owner', provider: 'kubernetes' }, fields })
  if (before !== undefined) await provider.terminate(target, before, newCall())
  await provider.terminate(target, forced, newCall())
  expect(server.seen.map((one) => one.split(' ')[0]).join(' ')).toBe(requests)
  for (const one of execs) expect(one).toContain('kill')
})

test('ends: expected only while somebody watches, by no more than a number, and told to all', async () => {
  const room = createEnds(2)
  expect(room.expect('a')).toBeUndefined()
  const [close, other] = [room.open(), room.open()]
  const [first, second] = [room.expect('a'), room.expect('a')]
  expect(room.expect('b')).toBeUndefined()
  room.tell('b')
  room.tell('a')
  await Promise.all([first?.told, second?.told])
  first?.leave()
  first?.leave()
  expect(room.expect('b')).toBeDefined()
  expect(room.expect('c')).toBeUndefined()
  close()
  close()
  second?.leave()
  expect(room.expect('c')).toBeDefined()
  other()
  expect(room.expect('d')).toBeUndefined()
})
