/** What the provider makes of an API server's answers, right and wrong ones. */
import type { LaunchSpec, Terminated, WorkerObservation, WorkerTarget } from '@muster/core'
import { expect, test } from 'vitest'
import { type Answer, json, refuse, startServer, stream, type TestServer } from './api/server.test.helper.ts'
import manifest from '../muster-plugin.json' with { type: 'json' }
import { CREATE_SECONDS, createCluster } from './client.ts'
import { createEnds } from './workers/ends.ts'
import { annotationsOf, labelsOf } from './labels.ts'
import { networkLabels } from './network/network.ts'
import type { Pod } from './objects.ts'
import { type KubernetesProvider, kubernetesProvider } from './provider.ts'
import { fields, id, newCall, specOf } from './testing/pure.test.helper.ts'
import { recorded } from './testing/recorded.test.helper.ts'
import { handleOf } from './translate.ts'
import { watchWorkers } from './workers/watch.ts'

const spec = specOf()
const gone = refuse(404, { reason: 'NotFound' })
const exists = refuse(409, { reason: 'AlreadyExists' })

const sentLabels = (of: LaunchSpec): Record<string, string> => ({ ...labelsOf(of), ...networkLabels(of, {}) })

function podOf(over: Partial<Pod['metadata']> = {}, of: LaunchSpec = spec): Pod {
  return {
    metadata: { name: id, uid: 'ours', resourceVersion: '10', labels: sentLabels(of), annotations: annotationsOf(of), ...over },
    spec: { containers: [], nodeName: 'node' },
    status: recorded.runs,
  }
}

const other = specOf({ tags: { ...spec.tags, 'muster-provider': 'another' } })
const theirs = podOf({}, other)
const bare = podOf({ labels: {}, annotations: {} })
const handle = handleOf({ name: id, uid: 'ours' })
const ago = (seconds: number): string => new Date(Date.now() - seconds * 1000).toISOString()
const ending = (seconds: number, over: Partial<Pod['metadata']> = {}): Pod =>
  podOf({ deletionTimestamp: ago(seconds), deletionGracePeriodSeconds: 30, ...over })

function providerAt(server: TestServer): KubernetesProvider {
  const cluster = createCluster({ ...server, close: () => {} }, 'team')
  return kubernetesProvider({ cluster, context: { owner: 'owner', provider: 'kubernetes' }, fields })
}

/** The answers one after the other, and what was asked. */
async function asked<T>(
  answers: Answer[],
  ask: (provider: KubernetesProvider) => Promise<T>,
): Promise<{ outcome: T; methods: string[] }> {
  await using server = await startServer(answers)
  const outcome = await ask(providerAt(server))
  return { outcome, methods: server.seen.map((one) => one.split(' ')[0] ?? '') }
}

const failure = async (work: Promise<unknown>): Promise<unknown> =>
  await work.then(
    () => 'none',
    (error: unknown) => error,
  )

test.each<[string, Answer[], object]>([
  ['the worker is there already', [exists, json(podOf())], { handle }],
  ['it lost a label since', [exists, json(podOf({ labels: {} }))], { code: 'unsupported', effect: 'possible' }],
  ['it has just gone', [exists, gone], { code: 'conflict', effect: 'none' }],
  ['it is to end', [exists, json(ending(0))], { code: 'conflict' }],
  ['another spec has the name', [exists, json(podOf({}, specOf({ image: 'other' })))], { code: 'conflict' }],
  ['a stranger has the name', [exists, json(bare)], { code: 'conflict' }],
  [
    'a webhook rewrites its pool: it is taken back',
    [json(podOf({ labels: { ...sentLabels(spec), 'muster-pool': 'x' } })), json(ending(0, { deletionGracePeriodSeconds: 0 }))],
    { code: 'unsupported', effect: 'none' },
  ],
  ['a webhook rewrites it, and it ends slowly', [json(podOf({ labels: {} })), json(ending(0))], { effect: 'possible' }],
  ['a webhook adds labels', [json(podOf({ labels: { ...sentLabels(spec), more: 'x' } }))], { handle }],
])('launch: %s', async (_what, answers, outcome) => {
  const { outcome: told } = await asked(answers, (provider) =>
    provider.launch(spec, newCall()).catch((error: unknown) => error as object),
  )
  expect(told).toMatchObject(outcome)
})

