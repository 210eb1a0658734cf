/** The parts of Kubernetes' objects that are used, as the API has them in JSON: https://kubernetes.io/docs/reference/kubernetes-api/ */

export interface Meta {
  name: string
  namespace?: string
  uid?: string
  resourceVersion?: string
  /** Counts the changes of its spec: 1 is as it was made. */
  generation?: number
  labels?: Record<string, string>
  annotations?: Record<string, string>
  creationTimestamp?: string
  deletionTimestamp?: string
  deletionGracePeriodSeconds?: number
  finalizers?: string[]
  ownerReferences?: { apiVersion: string; kind: string; name: string; uid: string; controller?: boolean }[]
}

export interface EnvVar {
  name: string
  value: string
}

export interface Probe {
  exec?: { command: string[] }
  tcpSocket?: { port: number }
  httpGet?: { port: number; path: string }
  periodSeconds?: number
  timeoutSeconds?: number
  failureThreshold?: number
}

export interface SecurityContext {
  runAsNonRoot?: boolean
  runAsUser?: number
  runAsGroup?: number
  allowPrivilegeEscalation?: boolean
  privileged?: boolean
  readOnlyRootFilesystem?: boolean
  capabilities?: { add?: string[]; drop?: string[] }
  seccompProfile?: { type: string }
}

export interface Container {
  name: string
  image: string
  imagePullPolicy?: string
  command?: string[]
  args?: string[]
  workingDir?: string
  env?: EnvVar[]
  ports?: { containerPort: number }[]
  resources?: { requests?: Record<string, string>; limits?: Record<string, string> }
  volumeMounts?: { name: string; mountPath: string; readOnly?: boolean; subPath?: string }[]
  securityContext?: SecurityContext
  readinessProbe?: Probe
  startupProbe?: Probe
  lifecycle?: { preStop: { exec: { command: string[] } } }
  restartPolicy?: 'Always'
  terminationMessagePolicy?: string
}

/** Its source is one of many, each with fields of its own. */
export interface Volume {
  name: string
  [source: string]: unknown
}

export interface Toleration {
  key?: string
  operator?: 'Exists' | 'Equal'
  value?: string
  effect?: 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute'
  tolerationSeconds?: number
}

export interface HostAlias {
  ip: string
  hostnames: string[]
}

export interface PodSpec {
  containers: Container[]
  initContainers?: Container[]
  volumes?: Volume[]
  restartPolicy?: string
  nodeName?: string
  nodeSelector?: Record<string, string>
  affinity?: Record<string, unknown>
  tolerations?: Toleration[]
  topologySpreadConstraints?: Record<string, unknown>[]
  priorityClassName?: string
  runtimeClassName?: string
  serviceAccountName?: string
  automountServiceAccountToken?: boolean
  enableServiceLinks?: boolean
  shareProcessNamespace?: boolean
  imagePullSecrets?: { name: string }[]
  hostAliases?: HostAlias[]
  hostname?: string
  subdomain?: string
  activeDeadlineSeconds?: number
  terminationGracePeriodSeconds?: number
  securityContext?: Record<string, unknown>
  [more: string]: unknown
}

export interface TerminatedState {
  exitCode: number
  signal?: number
  reason?: string
  message?: string
  finishedAt?: string
}

export interface ContainerStatus {
  name: string
  ready?: boolean
  restartCount?: number
  state?: { waiting?: { reason?: string; message?: string }; running?: object; terminated?: TerminatedState }
  lastState?: { terminated?: TerminatedState }
}

export interface Condition {
  type: string
  status: string
  reason?: string
  message?: string
  lastTransitionTime?: string
}

export interface PodStatus {
  phase?: string
  reason?: string
  message?: string
  startTime?: string
  podIP?: string
  qosClass?: string
  conditions?: Condition[]
  containerStatuses?: ContainerStatus[]
  initContainerStatuses?: ContainerStatus[]
}

/** What is sent to make one. */
export interface PodManifest {
  apiVersion: 'v1'
  kind: 'Pod'
  metadata: Meta
  spec: PodSpec
}

export interface SecretManifest {
  apiVersion: 'v1'
  kind: 'Secret'
  metadata: Meta
  immutable?: boolean
  /** In base64, by key. */
  data: Record<string, string>
}

