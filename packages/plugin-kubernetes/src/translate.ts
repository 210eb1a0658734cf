/** From the contract's spec to a worker's Pod. Pure. */
import { fieldsOf, type Handle, type LaunchSpec, type PoolRef, type Resources, type SpecField } from '@muster/core'
import { drainLabels } from './pools/budget.ts'
import { literal, probeOf, pullPolicyOf, secondsOf } from './pod/containers.ts'
import { checkFiles, filesContainer, filesOf } from './pod/files.ts'
import { isMarked, annotationsOf, labelsOf, labelValue } from './labels.ts'
import { gateOf } from './network/gate.ts'
import { type GateConfig, nameOf, networkLabels } from './network/network.ts'
import type { Container, HostAlias, Meta, PodManifest, PodSpec } from './objects.ts'
import { overlay } from './pod/overlay.ts'
import { checkSecurity, isNobody, podSecurityOf, securityOf } from './pod/security.ts'
import { aliasesOf, beforeOf, checkServices } from './pod/services.ts'
import { type KubernetesSettings, refuse, settingsOf } from './settings.ts'
import { checkMounts, foldersOf, workdirOf } from './pod/volumes.ts'

/** The worker's own container among those of its Pod. */
export const workerContainer = 'worker'

/** The most bytes of environment. A kernel takes at most 128 KiB for one variable, its name and two more bytes included. */
export const envBytes: number = 120 * 1024

/** What Kubernetes itself gives a Pod. */
const GRACE_SECONDS = 30

/**
 * What holds a worker open. It ends at SIGTERM, but first hands the signal to every command inside (`kill -1` means all processes this
 * user may signal) and waits until none is left, so that they have the grace too. A shell sees a signal only between commands: hence `wait`.
 */
const holdScript = [
  'end() { trap "" TERM; kill -TERM -1; wait; while kill -0 -1; do sleep 0.1 || sleep 1; done; exit 0; }',
  'trap end TERM INT',
  'while sleep 2147483 & wait $!; do :; done',
  'exit 127',
].join('\n')

/** Refuses what no Pod could honour: a field as `unsupported` with its path, a value that cannot be as `invalid-spec`. */
export function checkSpec(spec: LaunchSpec, fields: readonly SpecField[]): void {
  for (const field of fieldsOf(spec))
    if (!fields.includes(field)) throw refuse('unsupported', field, 'this provider does not honour it')
  if (spec.work.mode === 'agent') throw refuse('unsupported', 'work.mode', 'a Kubernetes worker runs a command or holds')
  if (spec.image === undefined) throw refuse('invalid-spec', 'image', 'a Kubernetes worker needs an image')
  if (/^\s|\s$|^$/.test(spec.image)) throw refuse('invalid-spec', 'image', 'it is no name of an image')
  if (spec.os !== undefined && spec.os !== 'linux') throw refuse('unsupported', 'os', 'workers run on Linux nodes')
  if (spec.work.mode === 'command' && spec.work.command[0] === '')
    throw refuse('invalid-spec', 'work.command', 'a program has a name')
  const bytes = Object.entries(spec.env ?? {}).reduce((sum, pair) => sum + Buffer.byteLength(pair.join('')), 0)
  if (bytes > envBytes) throw refuse('invalid-spec', 'env', `names and values together are more than ${envBytes} bytes`)
  const settings = settingsOf(spec)
  checkLimits(spec, settings)
  checkSecurity(spec, settings)
  checkServices(spec, settings)
  checkMounts(spec, settings)
  checkFiles(spec)
}

/** What of its network a Pod's spec does not say. */
export interface PodNetwork {
  /** Before the services and the worker. */
  gate?: GateConfig | undefined
  /** Names that the worker knows without asking. */
  hosts?: readonly HostAlias[]
}