test('the server is told until when to make a worker, which is what the manifest declares', async () => {
  await using server = await startServer([json(podOf())])
  await providerAt(server).launch(spec, newCall())
  const query = new URL(server.seen[0]?.split(' ')[1] ?? '', server.url).searchParams
  expect(query.get('timeout')).toBe(`${CREATE_SECONDS}s`)
  expect(manifest.capabilities.visibility.launchMs).toBe(CREATE_SECONDS * 1000)
})

const gentle = { graceMs: 5000, force: false, reason: 'done' }
const forced = { graceMs: 0, force: true, reason: 'done' }
const known: WorkerTarget = { id, handle }

interface Ended {
  target: WorkerTarget
  how?: typeof gentle
  answers: Answer[]
  outcome: Terminated['state'] | object
  methods: string
}

const struck = ending(0, { deletionGracePeriodSeconds: 0 })

test.each<[string, Ended]>([
  ['there is none', { target: { id }, answers: [gone], outcome: 'gone', methods: 'GET GET' }],
  ['the one that the handle names', { target: known, answers: [json(ending(-5))], outcome: 'terminating', methods: 'DELETE' }],
  [
    'the one that is ours by its tags',
    { target: { id }, answers: [json(podOf()), json(ending(-5))], outcome: 'terminating', methods: 'GET DELETE' },
  ],
  [
    'its labels are gone',
    {
      target: { id },
      answers: [json(podOf({ labels: {} })), json(ending(-5))],
      outcome: 'terminating',
      methods: 'GET DELETE',
    },
  ],
  [
    'all of ours is gone, but the uid',
    { target: known, how: forced, answers: [json(ending(-20, { labels: {} }))], outcome: 'terminating', methods: 'DELETE' },
  ],
  [
    'it says nothing, and no handle does',
    { target: { id }, answers: [json(bare)], outcome: { code: 'conflict', effect: 'none' }, methods: 'GET' },
  ],
  [
    "another provider's",
    { target: { id }, answers: [json(theirs)], outcome: { code: 'conflict', effect: 'none' }, methods: 'GET' },
  ],
  [
    'another one has the name',
    {
      target: known,
      how: forced,
      answers: [refuse(409, { reason: 'Conflict' }), json(podOf({ uid: 'another' })), gone],
      outcome: 'gone',
      methods: 'DELETE GET GET',
    },
  ],
  ['nobody waits for it', { target: known, answers: [json(struck)], outcome: 'gone', methods: 'DELETE' }],
  [
    'somebody waits for it',
    {
      target: known,
      answers: [json(ending(0, { deletionGracePeriodSeconds: 0, finalizers: ['a.test/b'] }))],
      outcome: 'terminating',
      methods: 'DELETE',
    },
  ],
  [
    'force, a minute after its grace: it is struck off',
    {
      target: known,
      how: forced,
      answers: [json(ending(90)), json(struck)],
      outcome: 'gone',
      methods: 'DELETE DELETE',
    },
  ],
  [
    'force, within that: its node may answer',
    {
      target: known,
      how: forced,
      answers: [json({ ...ending(40, { deletionGracePeriodSeconds: 1 }), status: recorded.failed })],
      outcome: 'terminating',
      methods: 'DELETE',
    },
  ],
])('terminate: %s', async (_what, { target, how = gentle, answers, outcome, methods }) => {
  const told = await asked(answers, (provider) =>
    provider.terminate(target, how, newCall()).then(
      ({ state }) => state,
      (error: unknown) => error as object,
    ),
  )
  if (typeof outcome === 'string') expect(told.outcome).toBe(outcome)
  else expect(told.outcome).toMatchObject(outcome)
  expect(told.methods.join(' ')).toBe(methods)
})

test('terminate: of one that others have ended what it had is released, since they may have left that alone; once', async () => {
  const policy = json({ metadata: { name: id, uid: 'p', labels: labelsOf(specOf()), annotations: annotationsOf(specOf()) } })
  const told = await asked([gone, policy, json({}), gone], async (provider) => {
    const ends = [await provider.terminate(known, gentle, newCall()), await provider.terminate(known, gentle, newCall())]
    return ends.map(({ state }) => state)
  })
  expect(told).toMatchObject({ outcome: ['gone', 'gone'], methods: ['DELETE', 'GET', 'DELETE', 'DELETE'] })
  const ownerReferences = [{ apiVersion: 'v1', kind: 'Pod', name: id, uid: 'another' }]
  const owned = json({
    metadata: { name: id, labels: labelsOf(specOf()), annotations: annotationsOf(specOf()), ownerReferences },
  })
  const kept = await asked([gone, owned], (provider) => provider.terminate(known, gentle, newCall()))
  expect(kept.methods).toEqual(['DELETE', 'GET'])
})

