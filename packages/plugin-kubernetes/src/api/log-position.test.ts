import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { type LogPiece, readLog } from './log-lines.ts'
import { formatPosition, type LogPart, type LogPosition, parsePosition, resumeFrom, startOf } from './log-position.ts'

interface Entry {
  /** Milliseconds; of the time of day below. */
  at: number
  text: string
}

const DAY = Date.parse('2026-01-01T00:00:00Z')
const line = ({ at, text }: Entry): string => `${new Date(DAY + at).toISOString().replace('Z', '000000Z')} ${text}\n`
/** What a kubelet answers: the lines of its file that are not before the second. */
const served = (file: readonly Entry[], { since }: LogPosition): Buffer =>
  Buffer.from(
    file
      .filter(({ at }) => since === undefined || DAY + at >= since * 1000)
      .map(line)
      .join(''),
  )

async function read(bytes: Buffer, from: LogPosition, cut = 17): Promise<LogPart[]> {
  const resumption = resumeFrom(from)
  const parts: LogPart[] = []
  const chunks = (function* () {
    for (let at = 0; at < bytes.length; at += cut) yield bytes.subarray(at, at + cut)
  })()
  for await (const pieces of readLog(chunks as unknown as AsyncIterable<Uint8Array>))
    parts.push(...pieces.flatMap((one) => resumption.take(one)))
  parts.push(...resumption.settle())
  return parts
}

const textOf = (parts: readonly LogPart[]): string => Buffer.concat(parts.map(({ bytes }) => bytes)).toString('utf8')

/** Times mostly grow; the two streams of a container may be up to a second apart. */
const files = fc
  .array(
    fc.record({
      after: fc.nat(900),
      late: fc.nat(900),
      text: fc.string({ maxLength: 200 }).map((text) => text.replaceAll('\n', ' ')),
    }),
    { minLength: 1, maxLength: 60 },
  )
  .map((lines) => {
    let clock = 10_000
    return lines.map(({ after, late, text }): Entry => ({ at: (clock += after) - late, text }))
  })

test('a log that is cut anywhere and asked for again is read once, to the byte', async () => {
  await fc.assert(
    fc.asyncProperty(
      files,
      fc.array(fc.nat(4000), { maxLength: 4 }),
      fc.integer({ min: 1, max: 300 }),
      async (file, cuts, chunk) => {
        let position = startOf(0)
        let text = ''
        for (const cut of [...cuts, Infinity]) {
          // The connection breaks after so many bytes of what is served.
          const all = served(file, position)
          const parts = await readUntil(all, position, { cut, chunk })
          text += textOf(parts)
          position = parsePosition(formatPosition(parts.at(-1)?.position ?? position))
        }
        expect(text).toBe(file.map(({ text }) => `${text}\n`).join(''))
      },
    ),
  )
})

async function readUntil(bytes: Buffer, from: LogPosition, { cut, chunk }: { cut: number; chunk: number }): Promise<LogPart[]> {
  if (cut >= bytes.length) return read(bytes, from, chunk)
  const resumption = resumeFrom(from)
  const parts: LogPart[] = []
  const broken = (async function* () {
    for (let at = 0; at < cut; at += chunk) yield bytes.subarray(at, Math.min(cut, at + chunk))
    throw new Error('cut')
  })()
  try {
    for await (const pieces of readLog(broken)) parts.push(...pieces.flatMap((one) => resumption.take(one)))
  } catch {
    // What is held is dropped with the connection.
  }
  return parts
}

const entries = (...ats: number[]): Entry[] => ats.map((at) => ({ at, text: `at ${at}` }))

test('a file that was rotated: nothing twice, nothing that is still there lost, and what is lost is told', async () => {
  const file = entries(1000, 2000, 2100, 2200, 2300)
  const parts = await read(served(file, startOf(0)), startOf(0))
  const { position } = parts.at(-1) as LogPart
  // The new file begins among what was read.
  const among = await read(served([...file.slice(3), ...entries(2400, 9000)], position), position)
  expect(textOf(among)).toBe('at 2400\nat 9000\n')
  expect(among.some(({ gap }) => gap)).toBe(false)
  // It begins after it: more may have been between.
  const after = await read(served(entries(2400, 2500), position), position)
  expect(textOf(after)).toBe('at 2400\nat 2500\n')
  expect(after.map(({ gap }) => gap)).toEqual([true, false])
  // And from there on it goes on as ever.
  const next = (after.at(-1) as LogPart).position
  expect(textOf(await read(served(entries(2400, 2500, 2600), next), next))).toBe('at 2600\n')
})

test('a line without end comes as it grows', async () => {
  async function* endless(): AsyncGenerator<Uint8Array> {
    yield Buffer.from(line({ at: 0, text: 'x'.repeat(200) }).slice(0, -1))
    for (let at = 0; at < 100; at++) yield Buffer.alloc(1000, 'y')
  }
  const pieces: LogPiece[] = []
  for await (const some of readLog(endless())) pieces.push(...some)
  expect(pieces).toHaveLength(101)
  expect(pieces.every(({ bytes }) => bytes.length <= 1000)).toBe(true)
  expect(pieces.every(({ ends }) => !ends)).toBe(true)
})

test('a line without content, and zones, are lines; what a kubelet says instead of a log is none', async () => {
  const text = '2026-01-01T00:00:00.5Z \n2026-01-01T02:00:01+02:00\n2026-01-01T02:00:02.123456789+02:00 last'
  const parts = await read(Buffer.from(text), startOf(3))
  expect(textOf(parts)).toBe('\n\nlast')
  expect(parts[1]?.position).toMatchObject({ instance: 3, seen: 2, since: DAY / 1000 - 1 })
  const said = 'unable to retrieve container logs for containerd://abc'
  await expect(read(Buffer.from(said), startOf(0))).rejects.toMatchObject({
    code: 'NO_LOG',
    message: `instead of a log: ${said}`,
  })
})

test('a position is short, and only one of ours is taken', () => {
  const id = '2026-01-01T02:00:02.123456789+02:00~ffffffff'
  const longest = { instance: 999_999, since: 9_999_999_999, seen: 9_999_999_999, first: id, last: id, part: 9_999_999_999 }
  expect(formatPosition(longest).length).toBeLessThanOrEqual(200)
  expect(parsePosition(formatPosition(longest))).toEqual(longest)
  expect(parsePosition(formatPosition(startOf(2)))).toEqual(startOf(2))
  expect(() => parsePosition('k2|1')).toThrow('not a position')
})
