import type { OwnerTags } from '@muster/core'
import { expect, test } from 'vitest'
import type { ClusterEvent, Condition, Pod, PodStatus } from '../objects.ts'
import { briefOf } from './brief.ts'
import { LOST_MS, needsEvents, observe } from './observe.ts'
import { mountFailed, recorded } from '../testing/recorded.test.helper.ts'

const id = 'w00000000000000000000000001'
const tags: OwnerTags = {
  'muster-owner': 'owner',
  'muster-provider': 'kubernetes',
  'muster-pool': 'pool',
  'muster-worker': id,
  'muster-epoch': '1',
}

function podOf(status: PodStatus, deletionTimestamp?: string): Pod {
  return {
    metadata: { name: id, uid: 'uid', ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }) },
    spec: { containers: [{ name: 'worker', image: 'x', resources: { limits: { memory: '16Mi' } } }], nodeName: 'node' },
    status,
  }
}

/** Some seconds after what was recorded. */
const now = Date.parse('2026-11-30T01:08:30Z')
const seen = (status: PodStatus, events?: readonly ClusterEvent[]): ReturnType<typeof observe> => {
  const pod = podOf(status)
  const whole = observe(pod, tags, { now, events })
  // What a watch keeps of it says the same.
  expect(observe(briefOf(pod), tags, { now, events })).toEqual(whole)
  return whole
}

