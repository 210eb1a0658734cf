import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Clock, steadyTime } from './clock.ts'
import { aheadInSteps, aheadNow, noteAhead, toldDeadline, toldTimes } from './times.ts'

const order = ['created_at', 'queued_at', 'started_at', 'ended_at'] as const
type Row = Record<(typeof order)[number] | 'deadline', number | null> & { ahead: string | null }
const fresh: Row = { created_at: null, queued_at: null, started_at: null, ended_at: null, deadline: null, ahead: null }

/** A machine: its clock may be set, and its daemon may stand still or start anew. */
function machine(): Pick<Clock, 'now' | 'wall'> & {
  pass(ms: number): void
  stop(ms: number): void
  set(ms: number): void
  restart(): void
} {
  let [wall, monotonic] = [1_800_000_000_000, 5]
  const begin = (): (() => number) => steadyTime({ wall: () => wall, monotonic: () => monotonic })
  let now = begin()
  const stop = (ms: number): void => {
    wall += ms
    monotonic += ms
  }
  return {
    now: () => now(),
    wall: () => wall,
    stop,
    pass: (ms) => {
      for (let left = ms; left > 0; left -= 1000) {
        stop(Math.min(1000, left))
        now()
      }
    },
    set: (ms) => void (wall += ms),
    restart: () => void (now = begin()),
  }
}

function write(at: ReturnType<typeof machine>, row: Row, columns: Partial<Row>): Row {
  return { ...row, ...columns, ahead: noteAhead(at, columns, row.ahead) }
}

test('two clocks that agree leave nothing in a record, and it is read as it stands', () => {
  const at = machine()
  at.pass(90_000)
  const row = write(at, fresh, { created_at: at.now(), deadline: at.now() + 5000 })
  expect(row.ahead).toBeNull()
  expect(toldTimes(row, order)).toEqual({ created_at: row.created_at, queued_at: null, started_at: null, ended_at: null })
  expect(toldDeadline(row, 'deadline', aheadNow(at))).toBe(row.deadline)
})

test('a stop of two minutes is in what is read, and in nothing that decides', () => {
  const at = machine()
  let row = write(at, fresh, { created_at: at.now(), started_at: at.now(), deadline: at.now() + 60_000 })
  const began = at.wall()
  at.pass(20_000)
  at.stop(120_000)
  at.pass(20_000)
  expect(at.now()).toBeLessThan(row.deadline ?? 0)
  row = write(at, row, { ended_at: at.now() })
  expect(toldTimes(row, order)).toEqual({ created_at: began, queued_at: null, started_at: began, ended_at: at.wall() })
  // As it was told before it ended, not as the clocks go by now.
  expect(toldDeadline(row, 'deadline', aheadNow(at))).toBe(row.deadline)
  // What was told stays so, once the difference is made up for and after a restart.
  at.pass(3_600_000)
  at.restart()
  expect(toldTimes(row, order).ended_at).toBe(began + 160_000)
})

test('a deadline to come is read by the clock as it goes now', () => {
  const at = machine()
  const row = write(at, fresh, { deadline: at.now() + 60_000 })
  at.set(-3_600_000)
  const left = (row.deadline ?? 0) - at.now()
  expect((toldDeadline(row, 'deadline', aheadNow(at)) ?? 0) - at.wall()).toBe(left)
})

test('a column that is written again while the clocks agree is read as it stands', () => {
  const at = machine()
  at.set(3_600_000)
  let row = write(at, fresh, { created_at: at.now(), queued_at: at.now() })
  at.restart()
  row = write(at, row, { queued_at: at.now() })
  expect(JSON.parse(row.ahead ?? '{}')).toEqual({ created_at: 3_600_000 })
  expect(toldTimes(row, order).queued_at).toBe(row.queued_at)
})

test('while a difference is made up for, what is shown by it changes once a step, and ends where the clocks agree', () => {
  const at = machine()
  at.stop(120_000)
  const seen = new Set<number>()
  for (let left = 3_600_000; left > 0; left -= 1000) {
    at.pass(1000)
    seen.add(aheadInSteps(at, 60_000))
  }
  expect([...seen].map((ms) => ms / 60_000)).toEqual([2, 1, 0])
})

const step = fc.oneof(
  fc.record({ do: fc.constant('pass' as const), ms: fc.nat(600_000) }),
  fc.record({ do: fc.constant('stop' as const), ms: fc.constantFrom(6000, 120_000) }),
  fc.record({ do: fc.constant('set' as const), ms: fc.constantFrom(3_600_000, -3_600_000, -90_000) }),
  fc.record({ do: fc.constant('restart' as const), ms: fc.constant(0) }),
)

test('whatever is done to the clock: times are in order, each that of the machine unless that was set back', () => {
  fc.assert(
    fc.property(fc.array(fc.array(step, { maxLength: 4 }), { minLength: 4, maxLength: 4 }), (gaps) => {
      const at = machine()
      let row = fresh
      const walls: number[] = []
      for (const [index, steps] of gaps.entries()) {
        for (const { do: what, ms } of steps) at[what](ms)
        row = write(at, row, { [order[index] as string]: at.now() })
        walls.push(at.wall())
      }
      const told = toldTimes(row, order)
      let before = -Infinity
      for (const [index, column] of order.entries()) {
        const time = told[column] ?? Number.NaN
        const wall = walls[index] ?? Number.NaN
        expect(time).toBeGreaterThanOrEqual(before)
        if (wall > before + 100) expect(Math.abs(time - wall)).toBeLessThanOrEqual(100)
        before = time
      }
    }),
  )
})

test('no deadline comes early: neither a clock that is set nor a stop takes more than a twentieth of it', () => {
  fc.assert(
    fc.property(fc.array(step.filter((one) => one.do !== 'restart')), (steps) => {
      const at = machine()
      const row = write(at, fresh, { deadline: at.now() + 1_800_000 })
      let watched = 0
      for (const { do: what, ms } of steps) {
        at[what](ms)
        // Of a stop the first five seconds may have been watched.
        watched += what === 'pass' ? ms : what === 'stop' ? 5000 : 0
        at.now()
        if (at.now() >= (row.deadline ?? 0)) expect(watched * 1.05).toBeGreaterThanOrEqual(1_800_000 - steps.length)
      }
    }),
  )
})
