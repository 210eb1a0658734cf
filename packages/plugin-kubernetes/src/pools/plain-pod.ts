/** The plainest worker of the level `restricted`, for asking a cluster what it says to one. Pure. */
import type { ListQuery } from '@muster/core'
import { labelValue } from '../labels.ts'
import type { PodManifest } from '../objects.ts'

export function plainPod(namespace: string, tags: ListQuery['tags']): PodManifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'muster-probe',
      namespace,
      labels: Object.fromEntries(Object.entries(tags).map(([name, tag]) => [name, labelValue(tag)])),
    },
    spec: {
      containers: [
        {
          name: 'worker',
          image: 'muster-probe',
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
        },
      ],
      restartPolicy: 'Never',
      automountServiceAccountToken: false,
      securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
    },
  }
}