test.each([
  ['registryDown', { code: 'transient', final: false }, /connection refused/],
  ['neverPull', { code: 'unsupported', final: true }, /must not pull it/],
  ['invalidImage', { code: 'invalid-spec', final: true }, /repository name .* must be lowercase/],
  ['noCpu', { code: 'capacity', final: false }, /^no node takes it: 0\/1 nodes are available: 1 Insufficient cpu$/],
  ['noMemory', { code: 'capacity', final: false }, /Insufficient memory$/],
  ['noGpu', { code: 'capacity', final: false }, /Insufficient nvidia\.com\/gpu$/],
  ['noNode', { code: 'capacity', final: false }, /didn't match Pod's node affinity\/selector$/],
  ['noNeighbour', { code: 'capacity', final: false }, /didn't match pod affinity rules$/],
  ['noClaim', { code: 'invalid-spec', final: true }, /persistentvolumeclaim "none" not found/],
  ['claimPending', { code: 'capacity', final: false }, /unbound immediate PersistentVolumeClaims/],
  ['runsAsRoot', { code: 'invalid-spec', final: true }, /image will run as root/],
  ['noSecret', { code: 'invalid-spec', final: false }, /secret "none" not found/],
  ['serviceEnds', { code: 'invalid-spec', final: true }, /^the service db does not get ready: it ended with code 1$/],
  ['serviceNotReady', { code: 'invalid-spec', final: true }, /^the service db does not get ready: it ended with code 137$/],
] as const)('%s: the problem is %j', (name, problem, message) => {
  const { phase, ready, problem: told, exit } = seen(recorded[name])
  expect({ phase, ready, exit }).toEqual({ phase: 'provisioning', ready: false, exit: undefined })
  expect(told).toEqual({ ...problem, message: expect.stringMatching(message) as string })
})

test.each([
  ['unauthorized: authentication required', 'auth', true],
  ['pull access denied, repository does not exist or may require authorization', 'auth', true],
  ['unexpected status: 401 Unauthorized', 'auth', true],
  ['registry.example/a:2: not found', 'invalid-spec', true],
  ['toomanyrequests: You have reached your pull rate limit', 'throttled', false],
  ['no match for platform in manifest: not found', 'unsupported', true],
  ['tls: failed to verify certificate: x509: unknown authority', 'unsupported', true],
  ['dial tcp: lookup registry.example: i/o timeout', 'transient', false],
  ['write /layer: no space left on device', 'capacity', false],
] as const)('a pull that fails with %j is %s, final %s', (message, code, final) => {
  const waiting = { reason: 'ErrImagePull', message }
  const status = { ...recorded.registryDown, containerStatuses: [{ name: 'worker', state: { waiting } }] }
  expect(seen(status).problem).toMatchObject({ code, final })
})

test('what is on its way is no problem, and only then Events are asked for', () => {
  expect(seen(recorded.mounting).problem).toBeUndefined()
  expect(needsEvents(podOf(recorded.mounting), now)).toBe(true)
  for (const name of ['noCpu', 'registryDown', 'runs', 'passed'] as const)
    expect({ name, needs: needsEvents(podOf(recorded[name]), now) }).toEqual({ name, needs: false })
})

test('what Events tell of a Pod in the making is its problem', () => {
  expect(seen(recorded.mounting, [mountFailed]).problem).toEqual({
    code: 'invalid-spec',
    final: false,
    message: 'a volume is not mounted: MountVolume.SetUp failed for volume "v" : secret "none" not found',
  })
  const attach = { ...mountFailed, reason: 'FailedAttachVolume', message: 'timed out', lastTimestamp: '2026-11-30T01:08:00Z' }
  expect(seen(recorded.mounting, [attach, mountFailed]).problem).toMatchObject({ code: 'transient', final: false })
  expect(seen(recorded.mounting, [{ ...mountFailed, reason: 'Unhealthy' }]).problem).toBeUndefined()
  // Tried again since, and not failed.
  expect(seen(recorded.mounting, [{ ...mountFailed, lastTimestamp: '2026-11-30T01:05:00Z' }]).problem).toBeUndefined()
})

test.each([
  ['passed', { code: 0, reason: 'exited with code 0' }],
  ['failed', { code: 3, reason: 'exited with code 3' }],
  ['outOfMemory', { code: 137, signal: 'SIGKILL', oomKilled: true, reason: 'out of memory: it reached its limit of 16Mi' }],
  // What a command answers to its end by others is no exit code of its own.
  ['overdue', { reason: 'its lifetime is over: Pod was active on the node longer than the specified deadline' }],
  ['diskFull', { reason: 'evicted: Pod ephemeral local storage usage exceeds the total limit of containers 10Mi.' }],
] as const)('%s ends as what it was', (name, exit) => {
  const { phase, problem, exit: told } = seen(recorded[name])
  const { at, ...rest } = told ?? {}
  expect({ phase, problem, exit: rest }).toEqual({ phase: 'exited', problem: undefined, exit })
  expect(at).toMatch(/^2026-11-30T01:07:\d\d\.000Z$/)
})

test.each([
  ['noProgram', /^the command does not start: .*no such file or directory/],
  ['badWorkdir', /^the command does not start: .*not a directory/],
  ['programFails', /^the program a before it ended with code 4$/],
] as const)('%s: the command never began, so that there is no exit code', (name, message) => {
  const { phase, problem, exit } = seen(recorded[name])
  expect(phase).toBe('exited')
  expect(problem).toMatchObject({ code: 'invalid-spec', final: true, message: expect.stringMatching(message) as string })
  expect(exit?.code).toBeUndefined()
  expect(exit?.reason).toMatch(message)
})

test('a worker is ready as its own container is', () => {
  expect(seen(recorded.runs)).toMatchObject({ phase: 'running', ready: true, part: 'node' })
  expect(seen(recorded.notReady)).toMatchObject({ phase: 'running', ready: false })
})

test('one that is deleted stops, and its disruption is told before it ends', () => {
  expect(observe(podOf(recorded.runs, '2026-11-30T01:10:00Z'), tags, { now })).toMatchObject({ phase: 'stopping', ready: false })
  expect(observe(podOf(recorded.preempted, '2026-11-30T01:10:00Z'), tags, { now })).toMatchObject({
    phase: 'stopping',
    problem: { code: 'capacity', final: true, message: expect.stringMatching(/^preempted: /) as string },
  })
  expect(seen(recorded.drained)).toMatchObject({
    phase: 'running',
    problem: { code: 'transient', final: true, message: expect.stringMatching(/^evicted: its node is drained: /) as string },
  })
})

test('one whose node is tainted is told apart from one whose node is silent, also once it has ended', () => {
  const message = 'Taint manager: deleting due to NoExecute taint'
  const taken = recorded.tainted
  const problem = (why: string): object => ({ problem: { code: 'transient', final: true, message: `${why}: ${message}` } })
  const until = '2026-11-30T01:10:00Z'
  expect(observe(podOf(taken, until), tags, { now })).toMatchObject({
    phase: 'stopping',
    ...problem('evicted: its node is tainted'),
  })
  const silent: Condition[] = [
    { type: 'Ready', status: 'False' },
    { type: 'ContainersReady', status: 'True' },
  ]
  const conditions = [...(taken.conditions ?? []), ...silent]
  expect(observe(podOf({ ...taken, conditions }, until), tags, { now })).toMatchObject(problem('its node is lost'))
  const ended = [{ name: 'worker', state: { terminated: { exitCode: 143, reason: 'Error' } } }]
  const { exit } = seen({ ...taken, phase: 'Failed', containerStatuses: ended })
  expect(exit).toEqual({ reason: `evicted: its node is tainted: ${message}` })
})

test('one whose node is gone is lost, without an exit code', () => {
  const condition = {
    type: 'DisruptionTarget',
    status: 'True',
    reason: 'DeletionByPodGC',
    message: 'PodGC: node no longer exists',
  }
  const gone = seen({ ...recorded.runs, phase: 'Failed', conditions: [condition] })
  expect(gone).toMatchObject({ phase: 'lost', exit: { reason: expect.stringMatching(/^lost: its node is gone/) as string } })
  const unknown = { exitCode: 137, reason: 'ContainerStatusUnknown', message: 'The container could not be located' }
  const status = { ...recorded.runs, phase: 'Failed', containerStatuses: [{ name: 'worker', state: { terminated: unknown } }] }
  expect(seen(status).exit?.code).toBeUndefined()
  expect(seen(status).phase).toBe('lost')
})

test('one whose node does not end it is lost a while after its grace, and not before', () => {
  const until = '2026-11-30T01:10:00Z'
  const after = (ms: number, status = recorded.runs): ReturnType<typeof observe> =>
    observe(podOf(status, until), tags, { now: Date.parse(until) + ms })
  expect(after(LOST_MS - 1)).toMatchObject({ phase: 'stopping' })
  expect(after(LOST_MS)).toMatchObject({ phase: 'lost', ready: false, exit: { reason: 'lost: its node does not answer' } })
  expect(after(LOST_MS, recorded.mounting)).toMatchObject({ phase: 'lost' })
  expect(after(LOST_MS).exit?.code).toBeUndefined()
  // Only somebody's finalizer holds this one.
  expect(after(LOST_MS, recorded.passed)).toMatchObject({ phase: 'stopping' })
})

test('one whose node is silent is not ready, and says so', () => {
  const conditions = [
    { type: 'ContainersReady', status: 'True' },
    { type: 'Ready', status: 'False' },
  ]
  expect(seen({ ...recorded.runs, conditions })).toMatchObject({
    phase: 'running',
    ready: false,
    problem: { code: 'transient', message: 'its node does not answer', final: false },
  })
})

test('a lifetime that ends before the worker began is that, whatever else was in its way', () => {
  const over = { ...recorded.overdue, containerStatuses: [] }
  const exit = { reason: 'its lifetime is over: Pod was active on the node longer than the specified deadline' }
  const killed = { name: 's-db', restartCount: 0, state: { terminated: { exitCode: 137 } } }
  const unknown = { name: 'worker', state: { terminated: { exitCode: 137, reason: 'ContainerStatusUnknown' } } }
  for (const status of [
    { ...over, initContainerStatuses: [killed] },
    { ...over, containerStatuses: [unknown] },
  ]) {
    const { phase, problem, exit: told } = seen(status)
    expect({ phase, problem, exit: told }).toEqual({ phase: 'exited', problem: undefined, exit })
  }
})

test('a node that refuses what it was given has no room', () => {
  const status = { phase: 'Failed', reason: 'OutOfcpu', message: "Node didn't have enough resource: cpu" }
  expect(seen(status)).toMatchObject({ phase: 'exited', problem: { code: 'capacity', final: true } })
})

test('a new one that nobody has looked at yet is on its way', () => {
  expect(seen({ phase: 'Pending' })).toMatchObject({ phase: 'provisioning', ready: false })
  expect(seen({ phase: 'Pending' }).problem).toBeUndefined()
})
