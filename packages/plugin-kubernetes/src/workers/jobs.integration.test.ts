/** Workers that are Jobs, on a cluster: what differs from Pods, and what must not. */
import type { LaunchSpec, WorkerId, WorkerObservation } from '@muster/core'
import { checkProvider } from '@muster/core/testing'
import { CLUSTER_IMAGES, findStartKubernetes, type KubernetesCluster } from '@muster/test/systems/kubernetes'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect } from '../api/client.ts'
import { createCluster, jobRights } from '../client.ts'
import { makePlace, type Place } from '../testing/cluster.test.helper.ts'
import { kubernetesSetup } from '../testing/conformance.test.helper.ts'
import type { ClusterEvent, Job, Pod, PodList } from '../objects.ts'
import { type KubernetesProvider, kubernetesProvider } from '../provider.ts'
import { fields, newCall } from '../testing/pure.test.helper.ts'
import { forced, query, specOf, watching } from '../testing/specs.test.helper.ts'
import { jobOf as jobManifestOf } from './job-view.ts'
import { roleOf } from '../pools/rbac.ts'
import { podOf } from '../translate.ts'
import type { WorkerKind } from '../workers.ts'
import { bothKinds } from './kinds.test.helper.ts'

interface Budget {
  status?: { currentHealthy: number }
}

/**
 * Tests of the suite by their names: of what lives and ends, and one of each way into a worker. What is inside a Pod is the same, and tried with
 * Pods; the whole suite takes as long as theirs.
 */
const aboutWorkers = new RegExp(
  [
    'launch|terminat|inspect|[lL]ist|watch|probe|handle|exit|lifetime|readiness|held worker|problem|pool|error table',
    'logs that follow|logs resume in another|survives SIGKILL|copyOut gives|files arrive',
    'forward carries|stats tell|terminal has the size|aborted stream',
  ].join('|'),
)

