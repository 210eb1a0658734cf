import { expect, test } from 'vitest'
import { headroomOf } from './headroom.ts'
import type { Container, NodeObject, Pod, ResourceQuota } from '../objects.ts'
import { amountOf } from '../quantity.ts'

test.each([
  ['1', 1],
  ['250m', 0.25],
  ['1500000u', 1.5],
  ['1Ki', 1024],
  ['1.5Gi', 1.5 * 2 ** 30],
  ['2M', 2e6],
  ['1e3', 1000],
  ['12E', 12e18],
  ['5E2', 500],
])('%s is %d', (text, amount) => {
  expect(amountOf(text)).toBeCloseTo(amount)
})

test.each(['', 'one', '1Xi', '1 Ki'])('%j is no amount', (text) => {
  expect(amountOf(text)).toBeNaN()
})

const quota = (name: string, hard: Record<string, string>, used: Record<string, string> = {}): ResourceQuota => ({
  metadata: { name },
  status: { hard, used },
})
const container = (cpu: string, more: Partial<Container> = {}): Container => ({
  ...{ name: 'c', image: 'i', resources: { requests: { cpu } } },
  ...more,
})
const pod = (nodeName: string, containers: Container[], more: Partial<Pod['spec']> = {}): Pod => ({
  metadata: { name: 'p' },
  spec: { nodeName, containers, ...more },
  status: { phase: 'Running' },
})
const node = (name: string, spec: NodeObject['spec'] = {}, ready = 'True'): NodeObject => ({
  metadata: { name },
  spec,
  status: { allocatable: { cpu: '4', memory: '8Gi', pods: '110' }, conditions: [{ type: 'Ready', status: ready }] },
})

test('nothing is known where nothing bounds it and nothing is seen', () => {
  expect(headroomOf([])).toEqual({})
})

test('the tightest of the quotas counts; each is told', () => {
  const { slots, cpu, memoryBytes, quotas } = headroomOf([
    quota('a', { pods: '10', 'requests.cpu': '8' }, { pods: '4', 'requests.cpu': '7500m' }),
    quota('b', { 'count/pods': '5' }, { 'count/pods': '5' }),
    { ...quota('urgent', { pods: '1' }), spec: { scopeSelector: {} } },
  ])
  expect({ slots, cpu, memoryBytes }).toEqual({
    slots: { free: 0, total: 5 },
    cpu: { free: 0.5, total: 8 },
    memoryBytes: undefined,
  })
  expect(quotas).toEqual([
    { name: 'a/pods', used: 4, limit: 10 },
    { name: 'a/requests.cpu', used: 7.5, limit: 8 },
    { name: 'b/count/pods', used: 5, limit: 5 },
    { name: 'urgent/pods', used: 0, limit: 1 },
  ])
})

test('nodes that take Pods have what is not reserved on them', () => {
  const nodes = [
    ...[node('a'), node('b')],
    ...[
      node('cordoned', { unschedulable: true }),
      node('tainted', { taints: [{ effect: 'NoSchedule' }] }),
      node('down', {}, 'Unknown'),
    ],
  ]
  const pods = [
    pod('a', [container('1'), container('500m')]),
    // A sidecar counts beside the containers; a program before them only by its excess.
    pod('a', [container('500m')], { initContainers: [container('1', { restartPolicy: 'Always' }), container('100m')] }),
    pod('b', [container('100m')], { initContainers: [container('2')], overhead: { cpu: '1' } }),
    { ...pod('b', [container('4')]), status: { phase: 'Succeeded' } },
    pod('cordoned', [container('4')]),
  ]
  expect(headroomOf([], { nodes, pods })).toEqual({
    slots: { total: 220, free: 217 },
    cpu: { total: 8, free: 2 },
    memoryBytes: { total: 2 ** 34, free: 2 ** 34 },
  })
  const bound = headroomOf([quota('q', { 'requests.cpu': '100' }, { 'requests.cpu': '99' })], { nodes, pods })
  expect(bound.cpu).toEqual({ total: 8, free: 1 })
})
