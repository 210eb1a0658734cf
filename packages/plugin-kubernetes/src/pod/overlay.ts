/** A pool's `settings.template` laid over the Pod that Muster makes: a strategic merge with parts that stay as they are. Pure. */
import type { PodManifest } from '../objects.ts'
import { type KubernetesSettings, refuse } from '../settings.ts'

/** Lists that are merged item by item, by this field; all others are replaced. As Kubernetes' own patch merge keys have it. */
const mergeKeys: Readonly<Record<string, string>> = {
  containers: 'name',
  initContainers: 'name',
  volumes: 'name',
  env: 'name',
  volumeMounts: 'mountPath',
  imagePullSecrets: 'name',
  hostAliases: 'ip',
  topologySpreadConstraints: 'topologyKey',
}

/** What Muster stands on, by path from the Pod; `*` is any item of a list of ours. */
const needed: readonly string[] = [
  ...['apiVersion', 'kind', 'metadata.name', 'metadata.namespace', 'metadata.ownerReferences', 'metadata.finalizers'],
  ...['spec.restartPolicy', 'spec.activeDeadlineSeconds', 'spec.shareProcessNamespace', 'spec.nodeName'],
  ...['spec.containers.*.image', 'spec.containers.*.command', 'spec.containers.*.args', 'spec.containers.*.workingDir'],
  ...['spec.containers.*.tty', 'spec.containers.*.stdin', 'spec.initContainers.*.restartPolicy'],
  // What ended may not begin anew.
  ...['spec.containers.*.restartPolicy', 'spec.containers.*.restartPolicyRules', 'spec.initContainers.*.restartPolicyRules'],
]

/** What only a pool whose level is `privileged` may change. */
const guarded: readonly string[] = [
  ...['spec.hostNetwork', 'spec.hostPID', 'spec.hostIPC', 'spec.hostUsers', 'spec.securityContext'],
  ...['spec.serviceAccountName', 'spec.serviceAccount', 'spec.automountServiceAccountToken'],
  ...['spec.containers.*.securityContext', 'spec.initContainers.*.securityContext'],
]

/** The Pod with the template laid over it. A part that is protected is `unsupported`, named by its path. */
export function overlay(pod: PodManifest, settings: KubernetesSettings): PodManifest {
  const { template, security } = settings
  if (template === undefined) return pod
  const other = Object.keys(template).find((name) => name !== 'metadata' && name !== 'spec')
  if (other !== undefined) throw refuse('unsupported', `settings.template.${other}`, 'a template has metadata and spec')
  const merged = merge(pod, template, '') as PodManifest
  for (const path of [...needed, ...(security === 'privileged' ? [] : guarded)]) keep(pod, merged, path)
  keepLabels(pod, merged)
  if (security !== 'privileged') keepVolumes(pod, merged)
  return security === 'privileged' ? merged : hardened(pod, merged)
}

type Fields = Record<string, unknown>

const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value)

/** `null` takes a field away, as in every merge patch. */
function merge(base: unknown, patch: unknown, name: string): unknown {
  const key = mergeKeys[name]
  if (Array.isArray(patch)) {
    if (key === undefined || !Array.isArray(base)) return patch
    return mergeItems(base as Fields[], patch as Fields[], key)
  }
  if (!isFields(patch)) return patch
  const merged: Fields = isFields(base) ? { ...base } : {}
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) delete merged[field]
    else merged[field] = merge(merged[field], value, field)
  }
  return merged
}

function mergeItems(base: readonly Fields[], patch: readonly Fields[], key: string): Fields[] {
  const left = new Map(patch.map((item) => [item[key], item]))
  const merged = base.map((item) => {
    const over = left.get(item[key])
    left.delete(item[key])
    return over === undefined ? item : (merge(item, over, '') as Fields)
  })
  return [...merged, ...left.values()]
}

/** Items of lists are matched by name: those that the template adds are its own. */
function keep(before: unknown, after: unknown, path: string): void {
  const look = (left: unknown, right: unknown, [part, ...rest]: readonly string[]): boolean => {
    if (part === undefined) return JSON.stringify(left) === JSON.stringify(right)
    if (part !== '*') return look((left as Fields | undefined)?.[part], (right as Fields | undefined)?.[part], rest)
    const own = (left ?? []) as Fields[]
    const others = (right ?? []) as Fields[]
    return own.every((item) =>
      look(
        item,
        others.find(({ name }) => name === item['name']),
        rest,
      ),
    )
  }
  if (!look(before, after, path.split('.')))
    throw refuse('unsupported', `settings.template.${path}`, 'this is not a template’s to say')
}

function keepLabels(before: PodManifest, after: PodManifest): void {
  for (const kind of ['labels', 'annotations'] as const)
    for (const [name, value] of Object.entries(before.metadata[kind] ?? {}))
      if (after.metadata[kind]?.[name] !== value)
        throw refuse('unsupported', `settings.template.metadata.${kind}.${name}`, 'this is not a template’s to say')
}

/** Folders of the node are its own. */
function keepVolumes({ spec }: PodManifest, after: PodManifest): void {
  const ours = new Set((spec.volumes ?? []).map((volume) => JSON.stringify(volume)))
  for (const volume of after.spec.volumes ?? [])
    if (volume['hostPath'] !== undefined)
      throw refuse(
        'unsupported',
        `settings.template.spec.volumes.${volume.name}.hostPath`,
        'it needs settings.security: privileged',
      )
    else ours.delete(JSON.stringify(volume))
  const [changed] = ours
  if (changed !== undefined)
    throw refuse('unsupported', 'settings.template.spec.volumes', 'a volume of the worker stays as it is')
}

/** Containers of the template have as little power as those of ours. */
function hardened(before: PodManifest, after: PodManifest): PodManifest {
  const harden = (list: 'containers' | 'initContainers'): object => {
    const own = new Set((before.spec[list] ?? []).map(({ name }) => name))
    const items = after.spec[list]?.map((item) => {
      if (own.has(item.name)) return item
      if (item.securityContext !== undefined)
        throw refuse(
          'unsupported',
          `settings.template.spec.${list}.${item.name}.securityContext`,
          'it needs settings.security: privileged',
        )
      const securityContext = { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } }
      return { ...item, securityContext }
    })
    return items === undefined ? {} : { [list]: items }
  }
  return { ...after, spec: { ...after.spec, ...harden('containers'), ...harden('initContainers') } }
}
