/** Workers of a daemon in a cluster: the tests of {@link workersInCluster}. */
import type { KubernetesCluster } from '@muster/test/systems/kubernetes'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { FORCE_ANNOTATION } from '../group.ts'
import type { WorkerObject } from '../objects.ts'
import { openSite, type Site } from '../place.test.helper.ts'

export function workersInCluster(cluster: () => KubernetesCluster): void {
  let site: Site
  beforeAll(async () => {
    site = await openSite(cluster(), 'view', 'view')
    site.start()
  })
  afterAll(async () => {
    await site?.[Symbol.asyncDispose]()
  })

  /** The one that waits for a lease. */
  const idle = async (): Promise<string> => {
    const { items } = await waitFor('an idle worker', () => site.client.workers.list(), {
      until: ({ items }) => items.some(({ phase }) => phase === 'idle'),
    })
    return items.find(({ phase }) => phase === 'idle')?.id ?? ''
  }
  const lease = async (): Promise<{ lease: string; worker: string }> => {
    const { id } = await site.client.leases.create({ pool: 'ci' })
    const { worker } = await site.client.leases.wait(id)
    return { lease: id, worker: worker?.id ?? '' }
  }
  const inPhase = (name: string, phase: string): Promise<WorkerObject> =>
    site.object<WorkerObject>(`worker/${name}`, ({ status }) => status?.phase === phase)

  test('a worker is shown as it is, from its start to its end', async () => {
    const id = await idle()
    await inPhase(id, 'idle')
    expect(await site.kubectl(['get', 'workers'])).toMatch(
      new RegExp(`NAME +POOL +PHASE +PROVIDER +NODE +AGE\n${id} +ci +idle +none`),
    )
    const taken = await lease()
    expect(taken.worker).toBe(id)
    expect((await inPhase(id, 'leased')).status).toMatchObject({
      lease: taken.lease,
      conditions: [{ type: 'Ready', status: 'True' }],
    })
    await site.client.leases.release(taken.lease)
    await site.gone(`worker/${id}`)
    await inPhase(await idle(), 'idle')
  })

  test('a deleted Worker ends its worker, and goes with it', async () => {
    const id = await idle()
    await inPhase(id, 'idle')
    await site.kubectl(['delete', `worker/${id}`])
    expect(await site.client.workers.get(id)).toMatchObject({ phase: 'terminated' })
    await site.gone(`worker/${id}`)
  })

  test('a leased one stays until its lease is over, or its object says that this is not waited for', async () => {
    const first = await lease()
    await inPhase(first.worker, 'leased')
    await site.kubectl(['delete', `worker/${first.worker}`, '--wait=false'])
    const waiting = await site.object<WorkerObject>(
      `worker/${first.worker}`,
      ({ status }) => status?.conditions?.[1] !== undefined,
    )
    expect(waiting.status?.conditions?.[1]).toMatchObject({ type: 'Terminating', status: 'False', reason: 'Leased' })
    expect(await site.client.workers.get(first.worker)).toMatchObject({ phase: 'leased' })
    await site.client.leases.release(first.lease)
    await site.gone(`worker/${first.worker}`)

    const second = await lease()
    await inPhase(second.worker, 'leased')
    await site.kubectl(['delete', `worker/${second.worker}`, '--wait=false'])
    await site.kubectl(['annotate', `worker/${second.worker}`, `${FORCE_ANNOTATION}=true`])
    await site.gone(`worker/${second.worker}`)
    expect((await site.client.leases.get(second.lease)).lease.state).toBe('ended')
  })

  test('a finalizer that is taken off by hand ends no worker: its object comes again', async () => {
    const id = await idle()
    const before = await inPhase(id, 'idle')
    await site.stop()
    await site.kubectl(['delete', `worker/${id}`, '--wait=false'])
    await site.kubectl(['patch', `worker/${id}`, '--type=merge', '-p', '{"metadata":{"finalizers":null}}'])
    await site.gone(`worker/${id}`)
    site.start()
    const again = await waitFor('the object again', () => inPhase(id, 'idle'))
    expect(again.metadata.uid).not.toBe(before.metadata.uid)
    expect(await site.client.workers.get(id)).toMatchObject({ phase: 'idle' })
    await site.kubectl(['patch', `worker/${id}`, '--type=merge', '-p', '{"metadata":{"finalizers":null}}'])
    await site.object<WorkerObject>(`worker/${id}`, ({ metadata }) => metadata.finalizers !== undefined)
  })

  test('nothing failed by the way', () => {
    expect(site.failures).toEqual([])
  })
}
