import { Readable } from 'node:stream'
import type { LogOptions } from '@muster/core'
import { expect, test } from 'vitest'
import type { ContainerInspect, Engine, EngineRequest } from '../client.ts'
import { readLogs } from './logs.ts'

const STARTS_AT = Date.parse('2026-01-31T09:30:00Z')

const timeOf = (line: number): number => STARTS_AT + line * 100

/** Lines of a log, one each 100 ms, as the engine sends them. */
function frames(lines: readonly number[]): Buffer {
  return Buffer.concat(
    lines.map((line) => {
      const entry = Buffer.from(`${new Date(timeOf(line)).toISOString().replace('Z', '000000Z')} ${line}\n`)
      const head = Buffer.alloc(8)
      head[0] = 1
      head.writeUInt32BE(entry.length, 4)
      return Buffer.concat([head, entry])
    }),
  )
}

const lines = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, index) => from + index)

interface Script {
  /** What is in the files. */
  files: number[]
  /** What the engine sends whoever follows, one time after the other; then all that is in the files. */
  sends?: number[][]
  maxSize?: string
  /** Where a read before has ended. */
  cursor?: string
}

/** A log of 100 lines on an engine whose worker ends once all was sent. */
async function read(script: Script): Promise<{ lines: number[]; gaps: number; asked: string[]; cursors: string[] }> {
  const { files, sends = [], maxSize = '16g', cursor } = script
  const asked: string[] = []
  const left = [...sends]
  let ended = false
  const engine = {
    stream({ query = {} }: EngineRequest) {
      const follow = query['follow'] === true
      asked.push(follow ? 'follow' : 'files')
      const sent = follow ? (left.shift() ?? files) : files
      if (follow && left.length === 0) ended = true
      const since = Number(query['since']) * 1000
      return Promise.resolve(Readable.from([frames(sent.filter((line) => timeOf(line) >= since))], { objectMode: false }))
    },
  } as unknown as Engine
  let gaps = 0
  const inspect = () =>
    Promise.resolve({
      State: { Running: !ended },
      HostConfig: { LogConfig: { Type: 'local', Config: { 'max-size': maxSize } } },
    } as unknown as ContainerInspect)
  const source = {
    ...{ engine, path: '/containers/x', inspect, endOf: () => Promise.resolve(undefined), onAgain: () => () => undefined },
    onGap: () => void gaps++,
    signal: new AbortController().signal,
  }
  const options: LogOptions = { follow: true, ...(cursor === undefined ? {} : { cursor }) }
  let out = ''
  const cursors: string[] = []
  for await (const chunk of readLogs(source, options)) {
    out += Buffer.from(chunk.data).toString()
    cursors.push(chunk.cursor)
  }
  return { lines: out.split('\n').slice(0, -1).map(Number), gaps, asked, cursors }
}

test('where an engine may have left out a file, the files are asked: nothing is lost, and nothing comes before its time', async () => {
  const files = lines(0, 99)
  const skips = [...lines(0, 40), ...lines(70, 76), ...lines(42, 99)]
  expect(await read({ files, sends: [skips], maxSize: '1k' })).toMatchObject({ lines: files, gaps: 0 })
  expect(await read({ files, sends: [[...lines(0, 40), ...lines(70, 99)]], maxSize: '4k' })).toMatchObject({
    lines: files,
    gaps: 0,
  })
})

test('an engine that leaves out lines while those are sent that were read before shifts nothing', async () => {
  const files = lines(0, 99)
  const { cursors } = await read({ files: lines(0, 60) })
  for (const sent of [[...lines(0, 20), ...lines(55, 99)], [...lines(0, 20), ...lines(70, 99)], lines(20, 99)]) {
    const rest = await read({ files, sends: [sent], cursor: cursors.at(-1)! })
    expect(rest).toMatchObject({ lines: lines(61, 99), gaps: 0 })
  }
})

test('lines that were left out are told of once it shows, and what follows comes in its order', async () => {
  const files = lines(0, 99)
  const back = await read({ files, sends: [[...lines(0, 40), ...lines(70, 76), ...lines(42, 99)]] })
  expect(back).toMatchObject({ lines: [...lines(0, 40), ...lines(70, 99)], gaps: 1 })
  const never = await read({ files, sends: [[...lines(0, 40), ...lines(70, 99)]] })
  expect(never).toMatchObject({ lines: [...lines(0, 40), ...lines(70, 99)], gaps: 1 })
})

test('lines that no file has any more are told of, and those after them are not taken for lines that were read', async () => {
  const { cursors } = await read({ files: lines(0, 30) })
  for (const from of [31, 50, 90]) {
    const rest = await read({ files: lines(from, 99), cursor: cursors.at(-1)! })
    expect(rest).toMatchObject({ lines: lines(from, 99), gaps: 1 })
  }
  // What went was read, as far as anybody can know.
  for (const from of [20, 30])
    expect(await read({ files: lines(from, 99), cursor: cursors.at(-1)! })).toMatchObject({ lines: lines(31, 99), gaps: 0 })
  expect(await read({ files: [], cursor: cursors.at(-1)! })).toMatchObject({ lines: [], gaps: 0 })
})

test('an engine that sends everything is followed, and asked of the files once after the end', async () => {
  // However long it was silent, a log that is smaller than a file has no other one.
  for (const files of [lines(0, 99), [0, 1000, 2000]])
    expect(await read({ files })).toMatchObject({ lines: files, gaps: 0, asked: ['follow', 'files'] })
})
