/** The small pure rules: reactions, back-off, absence, deadlines, kill points. */
import { ProviderError, type ProviderErrorCode } from '@muster/core'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { absenceExcuse, type AbsentWorker, type ListFacts } from './absence.ts'
import { askedPause, ceiling, exhaust, fullJitter, launchBackoff } from './backoff.ts'
import { deadlines } from './deadlines.ts'
import { killPointAt, killPoints } from './killpoint.ts'
import { type LaunchReaction, type LaunchTry, reactToLaunch } from './react.ts'
import { testClock } from './testing/clock.ts'

describe('after a failed launch', () => {
  const given = (more: Partial<LaunchTry> = {}): LaunchTry => ({
    attempt: 1,
    now: 0,
    deadline: 60_000,
    random: 0.5,
    doubt: false,
    renewed: false,
    ...more,
  })
  const none = { effect: 'none' as const }
  const again = (delayMs: number): LaunchReaction => ({ kind: 'retry', delayMs, counts: true })
  const up = (doubt: boolean, next: 'placement' | 'fail'): LaunchReaction => ({ kind: 'give-up', doubt, next })
  const cases: [ProviderErrorCode, ConstructorParameters<typeof ProviderError>[2], Partial<LaunchTry>, LaunchReaction][] = [
    ['capacity', none, {}, up(false, 'placement')],
    ['capacity', {}, {}, up(true, 'placement')],
    ['quota', none, {}, up(false, 'placement')],
    ['throttled', { ...none, retryAfterMs: 4000 }, {}, { kind: 'retry', delayMs: 4000, counts: true, hold: 'launch' }],
    ['throttled', { ...none, retryAfterMs: 4000, scope: 'all' }, {}, { kind: 'retry', delayMs: 4000, counts: true, hold: 'all' }],
    ['throttled', { ...none, retryAfterMs: 70_000 }, {}, up(false, 'placement')],
    ['auth', none, {}, up(false, 'placement')],
    ['invalid-spec', none, {}, up(false, 'fail')],
    ['unsupported', none, {}, up(false, 'placement')],
    ['not-found', {}, {}, up(true, 'fail')],
    ['not-found', none, { renewed: true }, again(0)],
    ['not-found', none, { renewed: true, now: 60_000 }, up(false, 'fail')],
    ['capacity', none, { renewed: true }, up(false, 'placement')],
    ['conflict', none, {}, again(250)],
    ['conflict', none, { attempt: 3 }, up(true, 'placement')],
    ['transient', none, {}, again(250)],
    ['transient', none, { attempt: 4 }, again(2000)],
    ['transient', { ...none, retryAfterMs: 3000 }, {}, again(3000)],
    ['transient', none, { now: 59_900 }, up(false, 'placement')],
    ['transient', none, { now: 59_900, doubt: true }, up(true, 'placement')],
    ['deadline', {}, {}, again(250)],
    ['deadline', {}, { now: 59_900 }, up(true, 'placement')],
    ['internal', {}, {}, again(250)],
    ['cancelled', none, {}, { kind: 'retry', delayMs: 500, counts: false }],
    ['cancelled', {}, {}, up(true, 'placement')],
  ]
  test.each(cases)('%s %o %o', (code, ...[options, more, reaction]) => {
    expect(reactToLaunch(new ProviderError(code, 'x', options), given(more))).toEqual(reaction)
  })

  test('no doubt is ever dropped, and no try goes beyond the deadline', () => {
    fc.assert(
      fc.property(
        fc.record({
          attempt: fc.integer({ min: 1, max: 50 }),
          now: fc.nat(70_000),
          random: fc.double({ min: 0, max: 0.999, noNaN: true }),
          doubt: fc.boolean(),
        }),
        fc.constantFrom<ProviderErrorCode>('transient', 'throttled', 'internal', 'deadline', 'conflict', 'capacity', 'auth'),
        (more, code) => {
          const reaction = reactToLaunch(new ProviderError(code, 'x', none), given(more))
          if (reaction.kind === 'retry') expect(more.now + reaction.delayMs).toBeLessThan(60_000)
          else if (more.doubt) expect(reaction.doubt).toBe(true)
        },
      ),
    )
  })
})

test('full jitter stays between nothing and a bound that doubles up to its cap', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1000 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (failures, random) => {
        const delay = fullJitter(launchBackoff, failures, random)
        expect(delay).toBeGreaterThanOrEqual(0)
        expect(delay).toBeLessThanOrEqual(Math.min(launchBackoff.capMs, launchBackoff.baseMs * 2 ** Math.min(failures - 1, 20)))
      },
    ),
  )
  expect([1, 2, 3, 100].map((failures) => ceiling({ baseMs: 100, capMs: 350 }, failures))).toEqual([100, 200, 350, 350])
})

test('a vendor may ask for a pause, of ten minutes at most', () => {
  expect([undefined, 0, 5000, 600_000, 600_001, 86_400_000].map((asked) => askedPause({ retryAfterMs: asked }, 700))).toEqual([
    700, 0, 5000, 600_000, 600_000, 600_000,
  ])
})

