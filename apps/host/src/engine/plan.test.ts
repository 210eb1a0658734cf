import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Candidate } from './placement.ts'
import { type Decision, plan, type PoolView, type QueuedLease } from './plan.ts'
import { missing, surplus } from './scale/warm.ts'
import type { Demand } from './spec.ts'
import { fullCapabilities } from './testing/capabilities.ts'

const NOW = 1_000_000

function demand(shape = 'a', mode: Demand['mode'] = 'hold'): Demand {
  return { template: {}, mode, shape, size: 'small', ...(mode === 'command' ? { command: { argv: ['true'] } } : {}) }
}
function candidate(given: Partial<Candidate> = {}): Candidate {
  return { name: 'one', capabilities: fullCapabilities, state: 'ready', backlog: 0, backlogLimit: 100, ...given }
}
function lease(id: string, given: { demand?: Demand; candidates?: Candidate[] } = {}): QueuedLease {
  return { id, demand: given.demand ?? demand(), candidates: () => given.candidates ?? [candidate()] }
}
function view(
  given: Partial<Omit<PoolView, 'scale'>> & { scale?: Partial<PoolView['scale']>; idleNow?: Record<string, string[]> } = {},
): PoolView {
  const idle = new Map(Object.entries(given.idleNow ?? {}))
  const idleCount = [...idle.values()].flat().length
  return {
    total: idleCount,
    leaving: 0,
    idle,
    idleSince: () => NOW - 1000,
    queue: [],
    ...given,
    scale: { min: 0, max: 10, warm: 0, idleMs: 60_000, ...given.scale },
  }
}
const stock = (coming = 0, given: Partial<NonNullable<PoolView['stock']>> = {}): NonNullable<PoolView['stock']> => ({
  demand: demand(),
  coming,
  candidates: () => [candidate()],
  ...given,
})
const brief = (decisions: Decision[]): string[] =>
  decisions.map((one) => {
    const whom = 'leaseId' in one && one.leaseId !== undefined ? ` ${one.leaseId}` : ''
    const what = 'workerId' in one ? ` ${one.workerId}` : 'provider' in one ? ` on ${one.provider}` : ''
    return `${one.rule}${whom}${what}`
  })

