/** Jobs and their Pods as workers: what is told where there is one without the other. */
import { expect, test } from 'vitest'
import { handleOf } from '../translate.ts'
import { hasBegun, isFinished, jobOf, workerOfJob, workerOfPod } from './job-view.ts'
import { isOrphan, isSame } from '../workers.ts'
import { annotationsOf, labelsOf, tagsOf } from '../labels.ts'
import { needsEvents, observe } from './observe.ts'
import type { ClusterEvent, Condition, Job, JobStatus, Pod } from '../objects.ts'
import { id, specOf } from '../testing/pure.test.helper.ts'
import { recorded } from '../testing/recorded.test.helper.ts'
import { podOf } from '../translate.ts'

const spec = specOf({ lifetimeMs: 60_000 })
const now = Date.parse('2026-11-30T01:10:00Z')
const marks = { labels: labelsOf(spec), annotations: annotationsOf(spec) }
const owner = { apiVersion: 'batch/v1', kind: 'Job', name: id, uid: 'job', controller: true }

const pod = (over: Partial<Pod['metadata']> = {}): Pod => ({
  metadata: { name: `${id}-abcde`, uid: 'pod', ownerReferences: [owner], ...marks, ...over },
  spec: { containers: [], nodeName: 'node' },
  status: recorded.runs,
})
const job = (status: JobStatus = {}, over: Partial<Job['metadata']> = {}): Job => ({
  metadata: { name: id, uid: 'job', ...marks, ...over },
  status,
})
const condition = (type: string, message = ''): Condition => ({ type, status: 'True', message })
const suspended = condition('Suspended', 'Job suspended')
const at = '2026-11-30T01:09:59Z'
const seen = (worker: Pod, events?: ClusterEvent[]): object => observe(worker, spec.tags, { now, events })

test('a Job makes one Pod of the worker, and never a second one; its lifetime is the Pod’s', () => {
  const manifest = podOf(spec, 'team')
  const { metadata, spec: made } = jobOf(manifest)
  expect(metadata).toEqual(manifest.metadata)
  expect(made).toEqual({
    ...{ completions: 1, parallelism: 1, backoffLimit: 0, podReplacementPolicy: 'Failed' },
    template: { metadata: { labels: metadata.labels, annotations: metadata.annotations }, spec: manifest.spec },
  })
  expect(made.template.spec).toMatchObject({ restartPolicy: 'Never', activeDeadlineSeconds: 60 })
})

test.each<[string, Pod, object]>([
  ['of its Job', pod(), { name: id, uid: 'job' }],
  ['whose Job was taken from above it', pod({ ownerReferences: [] }), { name: id, uid: 'pod' }],
  ['that is a worker itself', pod({ name: id, ownerReferences: [] }), { name: id, uid: 'pod' }],
  ['of another Job', pod({ ownerReferences: [{ ...owner, name: 'other' }] }), { name: `${id}-abcde` }],
  ['of another controller', pod({ name: 'x-abcde', ownerReferences: [{ ...owner, kind: 'ReplicaSet' }] }), { name: 'x-abcde' }],
])('a Pod %s', (_what, one, metadata) => {
  const worker = workerOfPod(one)
  expect(worker.metadata).toMatchObject(metadata)
  expect(tagsOf(worker.metadata) !== undefined).toBe(worker.metadata.name === id)
})

test.each<[string, Job, object]>([
  ['none was made yet', job(), { phase: 'provisioning', ready: false }],
  ['it is being taken away', job({ failed: 1 }, { deletionTimestamp: '2026-11-30T01:09:59Z' }), { phase: 'stopping' }],
  [
    'it has gone by another hand',
    job({ failed: 1, conditions: [condition('FailureTarget', 'limit'), condition('Failed', 'limit')] }),
    { phase: 'lost', exit: { reason: 'lost: its Pod is gone; its Job says: limit' } },
  ],
  [
    'it has gone, and is not counted yet',
    job({ uncountedTerminatedPods: { failed: ['pod'] } }),
    { phase: 'lost', exit: { reason: 'lost: its Pod is gone' } },
  ],
  ['somebody suspended its Job', job({ conditions: [suspended], startTime: at }), { phase: 'lost' }],
  // A queue takes the start time away, so that it may be begun elsewhere.
  ['a queue took its place away', job({ conditions: [suspended] }, { generation: 3 }), { phase: 'lost' }],
  [
    'its Job was suspended as it was made',
    job({ conditions: [suspended] }, { generation: 1 }),
    {
      phase: 'provisioning',
      problem: { code: 'capacity', final: false, message: expect.stringMatching(/^its Job is suspended: /) as string },
    },
  ],
  ['a suspended one is taken away', job({ conditions: [suspended] }, { deletionTimestamp: at }), { phase: 'stopping' }],
  [
    'it ended well, or answered so to its end',
    job({ succeeded: 1, conditions: [condition('Complete', 'Reached expected number of succeeded pods')] }),
    { phase: 'lost', exit: { reason: expect.stringContaining('lost: its Pod is gone; its Job says: Reached') as string } },
  ],
])('a Job without a Pod: %s', (_what, one, observation) => {
  expect(seen(workerOfJob(one))).toMatchObject({ id, handle: handleOf({ name: id, uid: 'job' }), ...observation })
})

