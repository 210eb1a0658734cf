/** What of a Pod is looked at, without what may be large: a watch holds one of each worker, and an environment alone may have 120 KiB. Pure. */
import { label, markNames } from '../labels.ts'
import type { Container, ContainerStatus, Job, Meta, Pod } from '../objects.ts'
import { workerContainer } from '../translate.ts'

export function briefOf({ metadata, spec, status }: Pod): Pod {
  return {
    metadata: briefMeta(metadata),
    spec: {
      ...only(spec, ['nodeName']),
      containers: spec.containers.filter(({ name }) => name === workerContainer).map(containerOf),
    },
    ...(status === undefined
      ? {}
      : {
          status: {
            ...only(status, ['phase', 'reason', 'message', 'conditions']),
            ...statusesOf('containerStatuses', status.containerStatuses),
            ...statusesOf('initContainerStatuses', status.initContainerStatuses),
          },
        }),
  }
}

export function briefOfJob({ metadata, status }: Job): Job {
  return { metadata: { ...briefMeta(metadata), ...only(metadata, ['generation']) }, ...(status === undefined ? {} : { status }) }
}

function briefMeta(metadata: Meta): Meta {
  const { labels, annotations } = metadata
  return {
    ...only(metadata, ['name', 'namespace', 'uid', 'resourceVersion', 'creationTimestamp', 'deletionTimestamp']),
    ...only(metadata, ['deletionGracePeriodSeconds', 'ownerReferences']),
    ...(labels === undefined ? {} : { labels: only(labels, [...markNames, label.drain]) }),
    ...(annotations === undefined ? {} : { annotations: only(annotations, markNames) }),
  }
}

function containerOf({ name, resources }: Container): Container {
  return { name, image: '', ...(resources === undefined ? {} : { resources: only(resources, ['limits']) }) }
}

function statusesOf(
  name: 'containerStatuses' | 'initContainerStatuses',
  statuses: readonly ContainerStatus[] | undefined,
): Record<string, ContainerStatus[]> {
  if (statuses === undefined) return {}
  return { [name]: statuses.map((one) => only(one, ['name', 'ready', 'restartCount', 'state', 'lastState'])) }
}

function only<T extends object, K extends keyof T>(from: T, names: readonly K[]): Pick<T, K> {
  return Object.fromEntries(names.flatMap((name) => (name in from ? [[name, from[name]]] : []))) as Pick<T, K>
}
