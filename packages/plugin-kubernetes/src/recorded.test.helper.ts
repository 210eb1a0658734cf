/** Statuses of Pods as a cluster of version 1.34 gave them, without what nobody reads. */
import type { ClusterEvent, PodStatus } from './objects.ts'

export const recorded = {
  registryDown: {
    phase: 'Pending',
    conditions: [{ type: 'PodScheduled', status: 'True' }],
    containerStatuses: [
      {
        name: 'worker',
        restartCount: 0,
        state: {
          waiting: {
            message:
              'Back-off pulling image "127.0.0.1:1/none:1": ErrImagePull: failed to pull and unpack image "127.0.0.1:1/none:1": failed to resolve reference "127.0.0.1:1/none:1": failed to do request: Head "http://127.0.0.1:1/v2/none/manifests/1": dial tcp 127.0.0.1:1: connect: connection refused',
            reason: 'ImagePullBackOff',
          },
        },
      },
    ],
  },
  neverPull: {
    phase: 'Pending',
    conditions: [{ type: 'PodScheduled', status: 'True' }],
    containerStatuses: [
      {
        name: 'worker',
        restartCount: 0,
        state: {
          waiting: {
            message: 'Container image "none/none:1" is not present with pull policy of Never',
            reason: 'ErrImageNeverPull',
          },
        },
      },
    ],
  },
  invalidImage: {
    phase: 'Pending',
    conditions: [{ type: 'PodScheduled', status: 'True' }],
    containerStatuses: [
      {
        name: 'worker',
        restartCount: 0,
        state: {
          waiting: {
            message:
              'Failed to apply default image tag "UPPER:::": couldn\'t parse image name "UPPER:::": invalid reference format: repository name (library/UPPER) must be lowercase',
            reason: 'InvalidImageName',
          },
        },
      },
    ],
  },
  noCpu: {
    phase: 'Pending',
    conditions: [
      {
        type: 'PodScheduled',
        status: 'False',
        reason: 'Unschedulable',
        message:
          '0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.',
      },
    ],
  },
  noMemory: {
    phase: 'Pending',
    conditions: [
      {
        type: 'PodScheduled',
        status: 'False',
        reason: 'Unschedulable',
        message:
          '0/1 nodes are available: 1 Insufficient memory. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.',
      },
    ],
  },
  noGpu: {
    phase: 'Pending',
    conditions: [
      {
        type: 'PodScheduled',
        status: 'False',
        reason: 'Unschedulable',
        message:
          '0/1 nodes are available: 1 Insufficient nvidia.com/gpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.',
      },
    ],
  },
  noNode: {
    phase: 'Pending',
    conditions: [
      {
        type: 'PodScheduled',
        status: 'False',
        reason: 'Unschedulable',
        message:
          "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
      },
    ],
  },
  noNeighbour: {
    phase: 'Pending',
    conditions: [
      {
        type: 'PodScheduled',
        status: 'False',
        reason: 'Unschedulable',
        message:
          "0/1 nodes are available: 1 node(s) didn't match pod affinity rules. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
      },
    ],
  },
  noClaim: {
    phase: 'Pending',
    conditions: [
      {
        type: 'PodScheduled',
        status: 'False',
        reason: 'Unschedulable',
        message: '0/1 nodes are available: persistentvolumeclaim "none" not found. not found',
      },
    ],
  },
  claimPending: {
    phase: 'Pending',
    conditions: [
      {
        type: 'PodScheduled',
        status: 'False',
        reason: 'Unschedulable',
        message: '0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found',
      },
    ],
  },
  runsAsRoot: {
    phase: 'Pending',
    conditions: [{ type: 'PodScheduled', status: 'True' }],
    containerStatuses: [
      {
        name: 'worker',
        restartCount: 0,
        state: {
          waiting: {
            message:
              'container has runAsNonRoot and image will run as root (pod: "root_default(a21c6dfb-1fef-43d1-9509-ccf5d855281e)", container: worker)',
            reason: 'CreateContainerConfigError',
          },
        },
      },
    ],
  },
  noSecret: {
    phase: 'Pending',
    conditions: [{ type: 'PodScheduled', status: 'True' }],
    containerStatuses: [
      {
        name: 'worker',
        restartCount: 0,
        state: { waiting: { message: 'secret "none" not found', reason: 'CreateContainerConfigError' } },
      },
    ],
  },
  mounting: {
    phase: 'Pending',
    conditions: [{ type: 'PodScheduled', status: 'True' }],
    containerStatuses: [{ name: 'worker', restartCount: 0, state: { waiting: { reason: 'ContainerCreating' } } }],
  },
  noProgram: {
    phase: 'Failed',
    conditions: [{ type: 'PodScheduled', status: 'True' }],
    containerStatuses: [
      {
        name: 'worker',
        restartCount: 0,
        state: {
          terminated: {
            exitCode: 128,
            finishedAt: '2026-11-30T01:07:24Z',
            message:
              'failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: "/no/such": stat /no/such: no such file or directory: unknown',
            reason: 'StartError',
          },
        },
      },
    ],
  },
  badWorkdir: {
    phase: 'Failed',
    conditions: [{ type: 'PodScheduled', status: 'True' }],
    containerStatuses: [
      {
        name: 'worker',
        restartCount: 0,
        state: {
          terminated: {
            exitCode: 128,
            finishedAt: '2026-11-30T01:07:24Z',
            message:
              'failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: mkdir /etc/passwd: not a directory: unknown',
            reason: 'StartError',
          },
        },
      },
    ],
  },
  outOfMemory: {
    phase: 'Failed',
    conditions: [{ type: 'PodScheduled', status: 'True' }],
    containerStatuses: [
      {
        name: 'worker',
        restartCount: 0,
        state: { terminated: { exitCode: 137, finishedAt: '2026-11-30T01:07:23Z', reason: 'OOMKilled' } },
      },
    ],
  },
  failed: {
    phase: 'Failed',
    conditions: [{ type: 'PodScheduled', status: 'True' }],
    containerStatuses: [
      {
        name: 'worker',
        restartCount: 0,
        state: { terminated: { exitCode: 3, finishedAt: '2026-11-30T01:07:24Z', reason: 'Error' } },
      },
    ],
  },
  passed: {
    phase: 'Succeeded',
    conditions: [{ type: 'PodScheduled', status: 'True' }],
    containerStatuses: [
      {
        name: 'worker',
        restartCount: 0,
        state: { terminated: { exitCode: 0, finishedAt: '2026-11-30T01:07:25Z', reason: 'Completed' } },
      },
    ],
  },
  overdue: {
    phase: 'Failed',
    reason: 'DeadlineExceeded',
    message: 'Pod was active on the node longer than the specified deadline',
    conditions: [{ type: 'PodScheduled', status: 'True' }],
    containerStatuses: [
      {
        name: 'worker',
        restartCount: 0,
        state: { terminated: { exitCode: 137, finishedAt: '2026-11-30T01:07:28Z', reason: 'Error' } },
      },
    ],
  },
  diskFull: {
    phase: 'Failed',
    reason: 'Evicted',
    message: 'Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. ',
    conditions: [{ type: 'PodScheduled', status: 'True' }],
    containerStatuses: [
      {
        name: 'worker',
        restartCount: 0,
        state: { terminated: { exitCode: 137, finishedAt: '2026-11-30T01:07:30Z', reason: 'Error' } },
      },
    ],
  },
  serviceEnds: {
    phase: 'Pending',
    conditions: [{ type: 'PodScheduled', status: 'True' }],
    initContainerStatuses: [
      {
        name: 's-db',
        restartCount: 2,
        state: { terminated: { exitCode: 1, finishedAt: '2026-11-30T01:07:45Z', reason: 'Error' } },
        lastState: { terminated: { exitCode: 1, finishedAt: '2026-11-30T01:07:26Z', reason: 'Error' } },
      },
    ],
    containerStatuses: [{ name: 'worker', restartCount: 0, state: { waiting: { reason: 'PodInitializing' } } }],
  },
  serviceNotReady: {
    phase: 'Pending',
    conditions: [{ type: 'PodScheduled', status: 'True' }],
    initContainerStatuses: [
      {
        name: 's-db',
        restartCount: 2,
        state: { terminated: { exitCode: 137, finishedAt: '2026-11-30T01:07:39Z', reason: 'Error' } },
        lastState: { terminated: { exitCode: 137, finishedAt: '2026-11-30T01:07:34Z', reason: 'Error' } },
      },
    ],
    containerStatuses: [{ name: 'worker', restartCount: 0, state: { waiting: { reason: 'PodInitializing' } } }],
  },
  programFails: {
    phase: 'Failed',
    conditions: [{ type: 'PodScheduled', status: 'True' }],
    initContainerStatuses: [
      {
        name: 'i-a',
        restartCount: 0,
        state: { terminated: { exitCode: 4, finishedAt: '2026-11-30T01:07:25Z', reason: 'Error' } },
      },
    ],
    containerStatuses: [{ name: 'worker', restartCount: 0, state: { waiting: { reason: 'PodInitializing' } } }],
  },
  notReady: {
    phase: 'Running',
    conditions: [{ type: 'PodScheduled', status: 'True' }],
    containerStatuses: [{ name: 'worker', restartCount: 0, state: { running: {} } }],
  },
  preempted: {
    phase: 'Running',
    conditions: [
      { type: 'PodScheduled', status: 'True' },
      {
        type: 'DisruptionTarget',
        status: 'True',
        reason: 'PreemptionByScheduler',
        message: 'default-scheduler: preempting to accommodate a higher priority pod',
      },
    ],
    containerStatuses: [{ name: 'worker', ready: true, restartCount: 0, state: { running: {} } }],
  },
  drained: {
    phase: 'Running',
    conditions: [
      { type: 'PodScheduled', status: 'True' },
      { type: 'DisruptionTarget', status: 'True', reason: 'EvictionByEvictionAPI', message: 'Eviction API: evicting' },
    ],
    containerStatuses: [{ name: 'worker', ready: true, restartCount: 0, state: { running: {} } }],
  },
  runs: {
    phase: 'Running',
    conditions: [{ type: 'PodScheduled', status: 'True' }],
    containerStatuses: [{ name: 'worker', ready: true, restartCount: 0, state: { running: {} } }],
  },
} satisfies Record<string, PodStatus>

/** The Event about the Pod `mounting`. */
export const mountFailed: ClusterEvent = {
  involvedObject: { kind: 'Pod', uid: 'uid' },
  type: 'Warning',
  reason: 'FailedMount',
  message: 'MountVolume.SetUp failed for volume "v" : secret "none" not found',
  lastTimestamp: '2026-11-30T01:07:36Z',
}
