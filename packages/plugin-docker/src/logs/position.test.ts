import type { OutputStream } from '@muster/core'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { createLogLeap } from './leap.ts'
import { createLogOrder } from './order.ts'
import { createLogPosition, type LogEntry } from './position.ts'

/** An engine's log: a list of entries; asked from a second on, it gives those of it whose own second is not before. */
function served(log: readonly LogEntry[], since: number): LogEntry[] {
  return log.filter(({ time }) => Date.parse(`${time.slice(0, 19)}Z`) / 1000 >= since)
}

const files = { order: createLogOrder(), leap: createLogLeap(Infinity), by: 'files' } as const

type Read = Record<OutputStream, string> & { cursor: string }

function read(log: readonly LogEntry[], cursor: string | undefined, most: number = Number.MAX_SAFE_INTEGER): Read {
  const position = createLogPosition(cursor, { ...files, order: createLogOrder() })
  const out = { stdout: '', stderr: '' }
  let taken = 0
  for (const entry of served(log, position.since)) {
    const parts = position.take(entry) ?? []
    if (parts.length > 0) taken++
    out[entry.stream] += Buffer.concat(parts).toString('latin1')
    if (taken === most) break
  }
  if (taken < most) expect({ whole: position.end(), gap: position.gap }).toEqual({ whole: true, gap: false })
  return { ...out, cursor: position.cursor() }
}

const at = (seconds: number, nanos = 0): string =>
  `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${String(nanos).padStart(9, '0')}Z`
const entry = (stream: OutputStream, time: string, text: string): LogEntry => ({
  stream,
  time,
  data: Buffer.from(text, 'latin1'),
})

/** What a program wrote, and the entries an engine that drops newlines makes of it. */
const line = fc.record({
  stream: fc.constantFrom<OutputStream>('stdout', 'stderr'),
  /** Seconds since the line before; negative when the clock was set back, within what is promised. */
  step: fc.integer({ min: -20, max: 100 }),
  parts: fc.integer({ min: 0, max: 3 }),
  tail: fc.string({ maxLength: 3, unit: fc.constantFrom('a', 'b', '\r') }),
})
const PART = 'x'.repeat(16_384)

function logOf(lines: readonly { stream: OutputStream; step: number; parts: number; tail: string }[]): {
  log: LogEntry[]
  wrote: Record<OutputStream, string>
} {
  const log: LogEntry[] = []
  const wrote = { stdout: '', stderr: '' }
  const last = { stdout: 0, stderr: 0 }
  let clock = 1_800_000_000
  for (const [index, { stream, step, parts, tail }] of lines.entries()) {
    clock += step
    const time = at(clock, index)
    for (let part = 0; part < parts; part++) log.push(entry(stream, time, PART))
    log.push(entry(stream, time, parts === 0 ? `${tail}\n` : tail))
    wrote[stream] += `${PART.repeat(parts)}${tail}\n`
    last[stream] = parts
  }
  // What nothing can show: the newline of a last line in parts.
  for (const stream of ['stdout', 'stderr'] as const) if (last[stream] > 0) wrote[stream] = wrote[stream].slice(0, -1)
  return { log, wrote }
}

test('read in any pieces, each byte comes once: many entries of one time, clocks set back, parts, both streams', () => {
  fc.assert(
    fc.property(
      fc.array(line, { maxLength: 40 }),
      fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 30 }),
      (lines, pieces) => {
        const { log, wrote } = logOf(lines)
        const out = { stdout: '', stderr: '' }
        let cursor: string | undefined
        for (const most of [...pieces, Number.MAX_SAFE_INTEGER]) {
          const piece = read(log, cursor, most)
          out.stdout += piece.stdout
          out.stderr += piece.stderr
          cursor = piece.cursor
        }
        expect(out).toEqual(wrote)
        // Asked once more after the end there is nothing more.
        expect(read(log, cursor)).toMatchObject({ stdout: '', stderr: '' })
      },
    ),
    { numRuns: 500 },
  )
})

/**
 * As a follower reads: live, and from the files alone where the engine went back. `send`: what an engine sends from a second on, which goes
 * back where it will once it has sent what it has, of which `had` entries were handed on before.
 */
function follow(log: readonly LogEntry[], send: (since: number, had: number) => LogEntry[]): Record<OutputStream, string> {
  let had = 0
  const order = createLogOrder()
  // Each step of the clock may leave out a file.
  const leap = createLogLeap(1)
  const out = { stdout: '', stderr: '' }
  let cursor: string | undefined
  for (let back = false, times = 0; ;) {
    expect(times++).toBeLessThan(1000)
    const live: boolean = !back
    const position = createLogPosition(cursor, { order, leap, by: live ? 'live' : 'files' })
    back = !(live ? send(position.since, had) : served(log, position.since)).every((entry) => {
      const parts = position.take(entry)
      out[entry.stream] += Buffer.concat(parts ?? []).toString('latin1')
      if ((parts?.length ?? 0) > 0) had++
      return parts !== undefined
    })
    expect(position.gap).toBe(false)
    cursor = position.cursor()
    if (live && !back) return out
  }
}

