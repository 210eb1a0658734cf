/** The names under which workers find each other, and are found: Services of a pool. Pure. */
import type { PoolRef } from '@muster/core'
import { label, poolLabels, poolName } from '../labels.ts'
import type { ServiceManifest } from '../objects.ts'
import type { KubernetesSettings } from '../settings.ts'

/** Without an address of its own: its name has the addresses of the pool's workers that are ready, and each of them a name below it. */
export function poolServiceOf(tags: PoolRef['tags'], namespace: string): ServiceManifest {
  const labels = poolLabels(tags)
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: poolName(tags), namespace, labels: { ...labels, [label.part]: 'names' } },
    spec: { clusterIP: 'None', selector: { ...labels, [label.part]: 'worker' } },
  }
}

/** With one address, which spreads what comes over the workers that are ready. */
export function groupServiceOf(
  tags: PoolRef['tags'],
  { service }: KubernetesSettings,
  namespace: string,
): ServiceManifest | undefined {
  if (service === undefined) return undefined
  const labels = poolLabels(tags)
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: service.name, namespace, labels: { ...labels, [label.part]: 'group' } },
    spec: {
      selector: { ...labels, [label.part]: 'worker', [label.service]: service.name },
      ports: service.ports.map(({ port, target = port, protocol = 'TCP' }) => ({
        name: `${protocol.toLowerCase()}-${port}`,
        port,
        targetPort: target,
        protocol,
      })),
    },
  }
}