describe('a plan', () => {
  const exhausted = candidate({ exhausted: { until: NOW + 500 } })
  const cases: [string, PoolView, string[], number | undefined][] = [
    ['of an empty pool is empty', view(), [], undefined],
    ['launches for a lease', view({ queue: [lease('l1')] }), ['launch-for-lease l1 on one'], undefined],
    [
      'hands out the worker that was used last',
      view({ idleNow: { a: ['w1', 'w2'] }, scale: { warm: 2 }, total: 2, queue: [lease('l1')], stock: stock(1) }),
      ['assign-idle l1 w2'],
      undefined,
    ],
    [
      'never hands an idle worker to a command',
      view({
        idleNow: { a: ['w1'] },
        scale: { warm: 1 },
        stock: stock(),
        queue: [lease('l1', { demand: demand('a', 'command') })],
      }),
      ['launch-for-lease l1 on one'],
      undefined,
    ],
    ['waits when the pool is full', view({ total: 10, queue: [lease('l1'), lease('l2')] }), ['wait-for-room l1'], undefined],
    [
      'makes room from idle workers of another shape',
      view({ total: 10, idleNow: { b: ['w1', 'w2'] }, queue: [lease('l1')] }),
      ['make-room w1', 'wait-for-room l1'],
      NOW + 59_000,
    ],
    [
      'makes no more room than is on its way',
      view({ total: 10, leaving: 1, idleNow: { b: ['w1', 'w2'] }, queue: [lease('l1'), lease('l2')] }),
      ['wait-for-room l1', 'make-room w1', 'wait-for-room l2'],
      NOW + 59_000,
    ],
    [
      'waits for a size to come back, and wakes then',
      view({ queue: [lease('l1', { candidates: [exhausted] })] }),
      ['wait-for-provider l1'],
      NOW + 500,
    ],
    [
      'fails a lease that no provider will ever serve',
      view({ queue: [lease('l1', { candidates: [candidate({ unsupported: { what: 'services' } })] })] }),
      ['no-placement-left l1'],
      undefined,
    ],
    [
      'counts its own launches against a provider',
      view({
        queue: [
          lease('l1', { candidates: [candidate({ backlogLimit: 1 }), candidate({ name: 'two' })] }),
          lease('l2', { candidates: [candidate({ backlogLimit: 1 }), candidate({ name: 'two' })] }),
        ],
      }),
      ['launch-for-lease l1 on one', 'launch-for-lease l2 on two'],
      undefined,
    ],
    ['keeps warm workers', view({ scale: { warm: 2 }, stock: stock(1) }), ['launch-warm on one'], undefined],
    [
      'keeps a minimum, busy ones included',
      view({ scale: { min: 3 }, total: 2, stock: stock() }),
      ['launch-warm on one'],
      undefined,
    ],
    [
      'serves leases before stock',
      view({ scale: { max: 1, warm: 1 }, stock: stock(), queue: [lease('l1')] }),
      ['launch-for-lease l1 on one'],
      undefined,
    ],
    ['holds its stock back after failures', view({ scale: { warm: 1 }, stock: stock(0, { heldUntil: NOW + 7 }) }), [], NOW + 7],
    [
      'retires what was idle too long, the oldest first',
      view({ idleNow: { a: ['w1', 'w2', 'w3'] }, scale: { warm: 1, idleMs: 1000 }, stock: stock() }),
      ['idle-surplus w1', 'idle-surplus w2'],
      undefined,
    ],
    [
      'wakes when something will have been idle too long',
      view({ idleNow: { a: ['w1'] }, scale: { idleMs: 5000 }, stock: stock() }),
      [],
      NOW + 4000,
    ],
    [
      'keeps the minimum idle',
      view({ idleNow: { a: ['w1', 'w2'] }, scale: { min: 2, idleMs: 0 }, stock: stock() }),
      [],
      undefined,
    ],
    [
      'retires all of a shape that is not its own',
      view({ idleNow: { b: ['w1', 'w2'] }, scale: { idleMs: 0 }, stock: stock() }),
      ['idle-surplus w1', 'idle-surplus w2'],
      undefined,
    ],
  ]
  test.each(cases)('%s', (_name, ...[given, decisions, wakeAt]) => {
    const made = plan(given, NOW)
    expect(brief(made.decisions)).toEqual(decisions)
    expect(made.wakeAt).toBe(wakeAt)
  })
})