test('a minute is one of the cluster’s clock', async () => {
  const answer = json(ending(60))
  const early: Answer = (request, response, url) => {
    response.setHeader('Date', new Date(Date.now() - 30_000).toUTCString())
    answer(request, response, url)
  }
  const { outcome } = await asked([early], (provider) => provider.terminate(known, forced, newCall()))
  expect(outcome.state).toBe('terminating')
})

test('inspect: a few by name, many by label, and by name again who was not among them', async () => {
  const other2 = 'w00000000000000000000000002'
  const { outcome } = await asked([json(podOf({ labels: {} })), gone], (provider) =>
    provider.inspect([{ id }, { id: other2 }], newCall()),
  )
  expect(outcome.map((one) => one.id)).toEqual([id])

  const ids = [id, ...['2', '3', '4'].map((end) => `w0000000000000000000000000${end}`)]
  await using server = await startServer([
    json({ metadata: {}, items: [podOf()] }),
    (request, response, url) =>
      (url.pathname.endsWith('3') ? json({ ...podOf({ name: ids[2] ?? '', labels: {} }) }) : gone)(request, response, url),
  ])
  const found = await providerAt(server).inspect(
    ids.map((one) => ({ id: one })),
    newCall(),
  )
  expect(found.map((one) => one.id)).toEqual([id])
  expect(server.seen).toHaveLength(4)
})

test('commands and logs of one that is not ours are of nobody', async () => {
  const here = { code: 'not-found', effect: 'none' }
  await asked([json(theirs)], async (provider) => {
    const exec = { id: 'x', command: ['true'] } as unknown as Parameters<KubernetesProvider['exec']>[1]
    expect(await failure(provider.exec({ id }, exec, newCall()))).toMatchObject(here)
    expect(await failure(provider.execState({ id }, 'x', newCall()))).toMatchObject(here)
    expect(await failure(provider.execKill({ id }, { id: 'x', signal: 'SIGTERM' }, newCall()))).toMatchObject(here)
    const log = provider.logs({ id }, { follow: true }, newCall())[Symbol.asyncIterator]()
    expect(await failure(log.next())).toMatchObject(here)
  })
})

test('who holds a worker costs no request where nobody wants to know; one that has gone is no failure', async () => {
  const marked = { v: 1, data: { uid: 'ours', marked: true } }
  const mark = (target: WorkerTarget, answers: Answer[]): Promise<{ methods: string[]; outcome: unknown }> =>
    asked(answers, (provider) => failure(provider.mark(target, { leased: false }, newCall())))
  const heard = (...methods: string[]): object => ({ methods, outcome: 'none' })
  expect(await mark({ id, handle }, [gone])).toEqual(heard())
  expect(await mark({ id, handle: marked }, [gone])).toEqual(heard('PATCH'))
  expect(await mark({ id }, [gone])).toEqual(heard('GET'))
  expect(await mark({ id }, [json(podOf())])).toEqual(heard('GET'))
  const uid = { field: 'metadata.uid', message: 'Invalid value: "other": field is immutable' }
  expect(await mark({ id, handle: marked }, [refuse(422, { causes: [uid] })])).toEqual(heard('PATCH'))
  const precondition = 'Precondition failed: UID in precondition: ours, UID in object meta: other'
  expect(await mark({ id, handle: marked }, [refuse(409, { message: precondition })])).toEqual(heard('PATCH'))
})