/** The Pod of a worker. Its name is the worker's id: a namespace gives each name once, which makes launch idempotent. */
export function podOf(spec: LaunchSpec, namespace: string, network: PodNetwork = {}): PodManifest {
  const settings = settingsOf(spec)
  const folders = foldersOf(spec, settings)
  const files = filesOf(spec, settings, folders)
  const before = [...files.containers, ...beforeOf(spec, settings, folders)]
  const pod: PodManifest = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: spec.id,
      namespace,
      labels: { ...labelsOf(spec), ...networkLabels(spec, settings), ...drainLabels(settings) },
      annotations: annotationsOf(spec),
    },
    spec: {
      containers: [workerOf(spec, settings, [...folders.mounts, ...files.mounts])],
      ...(before.length === 0 ? {} : { initContainers: before }),
      volumes: [...folders.volumes, ...files.volumes],
      // A worker stays listed with its exit until terminate.
      restartPolicy: 'Never',
      // Reaps orphans, and lets a command die of a signal: process 1 would not.
      shareProcessNamespace: true,
      enableServiceLinks: false,
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: settings.graceSeconds ?? GRACE_SECONDS,
      ...(spec.lifetimeMs === undefined ? {} : { activeDeadlineSeconds: secondsOf(spec.lifetimeMs) }),
      securityContext: podSecurityOf(spec, settings),
      ...nameOf(spec),
      ...aliasesOf(spec, network.hosts),
      ...placeOf(spec, settings),
      ...(settings.serviceAccount === undefined ? {} : { serviceAccountName: settings.serviceAccount }),
      ...(settings.pullSecrets === undefined ? {} : { imagePullSecrets: settings.pullSecrets.map((name) => ({ name })) }),
    },
  }
  return behindGate(asWorker(overlay(pod, settings)), network.gate)
}

const resourcesIn = ({ spec }: PodManifest): Container['resources'] =>
  spec.containers.find(({ name }) => name === workerContainer)?.resources

/** What copies its files has the resources of the worker, so that the Pod's quality of service and its sum are what they were. */
function asWorker(pod: PodManifest): PodManifest {
  const resources = resourcesIn(pod)
  const { initContainers } = pod.spec
  if (resources === undefined || initContainers === undefined) return pod
  const before = initContainers.map((one) => (one.name === filesContainer ? { resources, ...one } : one))
  return { ...pod, spec: { ...pod.spec, initContainers: before } }
}

/** Last, so that no template changes it: a second container of its name is refused. */
function behindGate(pod: PodManifest, gate: GateConfig | undefined): PodManifest {
  if (gate === undefined) return pod
  const resources = resourcesIn(pod)
  return { ...pod, spec: { ...pod.spec, initContainers: [gateOf(gate, resources), ...(pod.spec.initContainers ?? [])] } }
}

function workerOf(spec: LaunchSpec, settings: KubernetesSettings, volumeMounts: Container['volumeMounts']): Container {
  const { work, env = {}, readiness } = spec
  const program = work.mode === 'command' ? work.command : ['/bin/sh', '-c', holdScript]
  // Of the image's folders nothing belongs to a user of our choice.
  const home = isNobody(spec, settings) ? { HOME: '/tmp' } : {}
  const ports = spec.network?.ports ?? []
  return {
    name: workerContainer,
    image: spec.image ?? '',
    imagePullPolicy: pullPolicyOf(settings),
    // Nothing of the image's own is put before or behind.
    command: program.map(literal),
    args: [],
    workingDir: workdirOf(spec),
    env: Object.entries({ ...home, ...env }).map(([name, value]) => ({ name, value: literal(value) })),
    ...(ports.length === 0 ? {} : { ports: ports.map((containerPort) => ({ containerPort })) }),
    ...resourcesOf(spec, settings),
    ...(volumeMounts === undefined ? {} : { volumeMounts }),
    securityContext: securityOf(spec, settings),
    ...(readiness === undefined ? {} : { readinessProbe: probeOf(readiness) }),
    ...(settings.preStop === undefined ? {} : { lifecycle: { preStop: { exec: { command: settings.preStop } } } }),
  }
}

function checkLimits({ resources = {} }: LaunchSpec, { limits = {} }: KubernetesSettings): void {
  for (const name of ['cpu', 'memoryBytes', 'diskBytes'] as const) {
    const most = limits[name]
    if (typeof most === 'number' && most < (resources[name] ?? 0))
      throw refuse('invalid-spec', `settings.limits.${name}`, 'a limit is no less than what is reserved')
  }
}

