/** Many workers of one cluster whose nodes are played: what they cost its API server, the plugin and the host. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { KubernetesCluster } from '@muster/test/systems/kubernetes'
import { tempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { apiServerOf, type Counts, startCounting } from './api-server.ts'
import { residentMb } from './plugins.ts'
import { packages } from './real.ts'
import { type Rig, startRig } from './rig.ts'

export interface Crowd {
  nodes: number
  workers: number
  image: string
}

/** What was seen; times in milliseconds, memory in MB. */
export interface CrowdFacts {
  /** From the first request until all were ready, and from the first release until all were gone. */
  launchMs: number
  endMs: number
  /** Requests to the API server from the first request until all were gone. */
  requests: Counts
  /** A complete list by the plugin while all were there, and the requests that it took. */
  listMs: number
  listRequests: number
  /** Most that was seen of each. */
  pluginMb: number
  hostMb: number
  /** Pods in the namespace while all were ready, and at the end. */
  there: number
  left: number
}

const NAMESPACE = 'crowd'

export async function crowdOn(cluster: KubernetesCluster, crowd: Crowd): Promise<CrowdFacts> {
  await cluster.start('kwok')
  for (let n = 0; n < crowd.nodes; n++) await playNode(cluster, `fake-${n}`)
  await cluster.kubectl(['create', 'namespace', NAMESPACE])
  await using temp = await tempFolder('crowd')
  const way = await startCounting(await apiServerOf(cluster), async (text) => {
    const file = join(temp.path, 'kubeconfig')
    await writeFile(file, text, { mode: 0o600 })
    return file
  })
  try {
    const rig = await startRig(settingsOf(way.kubeconfig, crowd))
    try {
      return await measure(rig, { crowd, counts: way.counts, pods: () => podsOf(cluster) })
    } finally {
      await rig.stop()
    }
  } finally {
    await way.stop()
  }
}

function settingsOf(kubeconfig: string, { workers, image }: Crowd): Parameters<typeof startRig>[0] {
  const settings = {
    nodeSelector: { type: 'kwok' },
    tolerations: [{ key: 'kwok.x-k8s.io/node', operator: 'Exists', effect: 'NoSchedule' }],
  }
  const worker = { work: 'hold', image, lifetime: '24h', start: '30m', grace: '1s', settings }
  return {
    plugin: join(packages, 'plugin-kubernetes'),
    name: '@muster/plugin-kubernetes',
    config: { kubeconfig, namespace: NAMESPACE, rate: { perSecond: 300, burst: 300 } },
    pool: `worker: ${JSON.stringify(worker)}, scale: { max: ${workers} }`,
  }
}

/** kwok gives it its state and keeps its lease. */
async function playNode(cluster: KubernetesCluster, name: string): Promise<void> {
  const room = { cpu: '32', memory: '256Gi', pods: '110' }
  await cluster.ask({
    method: 'POST',
    path: '/api/v1/nodes',
    body: {
      metadata: { name, labels: { type: 'kwok', 'kubernetes.io/os': 'linux' }, annotations: { 'kwok.x-k8s.io/node': 'fake' } },
      spec: { taints: [{ key: 'kwok.x-k8s.io/node', value: 'fake', effect: 'NoSchedule' }] },
      status: { allocatable: room, capacity: room },
    },
  })
}

async function podsOf(cluster: KubernetesCluster): Promise<number> {
  const path = `/api/v1/namespaces/${NAMESPACE}/pods?limit=1`
  const { items, metadata } = await cluster.ask<{ items: object[]; metadata: { remainingItemCount?: number } }>({ path })
  return items.length + (metadata.remainingItemCount ?? 0)
}

interface Means {
  crowd: Crowd
  counts(): Promise<Counts>
  pods(): Promise<number>
}

async function measure(rig: Rig, { crowd, counts, pods }: Means): Promise<CrowdFacts> {
  const pid = rig.plugins.provider('p').status().pid ?? 0
  const memory = { pluginMb: 0, hostMb: 0 }
  const looking = new AbortController()
  const looked = (async () => {
    while (!looking.signal.aborted) {
      memory.pluginMb = Math.max(memory.pluginMb, await residentMb(pid))
      memory.hostMb = Math.max(memory.hostMb, process.memoryUsage.rss() / 2 ** 20)
      await sleep(500, undefined, { signal: looking.signal }).catch(() => undefined)
    }
  })()
  const before = await counts()
  const began = performance.now()
  const leases = await Promise.all(Array.from({ length: crowd.workers }, () => lease(rig)))
  const launchMs = performance.now() - began
  const there = await pods()

  const [listBegan, asked] = [performance.now(), total(await counts())]
  await listAll(rig)
  const [listMs, listRequests] = [performance.now() - listBegan, total(await counts()) - asked]

  const ending = performance.now()
  await Promise.all(leases.map((id) => rig.engine.leases.release(id, { reason: 'measured' })))
  const live = (): number => [...rig.engine.workers.live()].length
  await waitFor('all workers to be gone', live, { until: (left) => left === 0, timeoutMs: PATIENCE_MS })
  const endMs = performance.now() - ending
  const after = await counts()
  looking.abort()
  await looked
  const requests = Object.fromEntries(Object.entries(after).map(([name, count]) => [name, count - (before[name] ?? 0)]))
  return { launchMs, endMs, requests, listMs, listRequests, ...memory, there, left: await pods() }
}

/** Thousands of workers on two cores. */
const PATIENCE_MS = 20 * 60_000

async function lease(rig: Rig): Promise<string> {
  const { id } = await rig.engine.leases.request({ pool: 'p', requirements: {}, ttlMs: 24 * 3_600_000, principal: 'bench' })
  await rig.engine.leases.wait(id, (view) => view.lease.state === 'active')
  return id
}

async function listAll(rig: Rig): Promise<void> {
  let cursor: string | undefined
  do {
    const page = await rig.plugins.provider('p').list({ limit: 500, ...(cursor === undefined ? {} : { cursor }) })
    cursor = page.next
  } while (cursor !== undefined)
}

/** All of them but the watches that stay open: also the connections for samples, which no played node gives. */
export function total(counts: Counts): number {
  return Object.entries(counts).reduce((sum, [name, count]) => sum + (name.startsWith('WATCH') ? 0 : count), 0)
}
