import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { RunRecord } from '../model.ts'
import { logPath } from './deps.ts'
import { openLog } from './log-file.ts'
import { createLogs, type Logs } from './logs.ts'
import type { RunRecords } from './records.ts'

let dataDir: string
let run: RunRecord
let watchers: Set<(run: RunRecord) => void>
let logs: Logs
const stopping = new AbortController()
const recordsOf = (): RunRecords =>
  ({
    get: () => (run.ended_at === null ? run : undefined),
    find: async () => run,
    observe: (_id: string, watcher: (run: RunRecord) => void) => {
      watchers.add(watcher)
      return () => void watchers.delete(watcher)
    },
  }) as unknown as RunRecords
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'muster-logs-'))
  run = { id: 'r', state: 'running', worker_id: 'w', started_at: 1, ended_at: null } as RunRecord
  watchers = new Set()
  logs = createLogs({ records: recordsOf(), dataDir, stopping: stopping.signal })
})
afterEach(() => rm(dataDir, { recursive: true, force: true }))

test('followers get all that is written, and nothing is remembered of a log that nobody follows', async () => {
  const writer = await openLog(logPath({ dataDir }, 'r'), () => logs.grown('r', writer.totals().end))
  const write = (text: string): Promise<void> => writer.append({ stream: 'stdout', data: Buffer.from(text) })
  await write('one')
  expect(logs.followed()).toBe(0)
  const read = async (follow: boolean): Promise<string> => {
    const parts: Uint8Array[] = []
    for await (const { data } of logs.api.readLog('r', { from: 0, follow })) parts.push(data)
    return Buffer.concat(parts).toString()
  }
  const [first, second] = [read(true), read(true)]
  expect(await read(false)).toBe('one')
  expect(logs.followed()).toBe(1)
  await write('two')
  await write('three')
  run = { ...run, state: 'collecting' }
  for (const watcher of watchers) watcher(run)
  expect(await Promise.all([first, second])).toEqual(['onetwothree', 'onetwothree'])
  expect([logs.followed(), watchers.size]).toEqual([0, 0])
  run = { ...run, state: 'ended', ended_at: 2 }
  expect(await read(true)).toBe('onetwothree')
  expect(logs.followed()).toBe(0)
  await writer.close()
})

test('what is read again and again of a long log is only what is new', async () => {
  const writer = await openLog(logPath({ dataDir }, 'r'), () => logs.grown('r', writer.totals().end))
  const write = (text: string): Promise<void> => writer.append({ stream: 'stdout', data: Buffer.from(text) })
  await write('x'.repeat(4 << 20))
  const { end } = await logs.api.logState('r')
  const file = await open(logPath({ dataDir }, 'r'), 'r')
  const read = vi.spyOn(Object.getPrototypeOf(file) as typeof file, 'read')
  for (let n = 0, from = end; n < 20; n++) {
    await write('one more line')
    for await (const { data, next } of logs.api.readLog('r', { from, follow: false })) {
      expect(Buffer.from(data).toString()).toBe('one more line')
      from = next
    }
  }
  const counts = await Promise.all(read.mock.results.map(async ({ value }) => ((await value) as { bytesRead: number }).bytesRead))
  read.mockRestore()
  expect(counts.reduce((sum, one) => sum + one, 0)).toBeLessThan(20 * 200)
  expect(await logs.api.logState('r')).toMatchObject({ stdoutBytes: (4 << 20) + 20 * 'one more line'.length })
  await file.close()
  await writer.close()
})

async function readAll(): Promise<string> {
  const parts: Uint8Array[] = []
  for await (const { data } of logs.api.readLog('r', { from: 0, follow: false })) parts.push(data)
  return Buffer.concat(parts).toString()
}

test.each([
  ['cut to nothing', async (file: FileHandle) => file.truncate(0)],
  ['cut between two pieces', async (file: FileHandle, half: number) => file.truncate(half)],
  ['overwritten in the head of a piece', async (file: FileHandle) => file.write(Buffer.from([7, 7, 7]), 0, 3, 1)],
])('a log that was %s is not taken for all that there was', async (what, harm) => {
  const cut = what.startsWith('cut')
  const writer = await openLog(logPath({ dataDir }, 'r'), () => undefined)
  await writer.append({ stream: 'stdout', data: Buffer.from('one') })
  const half = writer.totals().end
  await writer.append({ stream: 'stdout', data: Buffer.from('two') })
  const { end } = writer.totals()
  run = { ...run, state: 'ended', ended_at: 2, log_end: end }
  expect(await readAll()).toBe('onetwo')
  // Nobody has looked yet at what is there now, as after a restart; one that was cut is looked through anew.
  if (!cut) logs = createLogs({ records: recordsOf(), dataDir, stopping: stopping.signal })
  await using file = await open(logPath({ dataDir }, 'r'), 'r+')
  await harm(file, half)
  await expect(readAll()).rejects.toMatchObject({ code: 'gone', message: expect.stringContaining(`it ended at ${end}`) })
  await writer.close()
})

test('a log whose file was removed under its run is told, and so is one that somebody follows then', async () => {
  const writer = await openLog(logPath({ dataDir }, 'r'), () => logs.grown('r', writer.totals().end))
  await writer.append({ stream: 'stdout', data: Buffer.from('one') })
  const parts = logs.api.readLog('r', { from: 0, follow: true })[Symbol.asyncIterator]()
  expect((await parts.next()).value).toMatchObject({ next: writer.totals().end })
  await rm(dirname(logPath({ dataDir }, 'r')), { recursive: true })
  const rest = parts.next()
  await writer.append({ stream: 'stdout', data: Buffer.from('two') })
  const told = { code: 'gone', message: 'the log of run r was removed while it runs' }
  await expect(rest).rejects.toMatchObject(told)
  await expect(readAll()).rejects.toMatchObject(told)
  await writer.close()
})

test('who reads from behind the end is told so; of a command that has not begun there is nothing to read', async () => {
  const read = async (from: number): Promise<unknown> => {
    for await (const piece of logs.api.readLog('r', { from, follow: false })) return piece
    return undefined
  }
  run = { ...run, started_at: null }
  expect([await read(0), await logs.api.logState('r')]).toEqual([
    undefined,
    { end: 0, stdoutBytes: 0, stderrBytes: 0, complete: false },
  ])
  run = { ...run, started_at: 1 }
  const writer = await openLog(logPath({ dataDir }, 'r'), () => undefined)
  await writer.append({ stream: 'stdout', data: Buffer.from('one') })
  const { end } = writer.totals()
  expect(await read(end)).toBe(undefined)
  await expect(read(end + 1)).rejects.toMatchObject({ code: 'bad-offset', message: `the log of run r ends at ${end}` })
  await writer.close()
})

test('who turns away gets nothing more, however much is there', async () => {
  const writer = await openLog(logPath({ dataDir }, 'r'), () => undefined)
  for (const text of ['one', 'two', 'three']) await writer.append({ stream: 'stdout', data: Buffer.from(text) })
  const abort = new AbortController()
  const parts: string[] = []
  for await (const { data } of logs.api.readLog('r', { from: 0, follow: true, signal: abort.signal })) {
    parts.push(Buffer.from(data).toString())
    if (parts.length === 2) abort.abort()
  }
  expect([parts, logs.followed()]).toEqual([['one', 'two'], 0])
  await writer.close()
})