/** What is reserved is also the most that it may use, unless the pool says otherwise: then neighbours do not matter. */
function resourcesOf({ resources = {} }: LaunchSpec, settings: KubernetesSettings): Pick<Container, 'resources'> {
  const { limits: most = {}, extended = {}, gpu = 'nvidia.com/gpu' } = settings
  const { cpu, memoryBytes, diskBytes, gpus } = resources
  const requests: Record<string, string> = {}
  const limits: Record<string, string> = {}
  const put = (name: string, asked: string | undefined, limit: string | undefined): void => {
    if (asked !== undefined) requests[name] = asked
    if (limit !== undefined) limits[name] = limit
  }
  const limitOf = (asked: number | undefined, given: number | 'none' | undefined): number | undefined =>
    given === 'none' ? undefined : (given ?? asked)
  put('cpu', map(cpu, millis), map(limitOf(cpu, most.cpu), millis))
  put('memory', map(memoryBytes, String), map(limitOf(memoryBytes, most.memoryBytes), String))
  put('ephemeral-storage', map(diskBytes, String), map(limitOf(diskBytes, most.diskBytes), String))
  put(gpu, map(gpus, String), map(gpus, String))
  for (const [name, count] of Object.entries(extended)) put(name, String(count), String(count))
  if (Object.keys(requests).length + Object.keys(limits).length === 0) return {}
  return { resources: { requests, limits } }
}

function map<T, R>(value: T | undefined, to: (value: T) => R): R | undefined {
  return value === undefined ? undefined : to(value)
}

/** A cluster counts processors in thousandths. What binary fractions add at the end is no part of what was asked. */
function millis(cpu: number): string {
  return `${Math.ceil(cpu * 1000 - 1e-6)}m`
}

/** What is really given, where it is more than was asked. */
export function grantedOf({ resources }: LaunchSpec): Resources | undefined {
  const cpu = map(resources?.cpu, (asked) => Math.ceil(asked * 1000 - 1e-6) / 1000)
  return cpu === undefined || cpu === resources?.cpu ? undefined : { ...resources, cpu }
}

/** Where the Pod may run, and before whom. */
export function placeOf(
  { arch, tags }: Pick<LaunchSpec, 'arch'> & Pick<PoolRef, 'tags'>,
  settings: KubernetesSettings,
): Partial<PodSpec> {
  const { nodeSelector = {}, affinity, tolerations, spread, priorityClass, runtimeClass } = settings
  const selector = {
    ...nodeSelector,
    // A cluster may have nodes of another system, which no worker knows.
    'kubernetes.io/os': 'linux',
    ...(arch === undefined ? {} : { 'kubernetes.io/arch': arch }),
  }
  const pool = { 'muster-owner': labelValue(tags['muster-owner']), 'muster-pool': labelValue(tags['muster-pool']) }
  return {
    nodeSelector: selector,
    ...(affinity === undefined ? {} : { affinity }),
    ...(tolerations === undefined ? {} : { tolerations: [...tolerations] }),
    ...(priorityClass === undefined ? {} : { priorityClassName: priorityClass }),
    ...(runtimeClass === undefined ? {} : { runtimeClassName: runtimeClass }),
    ...(spread === undefined
      ? {}
      : {
          topologySpreadConstraints: spread.map(({ topologyKey, maxSkew = 1, hard = false }) => ({
            topologyKey,
            maxSkew,
            whenUnsatisfiable: hard ? 'DoNotSchedule' : 'ScheduleAnyway',
            labelSelector: { matchLabels: pool },
          })),
        }),
  }
}

/** A reference to a Pod: found by its name alone, its uid tells it from a later one of the same name. */
export function handleOf(metadata: Meta): Handle {
  const { uid = '' } = metadata
  return { v: 1, data: { uid, ...(isMarked(metadata) ? { marked: true } : {}) } }
}

/** Is it to be told who holds it? Undefined: only its Pod knows. */
export function isMarkedBy(handle: Handle | undefined): boolean | undefined {
  return handle === undefined ? undefined : (handle.data as { marked?: unknown } | null)?.marked === true
}

/** The uid in a handle; undefined where it has none. */
export function uidOf(handle: Handle | undefined): string | undefined {
  const uid = (handle?.data as { uid?: unknown } | undefined)?.uid
  return typeof uid === 'string' ? uid : undefined
}