test('an engine that goes back where the log goes on in the next file doubles nothing, and shifts no cursor', () => {
  fc.assert(
    fc.property(
      fc.array(line, { maxLength: 40 }),
      fc.array(fc.tuple(fc.integer({ min: 0, max: 100 }), fc.integer({ min: 1, max: 30 })), { maxLength: 5 }),
      (lines, jumps) => {
        // In the same moment as a new file nothing would tell a clock that is set back from it.
        const { log, wrote } = logOf(lines.map((one) => ({ ...one, parts: 0, step: Math.max(0, one.step % 2) })))
        const ahead = [...jumps]
        const send = (since: number, had: number): LogEntry[] => {
          const [pause = log.length, back = 0] = ahead.shift() ?? []
          const to = Math.min(Math.max(pause, had), log.length)
          return [...served(log.slice(0, to), since), ...served(log.slice(Math.max(0, to - back)), since)]
        }
        expect(follow(log, send)).toEqual(wrote)
      },
    ),
    { numRuns: 500 },
  )
})

test('lines of one time are two where the files have them so, and a clock that is set back, little or far, loses nothing', () => {
  const log = [1, 1, 1, 2, 2, 2].map((second, index) => entry('stdout', at(1_800_000_000 + second), `${index}\n`))
  let asked = 0
  const send = (since: number): LogEntry[] => {
    asked++
    return served(log, since)
  }
  expect(follow(log, send).stdout).toBe('0\n1\n2\n3\n4\n5\n')
  expect(asked).toBe(2)
  const back = [3, 1, 2].map((second, index) => entry('stdout', at(1_800_000_000 + second), `${index}\n`))
  expect(follow(back, (since) => served(back, since)).stdout).toBe('0\n1\n2\n')
  const far = [entry('stdout', at(1_800_010_000), '1\n'), entry('stdout', at(1_800_000_001), '2\n')]
  expect(follow(far, (since) => served(far, since)).stdout).toBe('1\n2\n')
})

test('a newline that was put back is not put back again when what showed it stands before the cursor', () => {
  const t = 1_800_000_000
  const log = [
    entry('stdout', at(t), PART),
    entry('stdout', at(t), ''),
    entry('stdout', at(t - 1, 1), 'set back\n'),
    entry('stderr', at(t + 63, 2), '1\n'),
    entry('stderr', at(t + 90, 3), '2\n'),
    entry('stdout', at(t + 90, 4), 'last\n'),
  ]
  const first = read(log, undefined, 3)
  expect(first.stdout).toBe(`${PART}\nset back\n`)
  const second = read(log, first.cursor, 2)
  expect(second).toMatchObject({ stdout: '', stderr: '1\n2\n' })
  expect(read(log, second.cursor).stdout).toBe('last\n')
})

test('a log that grows while it is read: parts of an open line come late, with its first time', () => {
  const first = at(1_800_000_000)
  const log = [entry('stdout', first, PART)]
  for (let second = 1; second < 1_000; second += 10) log.push(entry('stderr', at(1_800_000_000 + second), 'e\n'))
  const before = read(log, undefined)
  log.push(entry('stdout', first, 'end'), entry('stdout', at(1_800_001_000), 'next\n'))
  expect(read(log, before.cursor)).toMatchObject({ stdout: 'end\nnext\n', stderr: '' })
})

test('the entries to read again stay few', () => {
  const log = Array.from({ length: 10_000 }, (_, second) => entry('stdout', at(1_800_000_000 + second), `${second}\n`))
  const { cursor } = read(log, undefined)
  expect(served(log, createLogPosition(cursor, files).since).length).toBeLessThan(200)
  expect(cursor.length).toBeLessThanOrEqual(200)
})

test('an entry older than the window is handed on once, and not again after a resume', () => {
  const log = [
    entry('stdout', at(1_800_000_000), '1\n'),
    entry('stdout', at(1_800_010_000), '2\n'),
    entry('stdout', at(1_800_000_001), 'late\n'),
  ]
  const whole = read(log, undefined)
  expect(whole.stdout).toBe('1\n2\nlate\n')
  expect(read(log, whole.cursor).stdout).toBe('')
  log.push(entry('stdout', at(1_800_010_001), '3\n'))
  expect(read(log, whole.cursor).stdout).toBe('3\n')
})

test('a dropped newline is put back before what follows, and nothing is made up after the last entry', () => {
  const parts = [entry('stdout', at(1), PART), entry('stdout', at(1), 'end')]
  expect(read(parts, undefined).stdout).toBe(`${PART}end`)
  expect(read([...parts, entry('stdout', at(2), 'next')], undefined).stdout).toBe(`${PART}end\nnext`)
  // An engine that keeps it is taken at its word.
  expect(read([parts[0]!, entry('stdout', at(1), 'end\n'), entry('stdout', at(2), 'next')], undefined).stdout).toBe(
    `${PART}end\nnext`,
  )
})

test('only our own cursors are taken', () => {
  for (const cursor of ['', 'x', '1.2', '1.2.3', '1.2.3.4', '1.2.3.0.0', '-1.0.0.0', '1.2.3 ', '1.2.x'])
    expect(() => createLogPosition(cursor, files)).toThrow(
      expect.objectContaining({ code: 'invalid-spec', path: 'cursor' }) as Error,
    )
})
