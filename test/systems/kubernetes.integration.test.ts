/** The cluster itself: it comes up, does what tests need of it, and leaves nothing behind. */
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { type ClusterState, clusterTraces, sweepClusters } from './kubernetes/cluster.ts'
import { firstChild } from './kubernetes/ground.ts'
import { CLUSTER_IMAGES, findStartKubernetes, type KubernetesCluster } from './kubernetes.ts'
import { suiteWith } from './presence.ts'
import { isRunning, mustRun, type runProcess, startProcess } from './process.ts'
import { findRegistry } from './registry.ts'
import { waitFor } from './wait.ts'

interface Pod {
  metadata: { uid: string }
  status: { phase: string; podIP?: string; containerStatuses?: { restartCount: number; state: PodState }[] }
}

interface PodState {
  terminated?: { exitCode: number; reason: string }
  waiting?: { reason: string; message?: string }
}

const PODS = '/api/v1/namespaces/default/pods'

suiteWith(await findStartKubernetes(), 'a cluster of our own', (start) => {
  let cluster: KubernetesCluster

  beforeAll(async () => {
    cluster = await start()
  })
  afterAll(() => cluster?.stop())

  const podOf = (name: string): Promise<Pod> => cluster.ask({ path: `${PODS}/${name}` })
  const stateOf = async (name: string): Promise<PodState> => (await podOf(name)).status.containerStatuses?.[0]?.state ?? {}

  const create = (name: string, container: { image?: string; command: readonly string[] }, spec: object = {}): Promise<Pod> =>
    cluster.ask({
      method: 'POST',
      path: PODS,
      body: {
        metadata: { name, labels: { name } },
        spec: {
          ...{ restartPolicy: 'Never', terminationGracePeriodSeconds: 0 },
          containers: [{ name: 'main', image: CLUSTER_IMAGES.probe, ...container }],
          ...spec,
        },
      },
    })
  const runs = (name: string): Promise<Pod> =>
    waitFor(`pod ${name} to run`, () => podOf(name), { until: ({ status }) => status.phase === 'Running' })
  const exec = (name: string, ...command: string[]): ReturnType<typeof runProcess> =>
    cluster.kubectl(['exec', name, '--', ...command])

  test('a pod writes a log, runs commands to their exit code, knows names, and ends with its own code', async () => {
    await create('first', { command: ['sh', '-c', 'echo hello; exec probe serve :8080'] })
    await create('ends', { command: ['sh', '-c', 'exit 3'] })
    await runs('first')
    const logs = await waitFor('the log', () => cluster.kubectl(['logs', 'first']), { until: ({ stdout }) => stdout !== '' })
    expect(logs.stdout).toBe('hello\n')
    expect(await exec('first', 'sh', '-c', 'echo out; exit 7')).toMatchObject({ code: 7, stdout: 'out\n' })
    const api = await exec('first', 'probe', 'lookup', 'kubernetes.default.svc.cluster.local')
    expect(api.stdout).toContain('[10.96.0.1]')
    // Its own token is taken, and its rights are none.
    expect((await exec('first', 'probe', 'api', '/api/v1/namespaces/default/pods')).stdout).toMatch(/^403 /)
    const ended = await waitFor('the end of a pod', () => stateOf('ends'), {
      until: ({ terminated }) => terminated !== undefined,
    })
    expect(ended.terminated).toMatchObject({ exitCode: 3, reason: 'Error' })
  })

  test('a policy that denies what goes out holds, and what is outside is reached without one', async () => {
    const server = createServer((_, answer) => answer.end('seen')).listen(0, cluster.hostAddress)
    await once(server, 'listening')
    const outside = `${cluster.hostAddress}:${(server.address() as AddressInfo).port}`
    try {
      const { podIP } = (await runs('first')).status
      await create('closed', { command: ['sleep', '600'] })
      await runs('closed')
      for (const address of [`${podIP}:8080`, outside])
        expect(await exec('closed', 'probe', 'tcp', address)).toMatchObject({ code: 0, stdout: 'open\n' })
      await cluster.ask({
        method: 'POST',
        path: '/apis/networking.k8s.io/v1/namespaces/default/networkpolicies',
        body: {
          metadata: { name: 'closed' },
          spec: { podSelector: { matchLabels: { name: 'closed' } }, policyTypes: ['Egress'] },
        },
      })
      for (const address of [`${podIP}:8080`, outside])
        await waitFor('what goes out to be refused', () => exec('closed', 'probe', 'tcp', address), {
          until: ({ code }) => code !== 0,
        })
      expect(await exec('first', 'probe', 'tcp', outside)).toMatchObject({ code: 0 })
    } finally {
      server.close()
      server.closeAllConnections()
    }
  })

  test('components come and go, and pods stay; what was listed before a compaction is not continued', async () => {
    const before = await podOf('first')
    const list = await cluster.ask<{ metadata: { continue: string } }>({ path: `${PODS}?limit=1` })
    await cluster.ask({ method: 'DELETE', path: `${PODS}/ends` })
    await cluster.compact()
    await cluster.kill('apiserver')
    await expect(podOf('first')).rejects.toThrow('ECONNREFUSED')
    await cluster.kill('kubelet')
    await cluster.kill('etcd')
    await cluster.halt('policies')
    expect([cluster.pid('apiserver'), cluster.pid('policies')]).toEqual([undefined, undefined])
    await cluster.start('etcd')
    await cluster.start('apiserver', ['--max-requests-inflight=20'])
    await cluster.start('kubelet')
    await cluster.start('policies')
    expect(await readFile(`/proc/${cluster.pid('apiserver')}/cmdline`, 'utf8')).toContain('--max-requests-inflight=20')
    expect(
      await waitFor('a command in a pod', () => exec('first', 'echo', 'here'), { until: ({ code }) => code === 0 }),
    ).toMatchObject({
      stdout: 'here\n',
    })
    const next = cluster.ask({ path: `${PODS}?limit=1&continue=${list.metadata.continue}` })
    await expect(next).rejects.toMatchObject({ name: 'ApiError', status: 410 })
    const after = await podOf('first')
    expect(after.metadata.uid).toBe(before.metadata.uid)
    expect(after.status.containerStatuses?.[0]?.restartCount).toBe(0)
  })

  test('a proxy whose first rules are taken away under it is started again', async () => {
    const onNode = (script: string): [string, ...string[]] => cluster.inside(['sh', '-c', script])
    const loses = async (): Promise<boolean> => {
      await cluster.kill('proxy')
      const told = (await readFile(cluster.log('proxy'))).length
      await mustRun(onNode('for table in nat filter; do iptables -t $table -F; iptables -t $table -X; done'))
      const taker = await startProcess(onNode('until iptables -X KUBE-SERVICES 2>/dev/null; do :; done'))
      try {
        await cluster.start('proxy')
      } finally {
        await taker.stop()
      }
      return (await readFile(cluster.log('proxy'))).subarray(told).includes('"Sync failed"')
    }
    // Its chain is without a rule for some milliseconds only.
    await waitFor('a proxy that loses its chain', loses)
    expect((await exec('first', 'probe', 'lookup', 'kubernetes.default.svc.cluster.local')).stdout).toContain('[10.96.0.1]')
  })

  test('kwok plays nodes and pods that do not exist', async () => {
    await cluster.start('kwok')
    const taint = { key: 'kwok.x-k8s.io/node', value: 'fake', effect: 'NoSchedule' }
    const room = { cpu: '32', memory: '256Gi', pods: '110' }
    await cluster.ask({
      method: 'POST',
      path: '/api/v1/nodes',
      body: {
        metadata: { name: 'fake', labels: { type: 'kwok' }, annotations: { 'kwok.x-k8s.io/node': 'fake' } },
        spec: { taints: [taint] },
        status: { allocatable: room, capacity: room },
      },
    })
    await create('fake', { command: ['none'] }, { nodeSelector: { type: 'kwok' }, tolerations: [taint] })
    expect((await runs('fake')).status.podIP).toMatch(/^10\.200\./)
  })

  suiteWith(findRegistry(), 'with a registry', () => {
    test('an image is pulled with its secret only', async () => {
      const registry = await cluster.startRegistry()
      try {
        const image = await cluster.publish(registry, CLUSTER_IMAGES.busybox, 'team/busybox:1')
        const auths = { [registry.host]: { username: registry.user, password: registry.password } }
        await cluster.ask({
          method: 'POST',
          path: '/api/v1/namespaces/default/secrets',
          body: {
            metadata: { name: 'registry' },
            type: 'kubernetes.io/dockerconfigjson',
            stringData: { '.dockerconfigjson': JSON.stringify({ auths }) },
          },
        })
        await create('refused', { image, command: ['sleep', '600'] })
        const refused = await waitFor('a refusal', () => stateOf('refused'), {
          until: ({ waiting }) => waiting?.reason === 'ErrImagePull',
        })
        expect(refused.waiting?.message).toContain('401 Unauthorized')
        await create('pulled', { image, command: ['sleep', '600'] }, { imagePullSecrets: [{ name: 'registry' }] })
        await runs('pulled')
      } finally {
        await registry.stop()
      }
    })
  })

  test('a second one ends with a killed starter, and a sweep removes what it left', async () => {
    const script = `import { startKubernetes } from ${JSON.stringify(join(import.meta.dirname, 'kubernetes.ts'))};
      console.log((await startKubernetes()).kubeconfig);
      setInterval(() => {}, 1000);`
    const starter = await startProcess([process.execPath, '--input-type=module', '--eval', script])
    const file = await waitFor('the second cluster', () => /^\/.*\.kubeconfig$/m.exec(starter.stdout())?.[0])
    const state = JSON.parse(await readFile(join(file ?? '', '../cluster.json'), 'utf8')) as ClusterState
    const first = state.ground?.first
    if (first === undefined) throw new Error('a cluster has a first process')
    starter.kill('SIGKILL')
    try {
      await waitFor('the end of the second cluster', async () => !(await isRunning(first)))
    } finally {
      await sweepClusters()
    }
    expect(await clusterTraces(state)).toEqual([])
    expect(await exec('first', 'true')).toMatchObject({ code: 0 })
  })

  test('one that is stopped leaves nothing, and who stays in its network is told', async () => {
    const [command, ...args] = cluster.inside(['sleep', '600'])
    const ours = await startProcess([command, ...args])
    const child = await waitFor('a process of ours in it', () => firstChild(ours.pid))
    if (child === undefined) throw new Error('waited for it')
    const stranger = await startProcess(['nsenter', '--net', `--target=${child.pid}`, 'sleep', '600'])
    try {
      await waitFor('the stranger to be in the network', async () => {
        const of = (pid: number | string): Promise<string> => mustRun(['readlink', `/proc/${pid}/ns/net`])
        return (await of(stranger.pid)) === (await of(child.pid))
      })
      await cluster.stop()
      expect(await cluster.traces()).toEqual([`process ${stranger.pid}`])
      expect(await isRunning(child)).toBe(false)
    } finally {
      await stranger.stop()
    }
    expect(await cluster.traces()).toEqual([])
    expect(existsSync(cluster.kubeconfig)).toBe(false)
    await cluster.stop()
  })
})
