/** Namespaces of tenants on a cluster: made, bounded, closed and taken away under the ClusterRole that is printed, or only checked. */
import { type LaunchSpec, type OwnerTags, type Probe, ProviderError, type WorkerId, type WorkerObservation } from '@muster/core'
import { newWorkerId } from '@muster/core/testing'
import { CLUSTER_IMAGES, type KubernetesCluster } from '@muster/test/systems/kubernetes'
import { waitFor } from '@muster/test/systems/wait'
import { beforeAll, expect, test } from 'vitest'
import { connect } from '../api/client.ts'
import { createCluster } from '../client.ts'
import { makePlace, type Place } from './cluster.test.helper.ts'
import { type KubernetesProvider, kubernetesProvider } from '../provider.ts'
import { fields, newCall } from './pure.test.helper.ts'
import { tenantRoleOf } from '../pools/rbac.ts'
import type { TenantConfig } from '../pools/tenant.ts'

const force = { graceMs: 0, force: true, reason: 'done' }
const tenant: TenantConfig = { quota: { pods: 3, cpu: 2, memory: '1GiB' }, make: true, remove: true }

const poolOf = (provider: string): { pool: string; tags: Omit<OwnerTags, 'muster-worker' | 'muster-epoch'> } => ({
  pool: 'pool',
  tags: { 'muster-owner': 'owner', 'muster-provider': provider, 'muster-pool': 'pool' },
})

function specOf(provider: string, over: Partial<LaunchSpec> = {}): LaunchSpec {
  const id = newWorkerId()
  const tags: OwnerTags = { ...poolOf(provider).tags, 'muster-worker': id, 'muster-epoch': '1' }
  return { id, tags, work: { mode: 'hold' }, image: CLUSTER_IMAGES.probe, ...over }
}

