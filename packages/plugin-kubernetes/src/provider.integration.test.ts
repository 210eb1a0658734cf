/** What only a cluster can show beyond the conformance suite: rights, problems as they come, services, a drain. */
import type { LaunchSpec, OwnerTags, WorkerId, WorkerObservation } from '@muster/core'
import { newWorkerId } from '@muster/core/testing'
import { CLUSTER_IMAGES, findStartKubernetes, type KubernetesCluster } from '@muster/test/systems/kubernetes'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect } from './api/client.ts'
import { createCluster } from './client.ts'
import { makePlace, type Place } from './testing/cluster.test.helper.ts'
import type { Pod } from './objects.ts'
import { type KubernetesProvider, kubernetesProvider } from './provider.ts'
import { fields, newCall } from './testing/pure.test.helper.ts'
import { roleOf } from './pools/rbac.ts'
import { podOf } from './translate.ts'

const owner = { owner: 'owner', provider: 'kubernetes' }

interface Budget {
  status?: { currentHealthy: number; expectedPods: number; disruptionsAllowed: number }
}

function specOf(over: Partial<LaunchSpec>): LaunchSpec {
  const id = newWorkerId()
  const tags: OwnerTags = {
    'muster-owner': owner.owner,
    'muster-provider': owner.provider,
    'muster-pool': 'pool',
    'muster-worker': id,
    'muster-epoch': '1',
  }
  return { id, tags, work: { mode: 'hold' }, image: CLUSTER_IMAGES.busybox, ...over }
}

