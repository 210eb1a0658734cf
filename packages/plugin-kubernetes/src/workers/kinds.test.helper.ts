/** What holds of workers on a cluster whatever their kind is: the tests of {@link bothKinds}. */
import type { Handle, LaunchedWorker, LaunchSpec, WorkerId, WorkerObservation } from '@muster/core'
import { newWorkerId } from '@muster/core/testing'
import { CLUSTER_IMAGES, type KubernetesCluster } from '@muster/test/systems/kubernetes'
import { suiteWith } from '@muster/test/systems/presence'
import { findRegistry } from '@muster/test/systems/registry'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { makePlace, type Place } from '../testing/cluster.test.helper.ts'
import { held, label } from '../labels.ts'
import type { PodList } from '../objects.ts'
import type { KubernetesProvider } from '../provider.ts'
import { newCall } from '../testing/pure.test.helper.ts'
import { type WorkerKind, workerKinds } from '../workers.ts'
import { forced, query, specOf, watching } from '../testing/specs.test.helper.ts'

export interface Kinds {
  cluster(): KubernetesCluster
  place(namespace: string): Promise<Place>
  providerAt(place: Place, kind: WorkerKind): KubernetesProvider
}

export function bothKinds({ cluster: found, place, providerAt }: Kinds): void {
  const look = async (provider: KubernetesProvider, id: WorkerId): Promise<WorkerObservation | undefined> =>
    (await provider.inspect([{ id }], newCall()))[0]
  const ends = (provider: KubernetesProvider, id: WorkerId): Promise<unknown> =>
    waitFor('its end', async () => (await provider.terminate({ id }, forced, newCall())).state === 'gone')

  suiteWith(findRegistry(), 'with a registry that wants a login', (_start) => {
    test.concurrent.each(workerKinds)(
      'a worker as %s starts with the login of its pool, and without it says what the registry says',
      async (kind) => {
        const cluster = found()
        const own = await place(`login-${kind}`)
        await using registry = await cluster.startRegistry()
        const image = await cluster.publish(registry, CLUSTER_IMAGES.busybox, `team/${kind}:1`)
        const login = async (name: string, password: string): Promise<unknown> => {
          const auths = { [registry.host]: { username: registry.user, password } }
          const stringData = { '.dockerconfigjson': JSON.stringify({ auths }) }
          const body = { metadata: { name }, type: 'kubernetes.io/dockerconfigjson', stringData }
          return cluster.ask({ method: 'POST', path: `/api/v1/namespaces/${own.namespace}/secrets`, body })
        }
        await login('right', registry.password)
        await login('wrong', 'none of theirs')
        const provider = providerAt(own, kind)
        const launch = async (settings: object): Promise<WorkerId> => {
          const spec = specOf({ image, settings })
          await provider.launch(spec, newCall())
          return spec.id
        }
        // Before the node has the image.
        for (const settings of [{}, { pullSecrets: ['wrong'] }, { pullSecrets: ['none-such'] }]) {
          const id = await launch(settings)
          const seen = await waitFor('its problem', () => look(provider, id), { until: (one) => one?.problem !== undefined })
          expect(seen).toMatchObject({
            phase: 'provisioning',
            problem: {
              code: 'auth',
              final: true,
              message: expect.stringMatching(/^the image is not pulled: .*40[13]/s) as string,
            },
          })
          await ends(provider, id)
        }
        const id = await launch({ pullSecrets: ['wrong', 'right'] })
        await waitFor('it runs', () => look(provider, id), { until: (seen) => seen?.phase === 'running' })
        await ends(provider, id)
      },
    )
  })

  test.concurrent.each(workerKinds)(
    'a mark of a worker as %s that has gone meanwhile, or whose namespace goes, is none',
    async (kind) => {
      const cluster = found()
      const own = await place(`marks-${kind}`)
      const provider = providerAt(own, kind)
      const settings = { drain: 'waits-for-leases', graceSeconds: 1 }
      const runs = async (): Promise<{ id: WorkerId; handle: Handle }> => {
        const spec = specOf({ settings })
        const { handle } = await provider.launch(spec, newCall())
        await waitFor('it runs', () => look(provider, spec.id), { until: (seen) => seen?.phase === 'running' })
        return { id: spec.id, handle }
      }
      const [byHand, left] = await Promise.all([runs(), runs()])
      // As of one that had this id before.
      const other = { ...left.handle, data: { ...(left.handle.data as object), uid: newWorkerId() } }
      await provider.mark({ id: left.id, handle: other }, { leased: false }, newCall())
      const { items } = await cluster.ask<PodList>({ path: `/api/v1/namespaces/${own.namespace}/pods` })
      expect(new Set(items.map(({ metadata }) => metadata.labels?.[label.drain]))).toEqual(new Set([held]))
      // Of a worker that is watched the name of its Pod is known.
      using watch = watching(provider)
      await waitFor('both are seen', () => [byHand, left].every(({ id }) => watch.phases(id).includes('running')))
      const marks = async ({ id, handle }: typeof left): Promise<void> => {
        for (const target of [{ id, handle }, { id }])
          for (const leased of [false, true]) await provider.mark(target, { leased }, newCall())
      }
      await marks(byHand)
      const kubectl = (...args: string[]): Promise<unknown> => cluster.kubectl(['--namespace', own.namespace, ...args])
      await kubectl('delete', 'pod', `--selector=muster-worker=${byHand.id}`, '--force', '--grace-period=0')
      await marks(byHand)
      await waitFor('the loss is told', () => watch.phases(byHand.id).includes('lost'))
      await marks(byHand)
      await cluster.ask({ method: 'DELETE', path: `/api/v1/namespaces/${own.namespace}` })
      // Until its Role goes, which is told as that, each mark is heard or for nobody.
      const refused = await waitFor(
        'its rights to be gone',
        () =>
          marks(left).then(
            () => undefined,
            (error: unknown) => error,
          ),
        {
          until: (told) => told !== undefined,
        },
      )
      expect(refused).toMatchObject({ code: 'auth', effect: 'none' })
    },
  )

  const listed = async (provider: KubernetesProvider): Promise<string[]> => {
    const seen: WorkerObservation[] = []
    for (let cursor: string | undefined; ;) {
      const page = await provider.list({ tags: query, limit: 1, ...(cursor === undefined ? {} : { cursor }) }, newCall())
      seen.push(...page.workers)
      if (page.next === undefined) return seen.map(phaseOf).toSorted()
      cursor = page.next
    }
  }
  const left = async (namespace: string, kind: 'pods' | 'jobs'): Promise<string[]> => {
    const path = `/${kind === 'pods' ? 'api' : 'apis/batch'}/v1/namespaces/${namespace}/${kind}`
    return (await found().ask<PodList>({ path })).items.map(({ metadata }) => metadata.name)
  }
  const launched = async (provider: KubernetesProvider, spec: LaunchSpec): Promise<LaunchedWorker> => {
    const made = await provider.launch(spec, newCall())
    await waitFor('it runs', () => look(provider, spec.id), { until: (seen) => seen?.phase === 'running' })
    return made
  }

  test('workers of a provider that has made the other kind before are seen and ended, and nothing of them is left', async () => {
    const own = await place('changed')
    const [pods, jobs] = [providerAt(own, 'pod'), providerAt(own, 'job')]
    const [pod, job, podless] = [specOf(), specOf({ settings: { drain: 'waits-for-leases' } }), specOf()]
    await launched(pods, pod)
    const [made] = [await launched(jobs, job), await launched(jobs, podless)]
    await found().kubectl(['--namespace=changed', 'delete', 'pod', `--selector=muster-worker=${podless.id}`, '--grace-period=1'])
    await waitFor('its Job is alone', () => look(jobs, podless.id), { until: (seen) => seen?.phase === 'lost' })
    const all = [`${pod.id} running`, `${job.id} running`, `${podless.id} lost`].toSorted()
    expect((await pods.probe(newCall())).notes).toBeUndefined()
    for (const provider of [pods, jobs]) {
      expect(await listed(provider)).toEqual(all)
      const found = await provider.inspect([pod, job, podless, specOf(), specOf()], newCall())
      expect(found.map(phaseOf).toSorted()).toEqual(all)
    }
    using watch = watching(pods)
    await waitFor('it is watched', () => watch.phases(job.id).includes('running'))
    // What was launched is found again, whatever it was launched as.
    expect(await pods.launch(job, newCall())).toEqual(made)
    await pods.mark({ id: job.id, handle: made.handle }, { leased: false }, newCall())
    const { items } = await found().ask<PodList>({ path: '/api/v1/namespaces/changed/pods' })
    expect(items.find(({ metadata }) => metadata.name.startsWith(job.id))?.metadata.labels?.[label.drain]).toBe('idle')
    expect(await pods.terminate({ id: job.id, handle: made.handle }, forced, newCall())).toMatchObject({ state: 'terminating' })
    await Promise.all([ends(pods, job.id), ends(pods, podless.id), ends(jobs, pod.id)])
    for (const provider of [pods, jobs]) expect(await listed(provider)).toEqual([])
    expect([await left('changed', 'pods'), await left('changed', 'jobs')]).toEqual([[], []])
  })

  test('of Jobs that its Role does not let a provider see, the Pods are seen and ended, and that the Jobs stay is told', async () => {
    const own = await makePlace(found(), 'changed-few')
    const jobs = providerAt({ ...own, kubeconfig: found().kubeconfig }, 'job')
    const pods = providerAt(own, 'pod')
    const spec = specOf()
    const { handle } = await launched(jobs, spec)
    expect((await pods.probe(newCall())).notes).toContainEqual(expect.stringContaining(spec.id))
    expect(await listed(pods)).toEqual([`${spec.id} running`])
    expect(await look(pods, spec.id)).toMatchObject({ phase: 'running', handle })
    await waitFor('its end', async () => (await pods.terminate({ id: spec.id, handle }, forced, newCall())).state === 'gone')
    expect(await listed(pods)).toEqual([])
    expect([await left('changed-few', 'pods'), await left('changed-few', 'jobs')]).toEqual([[], [spec.id]])
    await ends(jobs, spec.id)
    await waitFor('its Job to go', () => left('changed-few', 'jobs'), { until: (names) => names.length === 0 })
  })
}

const phaseOf = ({ id, phase }: WorkerObservation): string => `${id} ${phase}`