suiteWith(await findStartKubernetes(), 'workers that are Jobs', (start) => {
  let cluster: KubernetesCluster
  let place: Place
  let provider: KubernetesProvider

  const providerAt = ({ kubeconfig, namespace }: Place, kind: WorkerKind = 'job'): KubernetesProvider => {
    const client = connect({ from: 'file', path: kubeconfig })
    const context = { owner: 'owner', provider: 'kubernetes' }
    const network = { gate: { image: CLUSTER_IMAGES.busybox, seconds: 60 } }
    return kubernetesProvider({ cluster: createCluster(client, namespace, kind), context, fields, network })
  }
  const jobPlace = (namespace: string): Promise<Place> => makePlace(cluster, namespace, roleOf(namespace, jobRights))
  const look = async (id: WorkerId): Promise<WorkerObservation | undefined> => (await provider.inspect([{ id }], newCall()))[0]
  const runs = async (over: Partial<LaunchSpec> = {}): Promise<WorkerId> => {
    const spec = specOf(over)
    await provider.launch(spec, newCall())
    await waitFor('it runs', () => look(spec.id), { until: (seen) => seen?.phase === 'running' })
    return spec.id
  }
  const ends = async (id: WorkerId): Promise<void> => {
    const ended = (): Promise<boolean> => provider.terminate({ id }, forced, newCall()).then(({ state }) => state === 'gone')
    await waitFor('its end', ended)
    expect(await look(id)).toBeUndefined()
  }
  const pods = (more = ''): string => `/api/v1/namespaces/${place.namespace}/pods${more}`
  const podsOf = async (id: WorkerId): Promise<Pod[]> => {
    const { items } = await cluster.ask<PodList>({ path: pods() })
    return items.filter(({ metadata }) => metadata.name.startsWith(id))
  }
  const nameOf = async (id: WorkerId): Promise<string> => (await podsOf(id))[0]?.metadata.name ?? ''
  const jobOf = (id: WorkerId): Promise<Job> =>
    cluster.ask<Job>({ path: `/apis/batch/v1/namespaces/${place.namespace}/jobs/${id}` })
  const evict = (name: string): Promise<unknown> =>
    cluster.ask({
      method: 'POST',
      path: pods(`/${name}/eviction`),
      body: { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace: place.namespace } },
    })
  const listed = async (): Promise<WorkerId[]> => {
    const ids: WorkerId[] = []
    for (let cursor: string | undefined; ;) {
      const { workers, next } = await provider.list(
        { tags: query, limit: 2, ...(cursor === undefined ? {} : { cursor }) },
        newCall(),
      )
      ids.push(...workers.map(({ id }) => id))
      if (next === undefined) return ids
      cursor = next
    }
  }

  beforeAll(
    async () => {
      cluster = await start()
      place = await jobPlace('jobs')
      provider = providerAt(place)
    },
    // Its parts may take 90 s each to come up.
    300_000,
  )
  afterAll(() => cluster?.stop())

  bothKinds({ cluster: () => cluster, place: jobPlace, providerAt })

  test('the conformance suite, as far as its calls know what a worker is, under the Role that it asks for', async () => {
    const setup = kubernetesSetup(cluster, await jobPlace('conformance'), 'job')
    const outcomes = await checkProvider(setup, { only: ({ name }) => aboutWorkers.test(name) })
    expect(outcomes.filter(({ outcome }) => outcome === 'fail')).toEqual([])
    expect(outcomes.length).toBeGreaterThan(35)
  }, 600_000)

  test('rights of Jobs that are missing are named, with the Role that grants them', async () => {
    const probe = await providerAt(await makePlace(cluster, 'few')).probe(newCall())
    expect(probe).toMatchObject({
      state: 'failed',
      message: expect.stringContaining('create jobs, delete jobs, get jobs, list jobs, watch jobs') as string,
      hint: expect.stringContaining("resources: ['jobs']") as string,
    })
  })

  test.each<[string, (pod: string) => Promise<unknown>]>([
    ['deleted by hand', (pod) => cluster.ask({ method: 'DELETE', path: pods(`/${pod}`), body: { gracePeriodSeconds: 0 } })],
    ['evicted', (pod) => evict(pod)],
  ])('a Pod that is %s is a lost worker, which has no second one', async (_what, end) => {
    const id = await runs({ settings: { graceSeconds: 1 } })
    using watch = watching(provider)
    await waitFor('it is seen', () => watch.phases(id).includes('running'))
    await end(await nameOf(id))
    await waitFor('the loss is told', () => watch.phases(id).includes('lost'))
    const ended = await waitFor('the Job to end', () => jobOf(id), {
      until: ({ status }) => status?.conditions?.some(({ type }) => type === 'Failed' || type === 'Complete') === true,
    })
    expect(await podsOf(id)).toEqual([])
    const path = `/api/v1/namespaces/${place.namespace}/events?fieldSelector=involvedObject.uid%3D${ended.metadata.uid},reason%3DSuccessfulCreate`
    expect(
      (await cluster.ask<{ items: (ClusterEvent & { count?: number })[] }>({ path })).items.map(({ count }) => count),
    ).toEqual([1])
    expect(await look(id)).toMatchObject({
      phase: 'lost',
      exit: { reason: expect.stringMatching(/^lost: its Pod is gone; its Job says: /) as string },
    })
    expect(await listed()).toContain(id)
    await ends(id)
  })

  test('a Job that is suspended as it is made waits; one that is suspended later is lost, though it is begun anew at once', async () => {
    const spec = specOf({ settings: { graceSeconds: 1 } })
    const suspend = (suspended: boolean): Promise<unknown> =>
      cluster.kubectl(['-n', place.namespace, 'patch', 'job', spec.id, '-p', JSON.stringify({ spec: { suspend: suspended } })])
    const job = jobManifestOf(podOf(spec, place.namespace))
    const path = `/apis/batch/v1/namespaces/${place.namespace}/jobs`
    await cluster.ask({ method: 'POST', path, body: { ...job, spec: { ...job.spec, suspend: true } } })
    const told: string[] = []
    const leaving = new AbortController()
    const watching = (async () => {
      const call = { ...newCall(), signal: leaving.signal }
      for await (const seen of provider.watch({ tags: query, limit: 500 }, call)) if (seen.id === spec.id) told.push(seen.phase)
    })()
    watching.catch(() => {})
    const held = await waitFor('its problem', () => look(spec.id), { until: (seen) => seen?.problem !== undefined })
    expect(held).toMatchObject({ phase: 'provisioning', problem: { code: 'capacity', final: false } })
    expect(await listed()).toContain(spec.id)
    await suspend(false)
    await waitFor('it is told to run', () => told.includes('running'))
    expect(told).not.toContain('lost')
    await suspend(true)
    await suspend(false)
    await waitFor('the loss is told', () => told.includes('lost'))
    leaving.abort()
    await ends(spec.id)
    expect(await podsOf(spec.id)).toEqual([])
  })

  test('a Job that may make no Pod is listed, says why, and goes', async () => {
    await using _refusal = await takeNoPods(cluster, place.namespace)
    const spec = specOf()
    await provider.launch(spec, newCall())
    const seen = await waitFor('its problem', () => look(spec.id), { until: (one) => one?.problem !== undefined })
    expect(seen).toMatchObject({
      phase: 'provisioning',
      problem: {
        code: 'invalid-spec',
        final: true,
        message: expect.stringMatching(/^its Job makes no Pod: .*not here/) as string,
      },
    })
    expect(await listed()).toContain(spec.id)
    await ends(spec.id)
  })

  test('what the namespace has no room for is refused as a Pod is, and what has its place already is found', async () => {
    const full = await jobPlace('full')
    const other = providerAt(full)
    const spec = specOf()
    const first = await other.launch(spec, newCall())
    const path = '/api/v1/namespaces/full/resourcequotas'
    await cluster.ask({ method: 'POST', path, body: { metadata: { name: 'one' }, spec: { hard: { pods: '1' } } } })
    const refusal = (): Promise<unknown> => other.launch(specOf(), newCall()).catch((error: unknown) => error)
    const told = await waitFor('the quota to count', refusal, { until: (one) => one instanceof Error })
    expect(told).toMatchObject({ code: 'quota', effect: 'none', quota: 'one' })
    expect(await other.launch(spec, newCall())).toEqual(first)
  })

  test('a label taken from its Pod makes it no other worker, and a Job taken from above it leaves none behind', async () => {
    const id = await runs()
    const pod = await nameOf(id)
    const kubectl = (...args: string[]): Promise<unknown> => cluster.kubectl(['--namespace', place.namespace, ...args])
    await kubectl('label', 'pod', pod, 'muster-worker-')
    expect(await look(id)).toMatchObject({ phase: 'running', part: expect.any(String) as string })
    await kubectl('label', 'pod', pod, `muster-worker=${id}`)
    const told: string[] = []
    const leaving = new AbortController()
    const watching = (async () => {
      const call = { ...newCall(), signal: leaving.signal }
      for await (const seen of provider.watch({ tags: query, limit: 500 }, call)) if (seen.id === id) told.push(seen.phase)
    })()
    watching.catch(() => {})
    await waitFor('it is seen', () => told.includes('running'))
    await kubectl('delete', 'job', id, '--cascade=orphan')
    expect(await look(id)).toMatchObject({ phase: 'running' })
    expect((await listed()).filter((one) => one === id)).toEqual([id])
    await ends(id)
    leaving.abort()
    expect(told).toContain('stopping')
    expect(told.slice(0, told.indexOf('stopping'))).not.toContain('lost')
    expect(await podsOf(id)).toEqual([])
  })

  test('a drain waits for it while it is held, its network is closed, and what it has goes with its Job', async () => {
    const settings = { drain: 'waits-for-leases' }
    const pool = { pool: 'pool', tags: specOf().tags }
    const { handle } = await provider.preparePool({ ...pool, settings }, newCall())
    const file = { path: 'own/file', base64: Buffer.from('own').toString('base64') }
    const id = await runs({ settings, network: { egress: 'none' }, files: [file] })
    const budgets = async (): Promise<Budget[]> =>
      (await cluster.ask<{ items: Budget[] }>({ path: `/apis/policy/v1/namespaces/${place.namespace}/poddisruptionbudgets` }))
        .items
    await waitFor('the budget to count', budgets, { until: ([one]) => one?.status?.currentHealthy === 1 })
    const words = 'cluster-autoscaler.kubernetes.io/safe-to-evict'
    for (const leased of [false, true]) {
      await provider.mark({ id }, { leased }, newCall())
      expect((await podsOf(id))[0]?.metadata.annotations).toMatchObject({ [words]: String(!leased) })
    }
    await expect(evict(await nameOf(id))).rejects.toMatchObject({ status: 429 })
    await expect(provider.unpreparePool({ pool, handle }, newCall())).rejects.toMatchObject({ code: 'conflict' })
    const { uid } = (await jobOf(id)).metadata
    const beside = ['api/v1', 'apis/networking.k8s.io/v1'].map((group, at) => {
      const path = `/${group}/namespaces/${place.namespace}/${at === 0 ? 'secrets' : 'networkpolicies'}/${id}`
      return () => cluster.ask<Pod>({ path })
    })
    for (const one of beside) expect((await one()).metadata.ownerReferences).toMatchObject([{ kind: 'Job', name: id, uid }])
    await ends(id)
    for (const one of beside)
      await waitFor('it goes too', () =>
        one().then(
          () => false,
          () => true,
        ),
      )
    await provider.unpreparePool({ pool, handle }, newCall())
    expect(await budgets()).toEqual([])
  })
})

