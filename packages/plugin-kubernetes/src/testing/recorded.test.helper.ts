/** Statuses of Pods as a cluster of version 1.34 gave them, without what nobody reads. */
import type { ClusterEvent, Condition, ContainerStatus, PodStatus } from '../objects.ts'

export type RecordedName =
  | 'registryDown'
  | 'neverPull'
  | 'invalidImage'
  | 'noCpu'
  | 'noMemory'
  | 'noGpu'
  | 'noNode'
  | 'noNeighbour'
  | 'noClaim'
  | 'claimPending'
  | 'runsAsRoot'
  | 'noSecret'
  | 'mounting'
  | 'noProgram'
  | 'badWorkdir'
  | 'outOfMemory'
  | 'failed'
  | 'passed'
  | 'overdue'
  | 'diskFull'
  | 'serviceEnds'
  | 'serviceNotReady'
  | 'programFails'
  | 'notReady'
  | 'preempted'
  | 'drained'
  | 'tainted'
  | 'runs'

const scheduled: Condition = { type: 'PodScheduled', status: 'True' }

const worker = (state: ContainerStatus['state'] & object, ready = false): ContainerStatus => ({
  name: 'worker',
  ready,
  restartCount: 0,
  state,
})

const unschedulable = (message: string): PodStatus => ({
  phase: 'Pending',
  conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message }],
})

const disrupted = (reason: string, message: string): PodStatus => ({
  phase: 'Running',
  conditions: [scheduled, { type: 'DisruptionTarget', status: 'True', reason, message }],
  containerStatuses: [worker({ running: {} }, true)],
})