export function tenantsOf(found: () => KubernetesCluster): void {
  let cluster: KubernetesCluster
  let place: Place

  const at = (namespace: string, config: TenantConfig, kubeconfig = place.kubeconfig): KubernetesProvider =>
    kubernetesProvider({
      cluster: createCluster(connect({ from: 'file', path: kubeconfig }), namespace),
      context: { owner: 'owner', provider: namespace },
      fields,
      tenant: config,
    })
  const look = async (provider: KubernetesProvider, id: WorkerId): Promise<WorkerObservation | undefined> =>
    (await provider.inspect([{ id }], newCall()))[0]
  const end = async (provider: KubernetesProvider, ...ids: WorkerId[]): Promise<void> => {
    for (const id of ids) await provider.terminate({ id }, force, newCall())
    for (const id of ids) await waitFor('it is gone', () => look(provider, id), { until: (seen) => seen === undefined })
  }
  const namespaceIs = (name: string): Promise<boolean> =>
    cluster.ask({ path: `/api/v1/namespaces/${name}` }).then(
      () => true,
      () => false,
    )

  beforeAll(async () => {
    cluster = found()
    place = await makePlace(cluster, 'tenants')
    const rbac = '/apis/rbac.authorization.k8s.io/v1'
    const role = tenantRoleOf('any', tenant)
    await cluster.ask({ method: 'POST', path: `${rbac}/clusterroles`, body: role })
    const { name } = role.metadata
    await cluster.ask({
      method: 'POST',
      path: `${rbac}/clusterrolebindings`,
      body: {
        metadata: { name },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: role.kind, name },
        subjects: [{ kind: 'ServiceAccount', name: 'muster', namespace: place.namespace }],
      },
    })
  })

  test('a tenant’s namespace is made with its first pool, bounds and closes what is in it, and goes with the last', async () => {
    const [one, two] = [at('team-one', tenant), at('team-two', tenant)]
    expect(await one.probe(newCall())).toMatchObject({
      state: 'ready',
      facts: { tenant: 'not made yet' },
      notes: ['the namespace team-one is made with its first pool'],
    })
    const handles = [
      await one.preparePool(poolOf('team-one'), newCall()),
      await two.preparePool(poolOf('team-two'), newCall()),
    ].map(({ handle }) => handle)
    // The same once more, as after a start.
    await at('team-one', tenant).preparePool(poolOf('team-one'), newCall())
    const { metadata } = await cluster.ask<{ metadata: { labels: object } }>({ path: '/api/v1/namespaces/team-one' })
    expect(metadata.labels).toMatchObject({
      'pod-security.kubernetes.io/enforce': 'restricted',
      'muster-provider': 'team-one',
    })

    const serve: Partial<LaunchSpec> = {
      work: { mode: 'command', command: ['probe', 'serve', ':8080'] },
      readiness: { check: { kind: 'tcp', port: 8080 }, intervalMs: 1000, timeoutMs: 1000, failures: 1 },
    }
    const server = specOf('team-one', serve)
    await one.launch(server, newCall())
    await waitFor('it answers', () => look(one, server.id), { until: (seen) => seen?.ready === true })
    const { status } = await cluster.ask<{ status: { podIP: string } }>({
      path: `/api/v1/namespaces/team-one/pods/${server.id}`,
    })
    const reach = (words: string): Partial<LaunchSpec> => ({ work: { mode: 'command', command: ['sh', '-c', words] } })
    // Its own find it, and reach out; the neighbour does not come in, though its way out is open.
    const asks = `probe get http://${status.podIP}:8080`
    const out = 'until nc -w 2 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT </dev/null; do sleep 0.2; done'
    const mate = specOf('team-one', reach(`until ${asks}; do sleep 0.2; done; ${out}`))
    const stranger = specOf('team-two', reach(`${out}; while ${asks}; do sleep 0.2; done`))
    await one.launch(mate, newCall())
    await two.launch(stranger, newCall())
    for (const [provider, { id }] of [
      [one, mate],
      [two, stranger],
    ] as const) {
      const ended = await waitFor('its end', () => look(provider, id), { until: (seen) => seen?.exit !== undefined })
      expect(ended?.exit).toMatchObject({ code: 0 })
    }

    const more = [specOf('team-one'), specOf('team-one')]
    await end(one, mate.id)
    for (const spec of more) await waitFor('room', () => one.launch(spec, newCall()).catch(() => undefined))
    const refused = await one.launch(specOf('team-one'), newCall()).catch((error: unknown) => error)
    expect(refused).toMatchObject({ code: 'quota', effect: 'none' })
    const full = await waitFor('the quota to be counted', () => one.probe(newCall()), {
      until: (probe: Probe | undefined) => probe?.facts?.['quota']?.includes('pods 3 of 3') === true,
    })
    // What says nothing of its needs is counted as what a namespace gives it.
    expect(full).toMatchObject({
      state: 'ready',
      facts: { tenant: 'made', quota: expect.stringContaining('requests.cpu 300m of 2') as string },
    })
    expect(full?.notes).toEqual([expect.stringMatching(/^a plain worker would be refused: .*exceeded quota/) as string])
    expect((await one.headroom(newCall())).slots).toEqual({ free: 0, total: 3 })

    await cluster.ask({ method: 'DELETE', path: '/apis/networking.k8s.io/v1/namespaces/team-one/networkpolicies/muster-tenant' })
    expect((await one.probe(newCall())).notes).toContain(
      "the namespace team-one is not a tenant's own: no NetworkPolicy shuts all of its Pods, in and out",
    )
    await one.preparePool(poolOf('team-one'), newCall())

    await end(one, server.id, ...more.map(({ id }) => id))
    await end(two, stranger.id)
    await cluster.ask({
      method: 'POST',
      path: '/api/v1/namespaces/team-two/secrets',
      body: { metadata: { name: 'login' }, stringData: { a: 'b' } },
    })
    const told: unknown[] = []
    const log = { ...newCall().log, warn: (_: string, data?: object) => void told.push(data) }
    await Promise.all([
      one.unpreparePool({ pool: poolOf('team-one'), handle: handles[0] ?? { v: 1, data: {} } }, newCall()),
      two.unpreparePool({ pool: poolOf('team-two'), handle: handles[1] ?? { v: 1, data: {} } }, { ...newCall(), log }),
    ])
    expect(told).toEqual([{ namespace: 'team-two', what: 'secrets' }])
    expect(await namespaceIs('team-two')).toBe(true)
    await waitFor('it has gone', () => namespaceIs('team-one'), { until: (is) => !(is ?? true) })
    // By which a host knows that it is to be prepared again.
    const again = (): Promise<unknown> => one.launch(specOf('team-one'), newCall()).catch((error: unknown) => error)
    const absent = await waitFor('it to be forgotten', again, {
      until: (told) => told instanceof ProviderError && told.code !== 'transient',
    })
    expect(absent).toMatchObject({ code: 'not-found', effect: 'none' })
  }, 180_000)

  test('a namespace that somebody else has made is not taken over, and only checked where it is to be', async () => {
    const maker = at('tenants', tenant)
    const stranger = { code: 'conflict', effect: 'none', path: 'config.namespace' }
    await expect(maker.preparePool(poolOf('tenants'), newCall())).rejects.toMatchObject(stranger)
    expect(await maker.probe(newCall())).toMatchObject({
      state: 'failed',
      message: expect.stringContaining('was not made by') as string,
    })

    const config: TenantConfig = { quota: { pods: 3 } }
    const lacking = await makePlace(cluster, 'lacking')
    const few = await at('lacking', config, lacking.kubeconfig).probe(newCall())
    expect(few).toMatchObject({ state: 'failed', message: 'rights are missing in the namespace lacking: get namespaces' })
    const checked = await makePlace(cluster, 'checked', tenantRoleOf('checked', config))
    const provider = at('checked', config, checked.kubeconfig)
    const open = await provider.probe(newCall())
    expect(open).toMatchObject({
      state: 'failed',
      message:
        "the namespace checked is not a tenant's own: no ResourceQuota bounds pods to 3; no NetworkPolicy shuts all of its Pods, in and out",
    })
    // As the hint says.
    const { code, stderr } = await cluster.kubectl(['apply', '-f', '-'], open.hint?.split('\n').slice(1).join('\n'))
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' })
    const well = await waitFor('the quota to be counted', () => provider.probe(newCall()), {
      until: (probe: Probe | undefined) => probe?.facts?.['quota'] === 'pods 0 of 3',
    })
    expect(well).toMatchObject({ state: 'ready', facts: { tenant: 'checked' } })
    const settings = { security: 'baseline' }
    await expect(provider.preparePool({ ...poolOf('checked'), settings }, newCall())).rejects.toMatchObject({
      ...{ code: 'unsupported', effect: 'none', path: 'settings.security' },
    })
  })
}
