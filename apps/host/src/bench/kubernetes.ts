/** Kubernetes workers beside bare Pods, and what a crowd of them costs. */
import type { KubernetesCluster } from '@muster/test/systems/kubernetes'
import { CLUSTER_IMAGES } from '@muster/test/systems/kubernetes'
import { apiServerOf, type BareClient, bareClient, type WatchEvent } from './api-server.ts'
import { crowdOn, total } from './crowd.ts'
import { empty, figures, ours, type Pair, packages } from './real.ts'
import type { Figure } from './report.ts'
import { startRig } from './rig.ts'
import { join } from 'node:path'

const NAMESPACE = 'pairs'
const image = CLUSTER_IMAGES.busybox

export async function benchKubernetes(cluster: KubernetesCluster, pairs: number): Promise<Figure[]> {
  await cluster.kubectl(['create', 'namespace', NAMESPACE])
  const rig = await startRig({
    plugin: join(packages, 'plugin-kubernetes'),
    name: '@muster/plugin-kubernetes',
    config: { kubeconfig: cluster.kubeconfig, context: cluster.context, namespace: NAMESPACE },
    pool: `worker: { work: hold, image: "${image}" }`,
  })
  const client = bareClient(await apiServerOf(cluster))
  try {
    const [mine, bare, line] = [empty(), empty(), empty()]
    for (let n = 0; n < pairs; n++) {
      await ours(rig, mine)
      await barePod(client, { name: `bare-${n}`, into: bare })
      await commandLine(cluster, { name: `line-${n}`, into: line })
    }
    return [
      ...figures('kubernetes', { mine, bare }, ['P95 < 10 s, P50 < × 1.15', 'P95 < 5 s, P50 < × 1.15']),
      ...figures('kubernetes, beside `kubectl`', { mine, bare: line }),
    ]
  } finally {
    client.close()
    await rig.stop()
  }
}

/** One that waits, and ends when it is told to. */
const podOf = (name: string): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: NAMESPACE },
  spec: {
    restartPolicy: 'Never',
    automountServiceAccountToken: false,
    containers: [{ name: 'main', image, command: ['sh', '-c', 'trap "exit 0" TERM; sleep 1000 & wait'] }],
  },
})

interface One {
  name: string
  into: Pair
}

/** The requests that nothing can do without: create, a watch, delete, a watch. */
async function barePod({ ask, until }: BareClient, { name, into }: One): Promise<void> {
  const pods = `/api/v1/namespaces/${NAMESPACE}/pods`
  const watch = `${pods}?watch=true&fieldSelector=metadata.name%3D${name}`
  const isReady = ({ object }: WatchEvent): boolean =>
    object.status.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') === true
  const begin = performance.now()
  await ask('POST', pods, podOf(name))
  await until(watch, isReady)
  into.create.push(performance.now() - begin)
  const end = performance.now()
  const { metadata } = await ask<{ metadata: { resourceVersion: string } }>('DELETE', `${pods}/${name}?gracePeriodSeconds=1`)
  await until(`${watch}&resourceVersion=${metadata.resourceVersion}`, ({ type }) => type === 'DELETED')
  into.end.push(performance.now() - end)
}

async function commandLine({ kubectl }: KubernetesCluster, { name, into }: One): Promise<void> {
  const run = async (args: string[], input?: string): Promise<void> => {
    const { code, stderr } = await kubectl(['--namespace', NAMESPACE, ...args], input)
    if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`)
  }
  const begin = performance.now()
  await run(['create', '--filename', '-'], JSON.stringify(podOf(name)))
  await run(['wait', '--for=condition=Ready', `pod/${name}`, '--timeout=60s'])
  into.create.push(performance.now() - begin)
  const end = performance.now()
  await run(['delete', `pod/${name}`, '--grace-period=1', '--wait'])
  into.end.push(performance.now() - end)
}

export async function benchCrowd(
  cluster: KubernetesCluster,
  { nodes, workers }: { nodes: number; workers: number },
): Promise<Figure[]> {
  const facts = await crowdOn(cluster, { nodes, workers, image })
  if (facts.there !== workers || facts.left !== 0)
    throw new Error(`of ${workers} workers ${facts.there} were there, and ${facts.left} are left`)
  const row = (name: string, value: string, aim = ''): Figure => ({
    ...{ name: `kubernetes, ${workers} workers on ${nodes} played nodes: ${name}`, value, aim },
    ...{ baseline: '', ratio: '' },
  })
  const { requests } = facts
  const each = ((total(requests) - facts.listRequests) / workers).toFixed(2)
  const by = Object.entries(requests).toSorted(([, a], [, b]) => b - a)
  return [
    row(
      'requests to the API server for each, from launch to gone',
      `${each} (${by.map(([name, count]) => `${name} ${count}`).join(', ')})`,
      '≤ 4',
    ),
    row('all ready / all gone', `${(facts.launchMs / 1000).toFixed(1)} / ${(facts.endMs / 1000).toFixed(1)} s`),
    row('a complete list', `${facts.listMs.toFixed(0)} ms, ${facts.listRequests} requests`),
    row('most memory of the plugin / of the host', `${facts.pluginMb.toFixed(0)} / ${facts.hostMb.toFixed(0)} MB`),
  ]
}