suiteWith(await findStartKubernetes(), 'the Kubernetes provider on a cluster', (start) => {
  let cluster: KubernetesCluster
  let provider: KubernetesProvider

  const providerAt = ({ kubeconfig, namespace }: Place, other = namespace): KubernetesProvider => {
    const client = connect({ from: 'file', path: kubeconfig })
    return kubernetesProvider({ cluster: createCluster(client, other), context: owner, fields })
  }
  const look = async (id: WorkerId): Promise<WorkerObservation | undefined> => (await provider.inspect([{ id }], newCall()))[0]
  const launch = async (over: Partial<LaunchSpec>): Promise<WorkerId> => {
    const spec = specOf(over)
    await provider.launch(spec, newCall())
    return spec.id
  }
  const problemOf = async (id: WorkerId): Promise<WorkerObservation['problem']> =>
    (await waitFor('a problem', () => look(id), { until: (seen) => seen?.problem !== undefined }))?.problem

  // Its parts may take 90 s each to come up.
  const startMs = 300_000
  beforeAll(async () => {
    cluster = await start()
    provider = providerAt(await makePlace(cluster, 'workers'))
  }, startMs)
  afterAll(() => cluster?.stop())

  test('a right that is missing is named, with the Role that grants it', async () => {
    const few = roleOf('few')
    const rules = few.rules.filter(({ resources }) => resources[0] !== 'pods/log' && resources[0] !== 'events')
    const probe = await providerAt(await makePlace(cluster, 'few', { ...few, rules })).probe(newCall())
    expect(probe).toMatchObject({
      state: 'failed',
      message: 'rights are missing in the namespace few: list events, get pods/log',
      hint: expect.stringContaining("resources: ['pods/log']") as string,
    })
  })

  test('a namespace that refuses a plain worker is told, and is no failure', async () => {
    const place = await makePlace(cluster, 'full')
    await cluster.ask({
      method: 'POST',
      path: '/api/v1/namespaces/full/resourcequotas',
      body: { metadata: { name: 'none' }, spec: { hard: { pods: '0' } } },
    })
    const full = providerAt(place)
    const probe = await waitFor('the quota to count', () => full.probe(newCall()), {
      until: ({ notes = [] }) => notes.length > 0,
    })
    expect(probe).toMatchObject({ state: 'ready', notes: [expect.stringContaining('exceeded quota: none') as string] })
    await expect(full.launch(specOf({}), newCall())).rejects.toMatchObject({ code: 'quota', effect: 'none', quota: 'none' })

    const limits = [{ type: 'Container', max: { cpu: '1' }, min: { memory: '32Mi' } }]
    const body = { metadata: { name: 'bounds' }, spec: { limits } }
    await cluster.ask({ method: 'POST', path: '/api/v1/namespaces/full/limitranges', body })
    const large = (): Promise<unknown> =>
      full.launch(specOf({ resources: { cpu: 2, memoryBytes: 2 ** 24 } }), newCall()).catch((error: unknown) => error)
    const refused = await waitFor('the limits to hold', large, {
      until: (told) => told instanceof Error && !/quota/.test(told.message),
    })
    expect(refused).toMatchObject({
      ...{ code: 'invalid-spec', effect: 'none', path: 'resources' },
      hint: expect.stringMatching(/LimitRange.*`resources`/) as string,
    })
    for (const words of ['maximum cpu usage per Container is 1, but limit is 2', 'minimum memory usage per Container is 32Mi'])
      expect((refused as Error).message).toContain(words)
  })

  test.each<[string, Partial<LaunchSpec>, object]>([
    ['no registry', { image: '127.0.0.1:1/none:1' }, { code: 'transient', final: false }],
    [
      'no room',
      { resources: { cpu: 1000 } },
      { code: 'capacity', final: false, message: expect.stringContaining('Insufficient cpu') as string },
    ],
    ['no node', { settings: { nodeSelector: { a: 'b' } } }, { code: 'capacity', final: false }],
    [
      'no claim',
      { mounts: [{ target: '/a', source: { kind: 'volume', name: 'a' } }], settings: { volumes: { a: { claim: 'none' } } } },
      { code: 'invalid-spec', final: true },
    ],
    ['no program', { work: { mode: 'command', command: ['/none'] } }, { code: 'invalid-spec', final: true }],
  ])('a worker with %s says so', async (_what, over, problem) => {
    const id = await launch(over)
    expect(await problemOf(id)).toMatchObject(problem)
    await provider.terminate({ id }, { graceMs: 0, force: true, reason: 'done' }, newCall())
  })

  test('a worker reaches its service by name, once that is ready', async () => {
    const image = CLUSTER_IMAGES.busybox
    const readiness = { check: { kind: 'tcp', port: 7000 }, intervalMs: 1000, timeoutMs: 1000, failures: 30 } as const
    const command = ['sh', '-c', 'while :; do echo served | nc -l -p 7000; done']
    const id = await launch({
      services: [{ name: 'db', image, command, readiness }],
      work: { mode: 'command', command: ['sh', '-c', 'until nc -w 5 db 7000 </dev/null; do sleep 0.1; done'] },
    })
    const ended = await waitFor('its end', () => look(id), { until: (seen) => seen?.exit !== undefined })
    expect(ended?.exit).toMatchObject({ code: 0 })
    let said = ''
    for await (const { data } of provider.logs({ id }, { follow: true }, newCall())) said += Buffer.from(data).toString()
    expect(said).toBe('served\n')
    await provider.terminate({ id }, { graceMs: 0, force: true, reason: 'done' }, newCall())
  })

  test('a cluster takes all that settings say of place and room, and reserves by it', async () => {
    const group = (name: string, kind: string): string => `/apis/${name}.k8s.io/v1/${kind}`
    await cluster.ask({
      method: 'POST',
      path: group('scheduling', 'priorityclasses'),
      body: { metadata: { name: 'ci' }, value: 7 },
    })
    await cluster.ask({
      method: 'POST',
      path: group('node', 'runtimeclasses'),
      body: { metadata: { name: 'ci' }, handler: 'runc' },
    })
    const dry = createCluster(connect({ from: 'file', path: cluster.kubeconfig, context: cluster.context }), 'workers')
    const tried = async (over: Partial<LaunchSpec>): Promise<Pod> =>
      dry.createPod(podOf(specOf(over), 'workers'), { dryRun: true, signal: newCall().signal })
    const zone = 'topology.kubernetes.io/zone'
    const nodeSelectorTerms = [{ matchExpressions: [{ key: zone, operator: 'Exists' }] }]
    const made = await tried({
      resources: { cpu: 0.5, memoryBytes: 2 ** 26, gpus: 1 },
      mounts: ['own', 'shared'].map((name) => ({ target: `/${name}`, source: { kind: 'volume', name } })),
      settings: {
        ...{ priorityClass: 'ci', runtimeClass: 'ci', extended: { 'muster.test/fpga': 2 }, nodeSelector: { a: 'b' } },
        affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } } },
        tolerations: [{ key: 'ci', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 5 }],
        spread: [{ topologyKey: zone, hard: true }],
        volumes: { own: { sizeBytes: 2 ** 20, accessMode: 'ReadWriteOncePod' }, shared: { claim: 'cache' } },
        ...{ serviceAccount: 'muster', tokens: [{ path: '/run/vault/token', audience: 'vault', expirySeconds: 600 }] },
      },
    })
    expect(made.spec).toMatchObject({
      priority: 7,
      runtimeClassName: 'ci',
      nodeSelector: { a: 'b', 'kubernetes.io/os': 'linux' },
    })
    expect(made.spec.containers[0]?.resources?.limits).toMatchObject({ 'muster.test/fpga': '2', 'nvidia.com/gpu': '1' })
    expect(made.status?.qosClass).toBe('Guaranteed')
    const room = { cpu: 0.5, memoryBytes: 2 ** 26 }
    expect((await tried({ resources: room, settings: { limits: { cpu: 'none' } } })).status?.qosClass).toBe('Burstable')
    expect((await tried({})).status?.qosClass).toBe('BestEffort')
  })

  test('a drain waits for the workers of a pool that says so, and for no others; the budget goes with the pool', async () => {
    const { tags } = specOf({})
    const pool = { pool: 'pool', tags }
    const settings = { drain: 'waits' }
    const { handle } = await provider.preparePool({ ...pool, settings }, newCall())
    const [kept, free] = [await launch({ settings }), await launch({})]
    for (const id of [kept, free]) await waitFor('it runs', () => look(id), { until: (seen) => seen?.ready === true })
    const evict = (name: string): Promise<unknown> =>
      cluster.ask({
        method: 'POST',
        path: `/api/v1/namespaces/workers/pods/${name}/eviction`,
        body: { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace: 'workers' } },
      })
    const budgets = async (): Promise<Budget[]> => {
      const path = '/apis/policy/v1/namespaces/workers/poddisruptionbudgets'
      return (await cluster.ask<{ items: Budget[] }>({ path })).items
    }
    // Until the cluster has counted it refuses every eviction, whatever a budget says.
    const counted = await waitFor('the budget to count', budgets, { until: ([one]) => one?.status?.currentHealthy === 1 })
    expect(counted).toMatchObject([{ status: { expectedPods: 1, disruptionsAllowed: 0 } }])
    await expect(evict(kept)).rejects.toMatchObject({ status: 429 })
    // Who gives the pool the other word changes nothing for those that run.
    await provider.preparePool({ ...pool, settings: { drain: 'waits-for-leases' } }, newCall())
    await waitFor('the budget to count', budgets, { until: ([one]) => one?.status?.currentHealthy === 1 })
    await expect(evict(kept)).rejects.toMatchObject({ status: 429 })
    await evict(free)
    expect(await look(kept)).toMatchObject({ phase: 'running', ready: true })
    for (const id of [kept, free]) {
      await provider.terminate({ id }, { graceMs: 0, force: true, reason: 'done' }, newCall())
      await waitFor('it is gone', () => look(id), { until: (seen) => seen === undefined })
    }
    await provider.unpreparePool({ pool, handle }, newCall())
    expect(await budgets()).toEqual([])
  })

  test('a drain waits for workers that somebody holds, and not for idle ones', async () => {
    const pool = { pool: 'pool', tags: specOf({}).tags }
    const settings = { drain: 'waits-for-leases' }
    const { handle } = await provider.preparePool({ ...pool, settings }, newCall())
    const spec = specOf({ settings })
    const target = { id: spec.id, handle: (await provider.launch(spec, newCall())).handle }
    await waitFor('it runs', () => look(spec.id), { until: (seen) => seen?.ready === true })
    const path = `/api/v1/namespaces/workers/pods/${spec.id}`
    const body = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: spec.id, namespace: 'workers' } }
    const evict = (): Promise<unknown> => cluster.ask({ method: 'POST', path: `${path}/eviction`, body })
    await waitFor('the budget to hold it', () => evict().then(...([() => false, () => true] as const)))
    await provider.mark(target, { leased: false }, newCall())
    const karpenter = 'karpenter.sh/do-not-disrupt'
    expect((await cluster.ask<Pod>({ path })).metadata.annotations).not.toHaveProperty(karpenter)
    // What was launched is found again, and its handle is the same.
    expect(await provider.launch(spec, newCall())).toEqual({ handle: target.handle })
    expect(await look(spec.id)).toMatchObject({ handle: target.handle })
    // Without a handle its Pod says that it wants to know.
    await provider.mark({ id: spec.id }, { leased: true }, newCall())
    expect((await cluster.ask<Pod>({ path })).metadata.annotations).toMatchObject({ [karpenter]: 'true' })
    await expect(evict()).rejects.toMatchObject({ status: 429 })
    await provider.mark(target, { leased: false }, newCall())
    await evict()
    await waitFor('it is gone', () => look(spec.id), { until: (seen) => seen === undefined })
    await provider.mark(target, { leased: true }, newCall())
    await provider.unpreparePool({ pool, handle }, newCall())
  })

  /** One that goes on until its grace is over. */
  const lingers = async (settings: object = {}): Promise<WorkerId> => {
    const command = ['sh', '-c', 'trap "" TERM; while :; do sleep 1; done']
    const id = await launch({ work: { mode: 'command', command }, settings })
    await waitFor('it runs', () => look(id), { until: (seen) => seen?.phase === 'running' })
    return id
  }
  const remove = async (id: WorkerId): Promise<void> => {
    await provider.terminate({ id }, { graceMs: 0, force: true, reason: 'done' }, newCall())
    await waitFor('it is gone', () => look(id), { until: (seen) => seen === undefined })
  }

  test('an end with grace runs preStop in the worker before it is told to stop', async () => {
    const script = [
      'trap "echo told; exit" TERM; echo begun',
      'until [ -e /tmp/asked ]; do sleep 0.1; done; echo asked; : >/tmp/heard',
      'while :; do sleep 0.1; done',
    ].join('; ')
    const preStop = ['sh', '-c', ': >/tmp/asked; until [ -e /tmp/heard ]; do sleep 0.1; done']
    const id = await launch({ work: { mode: 'command', command: ['sh', '-c', script] }, settings: { preStop } })
    let ending: Promise<unknown> | undefined
    let said = ''
    await waitFor('it runs', () => look(id), { until: (seen) => seen?.phase === 'running' })
    for await (const { data } of provider.logs({ id }, { follow: true }, newCall())) {
      said += Buffer.from(data).toString()
      if (said.includes('begun'))
        ending ??= provider.terminate({ id }, { graceMs: 30_000, force: false, reason: 'done' }, newCall())
      if (/asked|told/.test(said)) break
    }
    expect(said).toMatch(/^begun\nasked/)
    await ending
    await waitFor('it is gone', () => look(id), { until: (seen) => seen === undefined })
  })

  test('a Pod of higher priority takes the place of a worker, which says so before it ends', async () => {
    const seat = 'muster.test/seat'
    const { items } = await cluster.ask<{ items: Pod[] }>({ path: '/api/v1/nodes' })
    // What no kubelet counts is announced so: of what others need nothing becomes scarce.
    const one = JSON.stringify({ status: { capacity: { [seat]: '1' }, allocatable: { [seat]: '1' } } })
    const patch = ['patch', 'node', items[0]?.metadata.name ?? '', '--subresource=status', '--type=merge', `--patch=${one}`]
    expect(await cluster.kubectl(patch)).toMatchObject({ code: 0 })
    const body = { metadata: { name: 'ahead' }, value: 1000 }
    await cluster.ask({ method: 'POST', path: '/apis/scheduling.k8s.io/v1/priorityclasses', body })
    const extended = { [seat]: 1 }
    const id = await lingers({ extended })
    const ahead = await launch({ settings: { extended, priorityClass: 'ahead' } })
    const taken = await waitFor('it is taken away', () => look(id), { until: (seen) => seen?.phase === 'stopping' })
    expect(taken?.problem).toMatchObject({
      ...{ code: 'capacity', final: true },
      message: expect.stringMatching(/^preempted: a Pod of higher priority needs its place/) as string,
    })
    await remove(id)
    await waitFor('the other runs in its place', () => look(ahead), { until: (seen) => seen?.ready === true })
    await remove(ahead)
  })

  test('a worker whose node is drained says so before it ends', async () => {
    const id = await lingers()
    await cluster.ask({
      method: 'POST',
      path: `/api/v1/namespaces/workers/pods/${id}/eviction`,
      body: { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: id, namespace: 'workers' } },
    })
    expect(await look(id)).toMatchObject({
      phase: 'stopping',
      problem: { code: 'transient', final: true, message: expect.stringMatching(/^evicted: its node is drained/) as string },
    })
    await remove(id)
  })

  test('a taint ends workers that do not tolerate it, or after the seconds that they do; each says so before it ends', async () => {
    const taint = 'muster.test/out'
    const tolerates = (seconds?: number): object => ({
      tolerations: [
        { key: taint, operator: 'Exists', effect: 'NoExecute', ...(seconds === undefined ? {} : { tolerationSeconds: seconds }) },
      ],
    })
    const ids = await Promise.all([lingers(), lingers(tolerates(4)), lingers(tolerates())])
    const [none, some, all] = ids
    const tainted = {
      phase: 'stopping',
      problem: { code: 'transient', final: true, message: expect.stringMatching(/^evicted: its node is tainted/) as string },
    }
    const takenAt = async (id: WorkerId): Promise<number> => {
      const { status } = await cluster.ask<Pod>({ path: `/api/v1/namespaces/workers/pods/${id}` })
      return Date.parse(status?.conditions?.find(({ type }) => type === 'DisruptionTarget')?.lastTransitionTime ?? '')
    }
    const until = { until: (seen: WorkerObservation | undefined) => seen?.phase === 'stopping' }
    await cluster.kubectl(['taint', 'nodes', '--all', `${taint}=:NoExecute`])
    try {
      expect(await waitFor('it is taken away', () => look(none), until)).toMatchObject(tainted)
      const first = await takenAt(none)
      expect(await waitFor('the other is taken away', () => look(some), until)).toMatchObject(tainted)
      // By the cluster's own clock, which has whole seconds.
      expect((await takenAt(some)) - first).toBeGreaterThanOrEqual(3000)
      const stays = await look(all)
      expect(stays).toMatchObject({ phase: 'running' })
      expect(stays?.problem).toBeUndefined()
    } finally {
      await cluster.kubectl(['taint', 'nodes', '--all', `${taint}-`])
    }
    for (const id of ids) await remove(id)
  })
})
