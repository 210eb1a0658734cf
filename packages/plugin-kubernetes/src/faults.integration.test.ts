/** What a cluster does to workers when something of it breaks: each fault on a real one, and what the provider says of it. */
import { readFile, writeFile } from 'node:fs/promises'
import { type LaunchSpec, ProviderError, type WorkerId, type WorkerObservation } from '@muster/core'
import { findStartKubernetes, type KubernetesCluster } from '@muster/test/systems/kubernetes'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connect } from './api/client.ts'
import { createCluster } from './client.ts'
import { makePlace, type Place } from './testing/cluster.test.helper.ts'
import { faultsUnderDaemon } from './testing/daemon.test.helper.ts'
import { type KubernetesProvider, kubernetesProvider } from './provider.ts'
import { fields, newCall } from './testing/pure.test.helper.ts'
import { forced, query, specOf, watching } from './testing/specs.test.helper.ts'
import { type Deed, startWebhook, type Webhook } from './testing/webhook.test.helper.ts'

const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'no failure',
    (error: unknown) => error,
  )

suiteWith(await findStartKubernetes(), 'the Kubernetes provider on a cluster that breaks', (start) => {
  let cluster: KubernetesCluster
  let place: Place
  let provider: KubernetesProvider

  const providerAt = ({ kubeconfig, namespace }: Place): KubernetesProvider =>
    kubernetesProvider({
      cluster: createCluster(connect({ from: 'file', path: kubeconfig }), namespace),
      context: { owner: 'owner', provider: 'kubernetes' },
      fields,
    })
  const look = async (id: WorkerId): Promise<WorkerObservation | undefined> => (await provider.inspect([{ id }], newCall()))[0]
  const runs = async (over: Partial<LaunchSpec> = {}): Promise<WorkerId> => {
    const spec = specOf(over)
    await provider.launch(spec, newCall())
    await waitFor('it runs', () => look(spec.id), { until: (seen) => seen?.phase === 'running' })
    return spec.id
  }
  const pod = (id: WorkerId): string => `/api/v1/namespaces/${place.namespace}/pods/${id}`

  beforeAll(
    async () => {
      cluster = await start()
      place = await makePlace(cluster, 'faults')
      provider = providerAt(place)
    },
    // Its parts may take 90 s each to come up.
    300_000,
  )
  afterAll(() => cluster?.stop())

  test('a webhook that denies, hangs or rewrites labels: no worker is left, and the words say why', async () => {
    await using webhook: Webhook = await startWebhook(cluster)
    const under = async (deed: Deed, code: string): Promise<unknown> => {
      await webhook.rule(deed, place.namespace)
      const spec = specOf()
      // An API server hears of a new webhook a moment later.
      const refusal = await waitFor(`the webhook to ${deed}`, () => failure(provider.launch(spec, newCall())), {
        until: (told) => told instanceof ProviderError && told.code === code,
      })
      await webhook.withdraw(deed)
      await provider.terminate({ id: spec.id }, forced, newCall())
      await waitFor('nothing is left', () => look(spec.id), { until: (seen) => seen === undefined })
      return refusal
    }
    expect(await under('deny', 'invalid-spec')).toMatchObject({ effect: 'none', message: expect.stringContaining('not here') })
    expect(await under('hang', 'transient')).toMatchObject({ effect: 'none', hint: expect.stringContaining('webhook') })
    const rewritten = await under('rewrite', 'unsupported')
    expect(rewritten).toMatchObject({ message: 'the cluster changes muster-pool of a worker, by which it is found' })
  })

  test('a label taken from a worker, and then the worker by hand: the one is no loss, the other is told', async () => {
    const id = await runs()
    using watch = watching(provider)
    const told = (): readonly string[] => watch.phases(id)
    await waitFor('it is seen', () => told().includes('running'))
    const before = told().length
    await cluster.kubectl(['--namespace', place.namespace, 'label', 'pod', id, 'muster-provider-'])
    await waitFor('the change is seen', () => told().length > before)
    expect(told()).not.toContain('lost')
    expect(await look(id)).toMatchObject({ id, phase: 'running' })
    await cluster.kubectl(['--namespace', place.namespace, 'label', 'pod', id, `muster-provider=${query['muster-provider']}`])
    await cluster.ask({ method: 'DELETE', path: pod(id), body: { gracePeriodSeconds: 1 } })
    await waitFor('the loss is told', () => told().includes('lost'))
    expect(await look(id)).toBeUndefined()
  })

  test('an API server that is away, and has forgotten: a command goes on and is read from where it was, a watch begins anew', async () => {
    const id = await runs()
    const reasons: unknown[] = []
    using watch = watching(provider, (_, data) => void reasons.push(data?.['reason']))
    const told = (): readonly string[] => watch.phases(id)
    await waitFor('the watch', () => told().includes('running'))
    const count = 'i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo $i; sleep 0.2; done'
    const command = { id: `x${id}`, command: ['sh', '-c', count], stdin: false, from: { stdout: 0, stderr: 0 } }
    let text = ''
    const read = async (): Promise<unknown> => {
      const from = { stdout: Buffer.byteLength(text), stderr: 0 }
      const { output, exit } = await provider.exec({ id }, { ...command, from }, newCall())
      exit.catch(() => {})
      for await (const chunk of output) if ('data' in chunk) text += Buffer.from(chunk.data).toString()
      return exit
    }
    const first = failure(read())
    await waitFor('some of its output', () => text.includes('3\n'))
    await cluster.kill('apiserver')
    await first
    expect(await failure(provider.list({ tags: query, limit: 5 }, newCall()))).toMatchObject({
      code: 'transient',
      effect: 'none',
    })
    const spec = specOf()
    expect(await failure(provider.launch(spec, newCall()))).toMatchObject({ code: 'transient', effect: 'none' })
    await cluster.compact()
    await cluster.start('apiserver', ['--max-requests-inflight=20', '--max-mutating-requests-inflight=10'])
    const exit = await waitFor('the end of the command', read)
    expect(exit).toMatchObject({ code: 0 })
    expect(text).toBe(Array.from({ length: 60 }, (_, at) => `${at + 1}\n`).join(''))

    // More at once than it takes: each is answered in the end, or told to come again.
    const all = await Promise.all(Array.from({ length: 60 }, () => failure(provider.inspect([{ id }], newCall()))))
    const others = all.filter((told) => told !== 'no failure')
    for (const told of others) expect(told).toMatchObject({ code: 'throttled', scope: 'all' })
    expect(await waitFor('an answer', () => look(id))).toMatchObject({ phase: 'running' })

    await waitFor('what was watched to be forgotten', () => reasons, {
      until: (seen) => seen.some((one) => /too old resource version/.test(String(one))),
    })
    await cluster.ask({ method: 'DELETE', path: pod(id), body: { gracePeriodSeconds: 0 } })
    await waitFor('the loss to be told', () => told().includes('lost'))
    await cluster.kill('apiserver')
    await cluster.start('apiserver')
  })

  test('a token that is worth nothing any more is told, and a new one is taken up from the file', async () => {
    const id = await runs()
    const good = await readFile(place.kubeconfig, 'utf8')
    const bad = JSON.parse(good) as { users: { user: { token: string } }[] }
    for (const one of bad.users) one.user.token = 'expired'
    await writeFile(place.kubeconfig, JSON.stringify(bad))
    const other = providerAt(place)
    expect(await failure(other.inspect([{ id }], newCall()))).toMatchObject({ code: 'auth' })
    expect(await failure(other.launch(specOf(), newCall()))).toMatchObject({ code: 'auth', effect: 'none' })
    await writeFile(place.kubeconfig, good)
    expect(await other.inspect([{ id }], newCall())).toMatchObject([{ id, phase: 'running' }])
    await provider.terminate({ id }, forced, newCall())
  })

  describe('under a daemon with leases', () => {
    faultsUnderDaemon(() => cluster)
  })

  test('a node that is killed, whose object stays: not ready, and told when it is taken away', async () => {
    const id = await runs({ settings: { graceSeconds: 1 } })
    await cluster.kill('controller')
    await cluster.start('controller', ['--node-monitor-grace-period=4s'])
    await cluster.kill('kubelet')
    try {
      const silent = await waitFor('the silence is told', () => look(id), { until: (seen) => seen?.problem !== undefined })
      expect(silent).toMatchObject({ ready: false, problem: { code: 'transient', final: false } })
      // Where all nodes are silent, as the one here, the cluster waits and taints none.
      await cluster.kubectl(['taint', 'nodes', '--all', 'muster.test/dead=:NoExecute'])
      const taken = await waitFor('its end is told', () => look(id), { until: (seen) => seen?.phase === 'stopping' })
      const message = expect.stringMatching(/^its node is lost/) as string
      expect(taken).toMatchObject({ problem: { code: 'transient', final: true, message } })
    } finally {
      await cluster.kubectl(['taint', 'nodes', '--all', 'muster.test/dead-'])
      await cluster.start('kubelet')
    }
    await waitFor('the node ends it once it is back', () => look(id), { until: (seen) => seen === undefined })
  })

  test('a namespace that is deleted under us: its workers end, and nothing is launched there', async () => {
    const id = await runs({ work: { mode: 'command', command: ['sleep', '3600'] }, settings: { graceSeconds: 1 } })
    await cluster.ask({ method: 'DELETE', path: `/api/v1/namespaces/${place.namespace}` })
    const refused = await failure(provider.launch(specOf(), newCall()))
    // Its Role may go before it.
    expect(refused).toMatchObject({ effect: 'none', code: expect.stringMatching(/^(?:transient|auth|not-found)$/) })
    await waitFor('it has gone', () =>
      cluster.ask({ path: pod(id) }).then(
        () => false,
        () => true,
      ),
    )
    // Nobody may look any more, which is not to say that there is nothing.
    await waitFor('its rights to be gone', () => failure(provider.inspect([{ id }], newCall())), {
      until: (told) => told instanceof ProviderError && told.code === 'auth',
    })
  })
})