export interface Pod {
  metadata: Meta
  spec: PodSpec
  status?: PodStatus
  /** Of a worker that is a Job, seen as one Pod: `metadata` has the name and the uid of the Job then. */
  job?: JobPart
}

/** What of a Job's worker is the cluster's own to name. */
export interface JobPart {
  /** Absent: there is none, not yet or not any more. */
  pod?: { name: string; uid: string }
  /** What the Job gives its Pod, where that was looked at. */
  template?: Pick<Meta, 'labels' | 'annotations'>
}

export interface JobManifest {
  apiVersion: 'batch/v1'
  kind: 'Job'
  metadata: Meta
  spec: JobSpec
}

export interface JobSpec {
  completions?: number
  parallelism?: number
  backoffLimit?: number
  podReplacementPolicy?: 'Failed'
  template: { metadata?: Pick<Meta, 'labels' | 'annotations'>; spec: PodSpec }
}

export interface Job {
  metadata: Meta
  spec?: JobSpec
  status?: JobStatus
}

export interface JobStatus {
  startTime?: string
  active?: number
  succeeded?: number
  failed?: number
  terminating?: number
  conditions?: Condition[]
  /** Ended Pods that are not in the numbers yet. */
  uncountedTerminatedPods?: { succeeded?: string[]; failed?: string[] }
}

export interface JobList {
  metadata: { resourceVersion?: string; continue?: string }
  items: Job[]
}

/** Bounds what all objects of a namespace have together. */
export interface ResourceQuota {
  metadata: Meta
  spec?: { scopes?: string[]; scopeSelector?: unknown; hard?: Record<string, string> }
  status?: { hard?: Record<string, string>; used?: Record<string, string> }
}

export interface NamespaceObject {
  metadata: Meta
}

/** What a tenant's namespace is kept by. */
export type Kept =
  | { apiVersion: 'v1'; kind: 'Namespace'; metadata: Meta }
  | { apiVersion: 'v1'; kind: 'ResourceQuota'; metadata: Meta; spec: { hard: Record<string, string> } }
  | {
      apiVersion: 'v1'
      kind: 'LimitRange'
      metadata: Meta
      spec: { limits: { type: string; defaultRequest: Record<string, string> }[] }
    }
  | NetworkPolicy

export interface NodeObject {
  metadata: Meta
  spec?: { unschedulable?: boolean; taints?: { effect?: string }[] }
  status?: { allocatable?: Record<string, string>; conditions?: Condition[] }
}

export interface PodList {
  metadata: { resourceVersion?: string; continue?: string }
  items: Pod[]
}

export interface LabelSelector {
  matchLabels?: Record<string, string>
  matchExpressions?: { key: string; operator: 'In' | 'NotIn'; values: string[] }[]
}

/** All that is given must fit; an empty selector fits everything. */
export interface PolicyPeer {
  ipBlock?: { cidr: string }
  namespaceSelector?: LabelSelector
  podSelector?: LabelSelector
}

export interface PolicyPort {
  protocol: 'TCP' | 'UDP'
  port: number
}

export interface NetworkPolicy {
  apiVersion: 'networking.k8s.io/v1'
  kind: 'NetworkPolicy'
  metadata: Meta
  spec: {
    podSelector: LabelSelector
    policyTypes: ('Ingress' | 'Egress')[]
    ingress?: { from?: PolicyPeer[]; ports?: PolicyPort[] }[]
    egress?: { to?: PolicyPeer[]; ports?: PolicyPort[] }[]
  }
}

export interface ServiceManifest {
  apiVersion: 'v1'
  kind: 'Service'
  metadata: Meta
  spec: {
    clusterIP?: 'None'
    selector: Record<string, string>
    ports?: { name: string; port: number; targetPort: number; protocol: 'TCP' | 'UDP' }[]
  }
}

/** How many of some Pods an eviction leaves at least. */
export interface PodDisruptionBudget {
  apiVersion: 'policy/v1'
  kind: 'PodDisruptionBudget'
  metadata: Meta
  spec: { minAvailable: number; selector: LabelSelector }
}

/** What a pool or a worker has beside its Pods. */
export type Beside = NetworkPolicy | ServiceManifest | PodDisruptionBudget

/** An Event about an object; of a series only the last is kept. */
export interface ClusterEvent {
  involvedObject: { kind?: string; name?: string; uid?: string }
  type?: string
  reason?: string
  message?: string
  lastTimestamp?: string
  eventTime?: string
}