export const recorded: Readonly<Record<RecordedName, PodStatus>> = {
  registryDown: {
    phase: 'Pending',
    conditions: [scheduled],
    containerStatuses: [
      worker({
        waiting: {
          message:
            'Back-off pulling image "127.0.0.1:1/none:1": ErrImagePull: failed to pull and unpack image "127.0.0.1:1/none:1": failed to resolve reference "127.0.0.1:1/none:1": failed to do request: Head "http://127.0.0.1:1/v2/none/manifests/1": dial tcp 127.0.0.1:1: connect: connection refused',
          reason: 'ImagePullBackOff',
        },
      }),
    ],
  },
  neverPull: {
    phase: 'Pending',
    conditions: [scheduled],
    containerStatuses: [
      worker({
        waiting: {
          message: 'Container image "none/none:1" is not present with pull policy of Never',
          reason: 'ErrImageNeverPull',
        },
      }),
    ],
  },
  invalidImage: {
    phase: 'Pending',
    conditions: [scheduled],
    containerStatuses: [
      worker({
        waiting: {
          message:
            'Failed to apply default image tag "UPPER:::": couldn\'t parse image name "UPPER:::": invalid reference format: repository name (library/UPPER) must be lowercase',
          reason: 'InvalidImageName',
        },
      }),
    ],
  },
  noCpu: unschedulable(
    '0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.',
  ),
  noMemory: unschedulable(
    '0/1 nodes are available: 1 Insufficient memory. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.',
  ),
  noGpu: unschedulable(
    '0/1 nodes are available: 1 Insufficient nvidia.com/gpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.',
  ),
  noNode: unschedulable(
    "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
  ),
  noNeighbour: unschedulable(
    "0/1 nodes are available: 1 node(s) didn't match pod affinity rules. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
  ),
  noClaim: unschedulable('0/1 nodes are available: persistentvolumeclaim "none" not found. not found'),
  claimPending: unschedulable('0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found'),
  runsAsRoot: {
    phase: 'Pending',
    conditions: [scheduled],
    containerStatuses: [
      worker({
        waiting: {
          message:
            'container has runAsNonRoot and image will run as root (pod: "root_default(a21c6dfb-1fef-43d1-9509-ccf5d855281e)", container: worker)',
          reason: 'CreateContainerConfigError',
        },
      }),
    ],
  },
  noSecret: {
    phase: 'Pending',
    conditions: [scheduled],
    containerStatuses: [worker({ waiting: { message: 'secret "none" not found', reason: 'CreateContainerConfigError' } })],
  },
  mounting: {
    phase: 'Pending',
    conditions: [scheduled],
    containerStatuses: [worker({ waiting: { reason: 'ContainerCreating' } })],
  },
  noProgram: {
    phase: 'Failed',
    conditions: [scheduled],
    containerStatuses: [
      worker({
        terminated: {
          exitCode: 128,
          finishedAt: '2026-11-30T01:07:24Z',
          message:
            'failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: "/no/such": stat /no/such: no such file or directory: unknown',
          reason: 'StartError',
        },
      }),
    ],
  },
  badWorkdir: {
    phase: 'Failed',
    conditions: [scheduled],
    containerStatuses: [
      worker({
        terminated: {
          exitCode: 128,
          finishedAt: '2026-11-30T01:07:24Z',
          message:
            'failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: mkdir /etc/passwd: not a directory: unknown',
          reason: 'StartError',
        },
      }),
    ],
  },
  outOfMemory: {
    phase: 'Failed',
    conditions: [scheduled],
    containerStatuses: [worker({ terminated: { exitCode: 137, finishedAt: '2026-11-30T01:07:23Z', reason: 'OOMKilled' } })],
  },
  failed: {
    phase: 'Failed',
    conditions: [scheduled],
    containerStatuses: [worker({ terminated: { exitCode: 3, finishedAt: '2026-11-30T01:07:24Z', reason: 'Error' } })],
  },
  passed: {
    phase: 'Succeeded',
    conditions: [scheduled],
    containerStatuses: [worker({ terminated: { exitCode: 0, finishedAt: '2026-11-30T01:07:25Z', reason: 'Completed' } })],
  },
  overdue: {
    phase: 'Failed',
    conditions: [scheduled],
    reason: 'DeadlineExceeded',
    message: 'Pod was active on the node longer than the specified deadline',
    containerStatuses: [worker({ terminated: { exitCode: 137, finishedAt: '2026-11-30T01:07:28Z', reason: 'Error' } })],
  },
  diskFull: {
    phase: 'Failed',
    conditions: [scheduled],
    reason: 'Evicted',
    message: 'Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. ',
    containerStatuses: [worker({ terminated: { exitCode: 137, finishedAt: '2026-11-30T01:07:30Z', reason: 'Error' } })],
  },
  serviceEnds: {
    phase: 'Pending',
    conditions: [scheduled],
    initContainerStatuses: [
      {
        name: 's-db',
        restartCount: 2,
        state: { terminated: { exitCode: 1, finishedAt: '2026-11-30T01:07:45Z', reason: 'Error' } },
        lastState: { terminated: { exitCode: 1, finishedAt: '2026-11-30T01:07:26Z', reason: 'Error' } },
      },
    ],
    containerStatuses: [worker({ waiting: { reason: 'PodInitializing' } })],
  },
  serviceNotReady: {
    phase: 'Pending',
    conditions: [scheduled],
    initContainerStatuses: [
      {
        name: 's-db',
        restartCount: 2,
        state: { terminated: { exitCode: 137, finishedAt: '2026-11-30T01:07:39Z', reason: 'Error' } },
        lastState: { terminated: { exitCode: 137, finishedAt: '2026-11-30T01:07:34Z', reason: 'Error' } },
      },
    ],
    containerStatuses: [worker({ waiting: { reason: 'PodInitializing' } })],
  },
  programFails: {
    phase: 'Failed',
    conditions: [scheduled],
    initContainerStatuses: [
      {
        name: 'i-a',
        restartCount: 0,
        state: { terminated: { exitCode: 4, finishedAt: '2026-11-30T01:07:25Z', reason: 'Error' } },
      },
    ],
    containerStatuses: [worker({ waiting: { reason: 'PodInitializing' } })],
  },
  notReady: { phase: 'Running', conditions: [scheduled], containerStatuses: [worker({ running: {} })] },
  preempted: disrupted('PreemptionByScheduler', 'default-scheduler: preempting to accommodate a higher priority pod'),
  tainted: disrupted('DeletionByTaintManager', 'Taint manager: deleting due to NoExecute taint'),
  drained: disrupted('EvictionByEvictionAPI', 'Eviction API: evicting'),
  runs: { phase: 'Running', conditions: [scheduled], containerStatuses: [worker({ running: {} }, true)] },
}

/** The Event about the Pod `mounting`. */
export const mountFailed: ClusterEvent = {
  involvedObject: { kind: 'Pod', uid: 'uid' },
  type: 'Warning',
  reason: 'FailedMount',
  message: 'MountVolume.SetUp failed for volume "v" : secret "none" not found',
  lastTimestamp: '2026-11-30T01:07:36Z',
}
