/** What a worker that is a Job costs an API server, and how its end is known. */
import type { WorkerTarget } from '@muster/core'
import { expect, test } from 'vitest'
import { type Answer, json, refuse, seen, startServer } from '../api/server.test.helper.ts'
import { createCluster } from '../client.ts'
import { annotationsOf, labelsOf } from '../labels.ts'
import { networkLabels } from '../network/network.ts'
import type { Job, Pod } from '../objects.ts'
import { kubernetesProvider } from '../provider.ts'
import { fields, id, newCall, specOf } from '../testing/pure.test.helper.ts'
import { recorded } from '../testing/recorded.test.helper.ts'
import { handleOf, podOf } from '../translate.ts'
import { jobOf } from './job-view.ts'
import { changedOf } from './launch.ts'

const spec = specOf()
const marks = { labels: { ...labelsOf(spec), ...networkLabels(spec, {}) }, annotations: annotationsOf(spec) }
const owner = { apiVersion: 'batch/v1', kind: 'Job', name: id, uid: 'job', controller: true }
const job = (over: Partial<Job['metadata']> = {}): Job => ({
  metadata: { name: id, uid: 'job', resourceVersion: '10', ...marks, ...over },
})
const pod = (over: Partial<Pod['metadata']> = {}): Pod => ({
  metadata: {
    ...{ name: `${id}-abcde`, uid: 'pod', resourceVersion: '11', ...marks, ...over },
    ownerReferences: [owner],
  },
  spec: { containers: [], nodeName: 'node' },
  status: recorded.runs,
})
const marked = { v: 1, data: { uid: 'job', marked: true } }
const soon = new Date(Date.now() + 5_000).toISOString()
const ending = { deletionTimestamp: soon, deletionGracePeriodSeconds: 5 }

test('launched, watched, asked for by exec, marked and ended: five requests, and one for each command and mark', async () => {
  const asked: string[] = []
  const tell: Record<string, (event: object) => void> = {}
  const answer: Answer = (request, response, url) => {
    const resource = url.pathname.includes('/jobs') ? 'jobs' : 'pods'
    if (url.searchParams.get('watch') === 'true') {
      response.writeHead(200).flushHeaders()
      tell[resource] = (event) => response.write(`${JSON.stringify(event)}\n`)
      return
    }
    const [, path = ''] = url.pathname.split('/team/')
    const named = path.includes('/')
    asked.push(`${request.method} ${path.replaceAll(id, 'ID')}${url.searchParams.has('dryRun') ? ' dry' : ''}`)
    if (request.method === 'GET' && !named)
      return json({ metadata: { resourceVersion: '10' }, items: [] })(request, response, url)
    if (request.method === 'GET') return json(pod())(request, response, url)
    if (request.method === 'POST') return json(resource === 'jobs' ? job() : pod())(request, response, url)
    if (resource === 'pods') return json(pod(ending))(request, response, url)
    tell['pods']?.({ type: 'DELETED', object: pod({ resourceVersion: '13' }) })
    tell['jobs']?.({ type: 'DELETED', object: job({ resourceVersion: '14' }) })
    json(job({ ...ending, finalizers: ['foregroundDeletion'] }))(request, response, url)
  }
  await using server = await startServer([answer])
  const cluster = createCluster({ ...server, close: () => {} }, 'team', 'job')
  const provider = kubernetesProvider({ cluster, context: { owner: 'owner', provider: 'kubernetes' }, fields })
  const over = new AbortController()
  const told: string[] = []
  const watching = (async () => {
    const call = { ...newCall(), signal: over.signal }
    for await (const { phase } of provider.watch({ tags: spec.tags, limit: 500 }, call)) told.push(phase)
  })().catch(() => undefined)
  await seen(() => expect(Object.keys(tell).toSorted()).toEqual(['jobs', 'pods']))
  asked.length = 0

  const { handle } = await provider.launch(spec, newCall())
  tell['jobs']?.({ type: 'ADDED', object: job({ resourceVersion: '11' }) })
  await seen(() => expect(told).toEqual(['provisioning']))
  tell['pods']?.({ type: 'ADDED', object: pod({ resourceVersion: '12' }) })
  await seen(() => expect(told).toEqual(['provisioning', 'running']))
  expect(asked.splice(0)).toEqual(['POST pods dry', 'POST jobs'])
  await expect(provider.execState({ id, handle }, 'x', newCall())).rejects.toThrow()
  expect(asked.splice(0)).toEqual(['GET pods/ID-abcde', 'GET pods/ID-abcde/exec'])
  await provider.mark({ id, handle: marked }, { leased: false }, newCall())
  expect(asked.splice(0)).toEqual(['PATCH pods/ID-abcde'])
  expect(await provider.terminate({ id, handle }, { graceMs: 5_000, force: false, reason: 'done' }, newCall())).toEqual({
    state: 'gone',
  })
  expect(asked).toEqual(['DELETE pods/ID-abcde', 'DELETE jobs/ID', 'GET pods'])
  over.abort()
  await watching
})

