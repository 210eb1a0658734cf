/** Pools of a daemon from a cluster: the tests of {@link poolsFromCluster}. */
import { readFile } from 'node:fs/promises'
import type { KubernetesCluster } from '@muster/test/systems/kubernetes'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { API_VERSION } from '../group.ts'
import type { StatusCondition, WorkerClassObject, WorkerPoolObject } from '../objects.ts'
import { openSite, type Site } from '../place.test.helper.ts'

const pool = (name: string, spec: object): object => ({
  apiVersion: API_VERSION,
  kind: 'WorkerPool',
  metadata: { name },
  spec: { placement: ['none'], ...spec },
})
const hold = { worker: { work: 'hold' } }

export function poolsFromCluster(cluster: () => KubernetesCluster): void {
  let site: Site
  beforeAll(async () => {
    site = await openSite(cluster(), 'pools', 'controller')
    site.start()
  })
  afterAll(async () => {
    await site?.[Symbol.asyncDispose]()
  })

  const apply = (object: object, ...flags: string[]): Promise<string> => site.kubectl(['apply', ...flags, '-f', '-'], object)
  const condition = (object: WorkerPoolObject, type: string): StatusCondition | undefined => {
    const { status, metadata } = object
    return status?.conditions?.find((one) => one.type === type && one.observedGeneration === metadata.generation)
  }
  const settled = (name: string, type: string, reason: string): Promise<WorkerPoolObject> =>
    site.object<WorkerPoolObject>(`workerpool/${name}`, (object) => condition(object, type)?.reason === reason)

  test('a WorkerPool that is applied is a pool; kubectl scale is its stock; its status counts', async () => {
    await apply(pool('ci', { ...hold, scale: { max: 4, idle: '1s' } }))
    await settled('ci', 'Ready', 'Active')
    expect(await site.client.pools.get('ci')).toMatchObject({ scale: { warm: 0, max: 4 }, work: 'hold' })
    await site.kubectl(['scale', 'workerpool/ci', '--replicas=2', '--timeout=60s'])
    await site.object<WorkerPoolObject>('workerpool/ci', ({ status }) => status?.idle === 2 && status.workers === 2)
    expect(await site.kubectl(['get', 'wp'])).toMatch(/ci +True +2 +4 +2 +0 +0 +Active/)
    const workers = JSON.parse(await site.kubectl(['get', 'workers', '-l', 'muster.dev/pool=ci', '-o', 'json'])) as {
      items: { metadata: { ownerReferences: object[] } }[]
    }
    expect(workers.items.map(({ metadata }) => metadata.ownerReferences)).toMatchObject([[{ name: 'ci' }], [{ name: 'ci' }]])
  })

  test('what the host refuses says why, goes on as it was, and hinders no other', async () => {
    await apply(pool('bad', { placement: ['nowhere'] }))
    await apply(pool('own', {}))
    await apply(pool('good', { ...hold, scale: { max: 1 } }))
    await settled('good', 'Ready', 'Active')
    expect(condition(await settled('bad', 'Accepted', 'Refused'), 'Accepted')?.message).toContain('nowhere')
    expect(condition(await settled('own', 'Accepted', 'NameTaken'), 'Ready')?.status).toBe('False')
    await apply(pool('good', { ...hold, placement: ['nowhere'] }))
    expect(condition(await settled('good', 'Accepted', 'Refused'), 'Ready')?.status).toBe('True')
    expect(await site.client.pools.get('good')).toMatchObject({ placement: ['none'] })
    await site.kubectl(['delete', 'workerpool', 'bad', 'own', 'good'])
    expect((await site.client.pools.list()).map(({ name }) => name).toSorted()).toEqual(['ci', 'own'])
  })

  test('a class is the worker of its pools, and is there as long as they are', async () => {
    await apply(pool('small', { class: 'tiny', scale: { max: 1 } }))
    await settled('small', 'Accepted', 'ClassNotFound')
    await apply({ apiVersion: API_VERSION, kind: 'WorkerClass', metadata: { name: 'tiny' }, spec: { lifetime: '1h' } })
    await settled('small', 'Ready', 'Active')
    expect(await site.client.pools.get('small')).toMatchObject({ lifetimeMs: 3_600_000 })
    await site.kubectl(['patch', 'workerclass/tiny', '--type=merge', '-p', '{"spec":{"lifetime":"2h"}}'])
    await waitFor('the other lifetime', async () => (await site.client.pools.get('small')).lifetimeMs === 7_200_000)
    await site.kubectl(['delete', 'workerclass/tiny', '--wait=false'])
    await site.object<WorkerClassObject>('workerclass/tiny', ({ status }) => status?.pools === 1)
    await site.kubectl(['delete', 'workerpool/small'])
    await site.gone('workerclass/tiny')
  })

  test('of two who apply the same field the second is told; what we say is ours alone', async () => {
    const mine = pool('ci', { ...hold, scale: { max: 4, warm: 1, idle: '1s' } })
    const refused = await site.tried(['apply', '--server-side', '--field-manager=gitops', '-f', '-'], mine)
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringMatching(/conflict.*\.spec\.scale\.warm/s)])
    await apply(mine, '--server-side', '--field-manager=gitops', '--force-conflicts')
    await site.object<WorkerPoolObject>('workerpool/ci', ({ status }) => status?.idle === 1)
    const lie = { ...mine, status: { idle: 99 } }
    await apply(lie, '--server-side', '--field-manager=liar', '--force-conflicts', '--subresource=status')
    await site.object<WorkerPoolObject>('workerpool/ci', ({ status }) => status?.idle === 1)
  })

  test('a deleted pool is drained: its lease goes on, and it goes after that', async () => {
    const { id } = await site.client.leases.create({ pool: 'ci' })
    await site.client.leases.wait(id)
    await site.kubectl(['delete', 'workerpool/ci', '--wait=false'])
    const leaving = await settled('ci', 'Ready', 'Leaving')
    expect(condition(leaving, 'Ready')?.message).toContain('1 leases go on')
    expect((await site.client.leases.get(id)).lease.state).toBe('active')
    await site.client.leases.release(id)
    await site.gone('workerpool/ci')
    expect((await site.client.pools.list()).map(({ name }) => name)).toEqual(['own'])
  })

  test('a finalizer taken off while nobody looked: the pool leaves all the same', async () => {
    await apply(pool('short', { ...hold, scale: { max: 1 } }))
    await settled('short', 'Ready', 'Active')
    await site.stop()
    await site.kubectl(['delete', 'workerpool/short', '--wait=false'])
    await site.kubectl(['patch', 'workerpool/short', '--type=merge', '-p', '{"metadata":{"finalizers":null}}'])
    await site.gone('workerpool/short')
    expect(await readFile(site.daemon.config, 'utf8')).toContain('short')
    site.start()
    await waitFor('the pool to leave', async () => (await site.client.pools.list()).every(({ name }) => name !== 'short'))
    expect(await readFile(site.daemon.config, 'utf8')).not.toContain('short')
  })

  test('nothing failed by the way', () => {
    expect(site.failures).toEqual([])
  })
}
