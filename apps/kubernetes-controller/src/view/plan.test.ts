import type { WorkerInfo } from '@muster/client'
import { expect, test } from 'vitest'
import { FINALIZER, FORCE_ANNOTATION, HOST_LABEL, POOL_LABEL } from '../group.ts'
import type { ObjectMeta, WorkerObject, WorkerStatus } from '../objects.ts'
import { planView, type ViewStep } from './plan.ts'

const id = `w${'0'.repeat(26)}`
const [then, now] = ['2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z']

const worker = (facts: Partial<WorkerInfo> = {}): WorkerInfo => ({
  ...{ id, pool: 'ci', provider: 'docker', phase: 'idle', uses: 0, attempt: 1, cordoned: false, createdAt: then, spec: {} },
  ...{ ready: 'true', observedPhase: 'running', part: 'node-1' },
  ...facts,
})
const shown: WorkerStatus = {
  phase: 'idle',
  node: 'node-1',
  conditions: [{ type: 'Ready', status: 'True', reason: 'Running', message: '', lastTransitionTime: then }],
}
const object = (metadata: Partial<ObjectMeta> = {}, status: WorkerStatus = shown): WorkerObject => ({
  apiVersion: 'muster.dev/v1alpha1',
  kind: 'Worker',
  metadata: { name: id, namespace: 'ci', uid: 'u', finalizers: [FINALIZER], ...metadata },
  spec: { pool: 'ci', provider: 'docker' },
  status,
})
const deleted: Partial<ObjectMeta> = { deletionTimestamp: now }
const leased = worker({ phase: 'leased', lease: 'l1' })
const plan = (workers: WorkerInfo[], objects: WorkerObject[]): ViewStep[] =>
  planView({ namespace: 'ci', host: 'h', workers, objects, ownerOf: () => undefined, now })
/** Beside what it says of itself. */
const acts = (workers: WorkerInfo[], objects: WorkerObject[]): ViewStep[] =>
  plan(workers, objects).filter((step) => step.do !== 'status')

test('what lives is made, with who it is of; what is shown as it is stays', () => {
  const owner = { apiVersion: 'muster.dev/v1alpha1', kind: 'WorkerPool', name: 'ci', uid: 'p' }
  const [made] = planView({ namespace: 'ci', host: 'h', workers: [worker()], objects: [], ownerOf: () => owner, now })
  expect(made).toMatchObject({
    do: 'make',
    object: {
      metadata: {
        name: id,
        namespace: 'ci',
        finalizers: [FINALIZER],
        labels: { [HOST_LABEL]: 'h', [POOL_LABEL]: 'ci' },
        ownerReferences: [owner],
      },
      spec: { pool: 'ci', provider: 'docker' },
    },
  })
  expect(plan([worker()], [object()])).toEqual([])
})

test('a status changes with its worker, and keeps since when', () => {
  expect(plan([worker({ phase: 'leased', lease: 'l1', ready: 'false' })], [object()])).toMatchObject([
    { do: 'status', status: { phase: 'leased', lease: 'l1', conditions: [{ status: 'False', lastTransitionTime: now }] } },
  ])
  const problem = { code: 'capacity' as const, message: 'no node has room', final: false }
  expect(plan([worker({ problem })], [object()])).toMatchObject([
    {
      do: 'status',
      status: { conditions: [{ status: 'True', reason: 'Capacity', message: problem.message, lastTransitionTime: then }] },
    },
  ])
})

test('a finalizer that somebody took off is put back, unless the object goes', () => {
  expect(acts([worker()], [object({ finalizers: [] })])).toMatchObject([{ do: 'make' }])
  expect(acts([worker({ phase: 'terminating' })], [object({ ...deleted, finalizers: ['of.others/x'] })])).toEqual([])
})

test('what has gone is removed, deleted or not', () => {
  expect(plan([], [object(), object({ ...deleted, name: `w${'1'.repeat(26)}` })]).map((step) => step.do)).toEqual([
    'remove',
    'remove',
  ])
})

test('a deleted object ends its worker; a leased one is set aside, until its object says otherwise', () => {
  expect(acts([worker()], [object(deleted)])).toEqual([{ do: 'end', id, force: false }])
  expect(acts([worker({ phase: 'terminating' })], [object(deleted)])).toEqual([])
  expect(acts([leased], [object(deleted)])).toEqual([{ do: 'set-aside', id }])
  expect(acts([{ ...leased, cordoned: true }], [object(deleted)])).toEqual([])
  expect(acts([leased], [object()])).toEqual([])
  const forced = { ...deleted, annotations: { [FORCE_ANNOTATION]: 'true' } }
  expect(acts([leased], [object(forced)])).toEqual([{ do: 'end', id, force: true }])
  expect(acts([worker({ phase: 'terminating' })], [object(forced)])).toEqual([{ do: 'end', id, force: true }])
  expect(plan([leased], [object(deleted)])).toContainEqual(
    expect.objectContaining({
      status: expect.objectContaining({
        conditions: [
          expect.objectContaining({ type: 'Ready' }),
          expect.objectContaining({ type: 'Terminating', status: 'False', reason: 'Leased' }),
        ],
      }),
    }),
  )
})