test('a launch that is refused for its Pod makes no Job, unless it is there already', async () => {
  const full = refuse(403, {
    reason: 'Forbidden',
    message: `pods "${id}-tried" is forbidden: exceeded quota: few, requested: pods=1`,
  })
  const gone = refuse(404, { reason: 'NotFound' })
  const launched = async (answers: Answer[]): Promise<[unknown, string[]]> => {
    await using server = await startServer(answers)
    const cluster = createCluster({ ...server, close: () => {} }, 'team', 'job')
    const provider = kubernetesProvider({ cluster, context: { owner: 'owner', provider: 'kubernetes' }, fields })
    const outcome: unknown = await provider.launch(spec, newCall()).catch((error: unknown) => error)
    return [outcome, server.seen.map((one) => one.replace(/\?.*/, '').replace(/ .*\/team/, ''))]
  }
  const [refusal, asked] = await launched([full, gone])
  expect(refusal).toMatchObject({ code: 'quota', effect: 'none', quota: 'few' })
  expect(asked).toEqual(['POST/pods', `GET/jobs/${id}`])
  const exists = refuse(409, { reason: 'AlreadyExists' })
  const [found, again] = await launched([full, json(job()), exists, json(job())])
  expect(found).toMatchObject({ handle: { data: { uid: 'job' } } })
  expect(again).toEqual(['POST/pods', `GET/jobs/${id}`, 'POST/jobs', `GET/jobs/${id}`])
})

test('a webhook that rewrites what a Job gives its Pod: it is taken back', async () => {
  const template = { metadata: { ...marks, labels: { ...marks.labels, 'muster-pool': 'x' } }, spec: { containers: [] } }
  const none = json({ metadata: {}, items: [] })
  await using server = await startServer([
    json(pod()),
    json({ ...job(), spec: { template } }),
    none,
    refuse(404, { reason: 'NotFound' }),
  ])
  const cluster = createCluster({ ...server, close: () => {} }, 'team', 'job')
  const provider = kubernetesProvider({ cluster, context: { owner: 'owner', provider: 'kubernetes' }, fields })
  await expect(provider.launch(spec, newCall())).rejects.toMatchObject({ code: 'unsupported', effect: 'none' })
})

test('a webhook that rewrites Pods and no Jobs is seen in the Pod that was tried, by a launch and by a probe', async () => {
  const rewritten = pod({ labels: { ...marks.labels, 'muster-pool': 'x' } })
  const none = json({ metadata: {}, items: [] })
  const made = json({ ...job(), spec: { template: { metadata: marks, spec: { containers: [] } } } })
  await using server = await startServer([json(rewritten), made, none, refuse(404, { reason: 'NotFound' })])
  const cluster = createCluster({ ...server, close: () => {} }, 'team', 'job')
  const provider = kubernetesProvider({ cluster, context: { owner: 'owner', provider: 'kubernetes' }, fields })
  const words = { message: 'the cluster changes muster-pool of a worker, by which it is found' }
  await expect(provider.launch(spec, newCall())).rejects.toMatchObject({ code: 'unsupported', effect: 'none', ...words })
  const manifest = podOf(spec, 'team')
  await using other = await startServer([json(rewritten), made])
  const tried = await createCluster({ ...other, close: () => {} }, 'team', 'job').workers.create(manifest, {
    ...{ dryRun: true, signal: newCall().signal },
  })
  expect(changedOf(manifest, tried)).toBe('muster-pool')
})

test('who holds a worker is said of the Pod of its Job, whatever the cluster calls it; without one, or of another, of none', async () => {
  const settings = { drain: 'waits-for-leases' }
  const held = podOf(specOf({ settings }), 'team').metadata
  const sent = jobOf(podOf(specOf({ settings }), 'team'))
  // The budget counts Pods, the handle is of the Job.
  expect(sent.spec.template.metadata?.labels).toEqual(held.labels)
  expect(handleOf({ ...sent.metadata, uid: 'job' })).toEqual(marked)
  const own: Partial<Pod['metadata']> = { labels: held.labels ?? {}, annotations: held.annotations ?? {} }
  const list = (...items: Pod[]): Answer => json({ metadata: {}, items })
  const mark = async (answers: Answer[], target: WorkerTarget = { id, handle: marked }): Promise<string[]> => {
    await using server = await startServer(answers)
    const cluster = createCluster({ ...server, close: () => {} }, 'team', 'job')
    const provider = kubernetesProvider({ cluster, context: { owner: 'owner', provider: 'kubernetes' }, fields })
    await provider.mark(target, { leased: false }, newCall())
    const patches = server.bodies.filter((body) => body.includes('"uid"')).map((body) => JSON.parse(body) as Pod)
    for (const { metadata } of patches) expect(metadata).toMatchObject({ name: `${id}-abcde`, uid: 'pod' })
    return server.seen.map((one) => one.replace(/\?.*/, '').replace(/ .*\/team/, ''))
  }
  const patch = `PATCH/pods/${id}-abcde`
  expect(await mark([list(pod(own)), json(pod(own))])).toEqual(['GET/pods', patch])
  expect((await mark([list(pod(own)), list(pod(own)), json(pod(own))], { id })).at(-1)).toBe(patch)
  // One that was launched otherwise does not want to know.
  expect(await mark([list(pod())], { id })).toEqual(['GET/pods'])
  const another = { ...pod(own), metadata: { ...pod(own).metadata, ownerReferences: [{ ...owner, uid: 'another' }] } }
  expect(await mark([list(another)])).toEqual(['GET/pods'])
  // Of one whose Job was taken from above it.
  const orphan = { ...pod(own), metadata: { ...pod(own).metadata, ownerReferences: [] } }
  expect(await mark([list(orphan), json(orphan)])).toEqual(['GET/pods', patch])
  expect(await mark([list(), json(job())])).toEqual(['GET/pods', `GET/jobs/${id}`])
  expect(await mark([list(), refuse(404, { reason: 'NotFound' })])).toEqual(['GET/pods', `GET/jobs/${id}`])
})