test('with its Pod it is what that is, and ends when that ends; a second one would be no worker', () => {
  const older = pod({ creationTimestamp: '2026-11-30T01:00:00Z' })
  const second = pod({ name: `${id}-fghij`, uid: 'second', creationTimestamp: '2026-11-30T01:01:00Z' })
  const worker = workerOfJob(job({ active: 1 }), [second, older])
  expect(worker.job?.pod).toEqual({ name: `${id}-abcde`, uid: 'pod' })
  expect(seen(worker)).toMatchObject({ phase: 'running', ready: true, part: 'node', handle: handleOf({ name: id, uid: 'job' }) })
  const ending = pod({ deletionTimestamp: '2026-11-30T01:09:59Z', deletionGracePeriodSeconds: 7, finalizers: ['a.test/b'] })
  expect(workerOfJob(job(), [ending]).metadata).toMatchObject({ deletionGracePeriodSeconds: 7, finalizers: ['a.test/b'] })
})

test('one that has begun has, or had, a Pod', () => {
  expect(hasBegun(job())).toBe(false)
  const begun: JobStatus[] = [
    { active: 1 },
    { terminating: 1 },
    { succeeded: 1 },
    { uncountedTerminatedPods: { succeeded: ['a'] } },
  ]
  for (const status of begun) expect(hasBegun(job(status))).toBe(true)
  const held = job({ conditions: [suspended] }, { generation: 1 })
  expect([hasBegun(held), isFinished(held)]).toEqual([false, false])
  expect(isFinished(job({ conditions: [suspended] }, { generation: 2 }))).toBe(true)
})

test('a worker is the same as long as its Pod is, also where its Job is taken from above it', () => {
  const now = (...pods: Pod[]): Pod => workerOfJob(job(), pods)
  const second = pod({ uid: 'second' })
  const orphan = workerOfPod(pod({ ownerReferences: [] }))
  expect([isSame(now(pod()), now()), isSame(now(), now(pod())), isSame(now(pod()), now(pod()))]).toEqual([true, true, true])
  expect(isSame(now(second), now(pod()))).toBe(false)
  expect([isSame(orphan, now(pod())), isSame(orphan, now())]).toEqual([true, true])
  expect(isSame(workerOfJob({ ...job(), metadata: { ...job().metadata, uid: 'another' } }), now())).toBe(false)
  expect([isOrphan(orphan), isOrphan(now(pod())), isOrphan(now())]).toEqual([true, false, false])
})

const refused = (message: string, lastTimestamp: string): ClusterEvent => ({
  involvedObject: { kind: 'Job', uid: 'job' },
  ...{ type: 'Warning', reason: 'FailedCreate', message: `Error creating: ${message}`, lastTimestamp },
})
const name = `pods "${id}-abcde" is forbidden:`

test.each([
  [`${name} exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1`, 'quota', false],
  [`${name} violates PodSecurity "restricted:latest": runAsNonRoot != true`, 'unsupported', true],
  [`${name} error looking up service account team/none: serviceaccount "none" not found`, 'transient', false],
  [`${name} no PriorityClass with name none was found`, 'invalid-spec', true],
  ['admission webhook "a.test" denied the request: not here', 'invalid-spec', true],
  ['Internal error occurred: failed calling webhook "a.test": context deadline exceeded', 'transient', false],
  [`Pod "${id}-abcde" is invalid: spec.containers[0].image: Required value`, 'invalid-spec', true],
])('a Job that makes no Pod says why: %s', (message, code, final) => {
  const worker = workerOfJob(job())
  expect(needsEvents(worker, now)).toBe(true)
  // However long ago the newest is: the controller tries ever more rarely.
  const events = [refused(message, '2026-11-30T00:50:00Z'), refused('something else', '2026-11-30T00:40:00Z')]
  expect(seen(worker, events)).toMatchObject({ problem: { code, final, message: `its Job makes no Pod: ${message}` } })
})