test('exhaustion grows with each refusal and fades with quiet', () => {
  const first = exhaust(undefined, 0)
  expect(first).toEqual({ until: 30_000, times: 1 })
  const second = exhaust(first, 31_000)
  expect(second).toEqual({ until: 91_000, times: 2 })
  expect(exhaust(second, 91_000 + 60_000)).toEqual({ until: 91_000 + 60_000 + 30_000, times: 1 })
  expect(exhaust(second, 91_000 + 59_999).times).toBe(3)
  let memory = first
  for (let i = 0; i < 20; i++) memory = exhaust(memory, memory.until)
  expect(exhaust(memory, memory.until).until - memory.until).toBe(600_000)
})

describe('absence means nothing', () => {
  const worker: AbsentWorker = { part: 'm1', settledAt: 100, open: false, launchedAt: 100, visibilityMs: 50 }
  const list: ListFacts = { startedAt: 200, complete: true, blind: [] }
  const cases: [string, Partial<AbsentWorker>, Partial<ListFacts>, RegExp | undefined][] = [
    ['unless all is as it should be', {}, {}, undefined],
    ['when a page is missing', {}, { complete: false }, /not complete/],
    ['when its part is blind', {}, { blind: ['m1'] }, /could not be seen/],
    ['but another blind part does not matter', {}, { blind: ['m2'] }, undefined],
    ['when its part is unknown and any is blind', { part: null }, { blind: ['m2'] }, /could not be seen/],
    ['when a call is open', { open: true }, {}, /open/],
    ['when the list began before the last call settled', { settledAt: 201 }, {}, /began before/],
    ['within the visibility lag', { launchedAt: 151 }, {}, /unseen/],
    ['when its launch is in doubt', { launchedAt: null }, {}, /not known/],
    ['no call by this host: the lag alone counts', { settledAt: null }, {}, undefined],
  ]
  test.each(cases)('%s', (_name, ...[more, facts, excuse]) => {
    const given = absenceExcuse({ ...worker, ...more }, { ...list, ...facts })
    if (excuse === undefined) expect(given).toBeUndefined()
    else expect(given).toMatch(excuse)
  })
})

test('deadlines run in order, once, and not when they were moved or cleared', () => {
  const operation = fc.oneof(
    fc.record({ do: fc.constant('set' as const), key: fc.nat(12), in: fc.nat(100) }),
    fc.record({ do: fc.constant('clear' as const), key: fc.nat(12) }),
    fc.record({ do: fc.constant('pass' as const), ms: fc.nat(60) }),
  )
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 80 }), (operations) => {
      const clock = testClock(0)
      const heap = deadlines(clock)
      const expected = new Map<string, number>()
      const ran: { key: string; at: number }[] = []
      const due: { key: string; at: number }[] = []
      for (const one of operations) {
        if (one.do === 'set') {
          const at = clock.now() + one.in
          expected.set(`k${one.key}`, at)
          heap.set(`k${one.key}`, at, () => ran.push({ key: `k${one.key}`, at: clock.now() }))
        } else if (one.do === 'clear') {
          expected.delete(`k${one.key}`)
          heap.clear(`k${one.key}`)
        } else {
          const until = clock.now() + one.ms
          while (clock.step(until));
          for (const [key, at] of [...expected].sort(([, a], [, b]) => a - b)) {
            if (at > until) continue
            due.push({ key, at })
            expected.delete(key)
          }
        }
      }
      const order = (a: { key: string; at: number }, b: { key: string; at: number }): number =>
        a.at - b.at || (a.key < b.key ? -1 : 1)
      expect([...ran].sort(order)).toEqual([...due].sort(order))
      expect(ran.map((one) => one.at)).toEqual([...ran.map((one) => one.at)].sort((a, b) => a - b))
      expect(heap.size()).toBe(expected.size)
    }),
  )
})

test('many moved deadlines are swept, and none that stands', () => {
  const clock = testClock(0)
  const heap = deadlines(clock)
  let ran = 0
  heap.set('before', 5, () => (ran += 1000))
  for (let i = 1; i <= 5000; i++) heap.set('one', i, () => (ran += 1))
  heap.set('two', 10, () => (ran += 10))
  while (clock.step(6000));
  expect(ran).toBe(1011)
  heap.set('three', 7000, () => (ran += 100))
  heap.stop()
  while (clock.step(8000));
  expect(ran).toBe(1011)
})

test('a kill point ends the process at its nth passing, and a misspelt one is refused', () => {
  let killed = 0
  const pass = killPointAt('call-sent:2', () => (killed += 1))
  pass('call-sent')
  pass('intent-written')
  expect(killed).toBe(0)
  pass('call-sent')
  expect(killed).toBe(1)
  killPointAt('', () => (killed += 1))('call-sent')
  expect(killed).toBe(1)
  expect(() => killPointAt('call-snet', () => {})).toThrow('no kill point call-snet')
  expect(() => killPointAt('call-sent:0', () => {})).toThrow('no kill point')
  expect(new Set(killPoints).size).toBeGreaterThanOrEqual(16)
})