/** A namespace takes no Pods, though it says so only when one is really to be made. */
async function takeNoPods({ ask }: KubernetesCluster, namespace: string): Promise<AsyncDisposable> {
  const at = (kind: string): string => `/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic${kind}`
  const metadata = { name: 'none-but-tried' }
  const rule = { apiGroups: [''], apiVersions: ['v1'], resources: ['pods'], operations: ['CREATE'] }
  const namespaceSelector = { matchLabels: { 'kubernetes.io/metadata.name': namespace } }
  const spec = {
    matchConstraints: { resourceRules: [rule], namespaceSelector },
    validations: [{ expression: 'request.dryRun == true', message: 'not here' }],
  }
  await ask({ method: 'POST', path: at('ies'), body: { metadata, spec } })
  const binding = { policyName: metadata.name, validationActions: ['Deny'] }
  await ask({ method: 'POST', path: at('ybindings'), body: { metadata, spec: binding } })
  const pods = `/api/v1/namespaces/${namespace}/pods`
  const body = podOf(specOf(), namespace)
  // An API server hears of a new policy a moment later.
  await waitFor('the policy to hold', async () => {
    try {
      await ask({ method: 'POST', path: pods, body })
      await ask({ method: 'DELETE', path: `${pods}/${body.metadata.name}`, body: { gracePeriodSeconds: 0 } })
      return false
    } catch (error) {
      return /not here/.test(String(error))
    }
  })
  return {
    async [Symbol.asyncDispose]() {
      for (const kind of ['ybindings', 'ies']) await ask({ method: 'DELETE', path: `${at(kind)}/${metadata.name}` })
    },
  }
}