test.each<[string, Answer, object]>([
  ['it was changed meanwhile', refuse(409, { reason: 'Conflict' }), { code: 'conflict', effect: 'none' }],
  ['a policy refuses it', refuse(422, { reason: 'Invalid' }), { code: 'invalid-spec', effect: 'none' }],
  ['the Role has gone with its namespace', refuse(403, { reason: 'Forbidden' }), { code: 'auth', effect: 'none' }],
  ['a way to no cluster', refuse(404), { code: 'not-found', effect: 'none' }],
  ['the server is busy', refuse(429, { retryAfter: 60 }), { code: 'throttled', effect: 'none' }],
  ['the server fails', refuse(500), { code: 'transient', effect: 'possible' }],
])('a mark that nobody heard is told, with one request: %s', async (_what, answer, told) => {
  const target = { id, handle: { v: 1, data: { uid: 'ours', marked: true } } }
  const { outcome, methods } = await asked([answer], (provider) => failure(provider.mark(target, { leased: true }, newCall())))
  expect(outcome).toMatchObject(told)
  expect(methods).toEqual(['PATCH'])
})

test('a failure of the look before a command has no effect', async () => {
  const exec = { id: 'x', command: ['true'] } as unknown as Parameters<KubernetesProvider['exec']>[1]
  const { outcome } = await asked([refuse(503)], (provider) => failure(provider.exec({ id }, exec, newCall())))
  expect(outcome).toMatchObject({ code: 'transient', effect: 'none' })
})

test('a cursor that is none is refused, and begins no other walk', async () => {
  const tags = { 'muster-owner': 'owner', 'muster-provider': 'kubernetes' }
  const { outcome, methods } = await asked([json({ metadata: {}, items: [] })], (provider) =>
    failure(provider.list({ tags, limit: 5, cursor: 'nothing' }, newCall())),
  )
  expect(outcome).toMatchObject({ code: 'invalid-spec', path: 'cursor' })
  expect(methods).toEqual([])
})

const event = (type: string, object: Pod): string => `${JSON.stringify({ type, object })}\n`

/** What a watch tells of these events, and how it ends. */
async function watched(answers: Answer[], most: number, removed: readonly string[] = []): Promise<Partial<WorkerObservation>[]> {
  await using server = await startServer([json({ metadata: { resourceVersion: '10' }, items: [podOf()] }), ...answers])
  const told: Partial<WorkerObservation>[] = []
  for await (const { id: of, phase } of watchOf(server, { removed })) {
    told.push({ id: of, phase })
    if (told.length === most) break
  }
  return told
}

function watchOf(
  server: TestServer,
  { removed = [], clock }: { removed?: readonly string[]; clock?: () => number },
): AsyncGenerator<WorkerObservation> {
  const cluster = createCluster({ ...server, close: () => {} }, 'team')
  const parts = {
    cluster,
    removed: (one: string) => removed.includes(one),
    ends: createEnds(1),
    backOff: { firstMs: 1, mostMs: 5 },
    ...(clock && { clock }),
  }
  return watchWorkers(parts, { tags: spec.tags, limit: 500 }, newCall())
}

const deleted = stream([event('DELETED', podOf({ resourceVersion: '11' }))], 'hang')
const next = (phase: WorkerObservation['phase']): object => ({ id, phase })

test('watch: one that somebody removed is lost; one that only lost its label is not', async () => {
  expect(await watched([deleted, gone], 2)).toEqual([next('running'), next('lost')])
  expect(await watched([deleted, json(podOf({ uid: 'another' }))], 2)).toEqual([next('running'), next('lost')])
  expect(await watched([deleted, json(podOf({ labels: {} }))], 2)).toEqual([next('running'), next('running')])
})

test('watch: one whose end was asked for goes in silence, and a stranger too', async () => {
  const stranger = podOf({ name: 'w00000000000000000000000003', uid: 'third', resourceVersion: '12' }, other)
  const events = stream(
    [
      event('DELETED', podOf({ resourceVersion: '11' })),
      event('ADDED', stranger),
      event('ADDED', podOf({ uid: 'new', resourceVersion: '13' })),
    ],
    'hang',
  )
  expect(await watched([events], 2, [id])).toEqual([next('running'), next('running')])
})

test('watch: it ends with the refusal where nobody lets it in any more', async () => {
  await using server = await startServer([
    refuse(403, { reason: 'Forbidden', message: 'pods is forbidden: User "u" cannot list' }),
  ])
  let now = 0
  const first = failure(watchOf(server, { clock: () => (now += 5_000) }).next())
  expect(await first).toMatchObject({ status: 403 })
  expect(server.seen.length).toBeGreaterThan(2)
})