test('whatever the pool looks like: limits hold, nothing is used twice, older leases come first', () => {
  const shapes = fc.constantFrom('a', 'b', 'c')
  const arbitrary = fc.record({
    scale: fc.record({ min: fc.nat(5), max: fc.nat(12), warm: fc.nat(5), idleMs: fc.nat(2000) }),
    idle: fc.array(shapes, { maxLength: 8 }),
    busy: fc.nat(6),
    leaving: fc.nat(3),
    coming: fc.nat(3),
    stocked: fc.boolean(),
    queue: fc.array(
      fc.record({ shape: shapes, command: fc.boolean(), provider: fc.constantFrom('ready', 'full', 'exhausted', 'never') }),
      { maxLength: 15 },
    ),
    limit: fc.integer({ min: 1, max: 4 }),
  })
  fc.assert(
    fc.property(arbitrary, (given) => {
      const idleNow: Record<string, string[]> = {}
      given.idle.forEach((shape, at) => (idleNow[shape] ??= []).push(`w${at}`))
      const candidates = {
        ready: [candidate({ backlogLimit: given.limit }), candidate({ name: 'two' })],
        full: [candidate({ backlog: 5, backlogLimit: 5 })],
        exhausted: [candidate({ exhausted: { until: NOW + 10 } })],
        never: [candidate({ unsupported: { what: 'image' } })],
      }
      const total = given.idle.length + given.busy + given.leaving + given.coming
      const pool = view({
        scale: given.scale,
        idleNow,
        total,
        leaving: given.leaving,
        queue: given.queue.map((one, at) =>
          lease(`l${String(at).padStart(2, '0')}`, {
            demand: demand(one.shape, one.command ? 'command' : 'hold'),
            candidates: candidates[one.provider as 'ready'],
          }),
        ),
        ...(given.stocked ? { stock: stock(given.coming) } : {}),
      })
      const { decisions } = plan(pool, NOW)
      const launches = decisions.filter((one) => one.kind === 'launch')
      expect(launches.length).toBeLessThanOrEqual(Math.max(0, given.scale.max - total))
      expect(launches.filter((one) => one.provider === 'one').length).toBeLessThanOrEqual(
        given.stocked ? Math.max(given.limit, launches.length) : given.limit,
      )
      const workers = decisions.flatMap((one) => ('workerId' in one ? [one.workerId] : []))
      expect(new Set(workers).size).toBe(workers.length)
      const leases = decisions.flatMap((one) => ('leaseId' in one && one.leaseId !== undefined ? [one.leaseId] : []))
      expect(new Set(leases).size).toBe(leases.length)
      expect([...leases].sort()).toEqual(leases)
      for (const one of decisions)
        if (one.kind === 'assign') expect(idleNow[given.queue[Number(one.leaseId.slice(1))]?.shape ?? '']).toContain(one.workerId)
      // Retiring leaves what the pool keeps.
      const retired = decisions.filter((one) => one.rule === 'idle-surplus').length
      const assigned = decisions.filter((one) => one.kind === 'assign').length
      const made = decisions.filter((one) => one.rule === 'make-room').length
      if (given.stocked && Object.keys(idleNow).every((shape) => shape === 'a') && retired > 0) {
        expect(given.idle.length - assigned - made - retired + given.coming).toBeGreaterThanOrEqual(given.scale.warm)
        expect(total + launches.length - given.leaving - retired).toBeGreaterThanOrEqual(given.scale.min)
      }
      for (const one of decisions) expect(one.inputs).toBeTypeOf('object')
    }),
  )
})

test('stock: missing and surplus are never both wanted, and filling up once is enough', () => {
  const arbitrary = fc.record({
    min: fc.nat(9),
    max: fc.nat(9),
    warm: fc.nat(9),
    leaving: fc.nat(4),
    idle: fc.nat(5),
    coming: fc.nat(5),
    busy: fc.nat(5),
  })
  fc.assert(
    fc.property(arbitrary, ({ busy, ...given }) => {
      const now = { ...given, total: given.leaving + given.idle + given.coming + busy }
      const more = missing(now)
      const less = surplus(now)
      expect(Math.min(more, less)).toBe(0)
      if (more > 0) expect(now.total + more).toBeLessThanOrEqual(now.max)
      expect(missing({ ...now, total: now.total + more, coming: now.coming + more })).toBe(0)
      expect(surplus({ ...now, total: now.total - less, idle: now.idle - less })).toBe(0)
    }),
  )
})

test('what a decision was made from says how many workers are kept aside, where there are any', () => {
  const inputs = (given: Partial<PoolView>): unknown => plan(view({ queue: [lease('l1')], ...given }), NOW).decisions[0]?.inputs
  const none = { min: 0, max: 10, warm: 0, workers: 0, leaving: 0, idle: 0 }
  expect(inputs({})).toMatchObject(none)
  expect(inputs({ aside: 0 })).not.toHaveProperty('aside')
  expect(inputs({ aside: 2, total: 2 })).toMatchObject({ ...none, workers: 2, aside: 2 })
})
