/** The log of a run whose worker is its command: read on by cursor, every byte once, whatever fails on the way. */
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type LogChunk, ProviderError } from '@muster/core'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { RunRequest } from '../model.ts'
import type { Runs } from '../runs-api.ts'
import { type Commands, commandsIn } from '../testing/commands.ts'
import { type Harness, openHarness, poolConfig } from '../testing/harness.ts'
import { startRuns } from './index.ts'

let dir: string
let h: Harness
let runs: Runs
let commands: Commands
let fault: ProviderError | undefined

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'muster-by-command-'))
  h = await openHarness({
    pools: [poolConfig({ work: 'command' })],
    providers: [{ name: 'one', capabilities: { logs: { live: true, delayMs: 0, split: false } } }],
  })
  fault = undefined
  commands = commandsIn(h.provider(), () => fault)
  await start()
})
afterEach(async () => {
  vi.restoreAllMocks()
  await runs.stop()
  expect(h.reports.filter((one) => one.message !== 'the end of a log could not be read')).toEqual([])
  await h.close()
  await rm(dir, { recursive: true, force: true })
})

async function start(): Promise<void> {
  const report = (message: string, error: unknown): void => void h.reports.push({ message, error })
  runs = await startRuns({ engine: h.engine, dataDir: dir, killpoint: () => undefined, report })
}

const plain: RunRequest = { pool: 'ci', command: ['make'], requirements: {}, stdin: false, inputs: [], outputs: [] }

async function until(what: string, so: () => boolean | Promise<boolean>, stepMs = 100): Promise<void> {
  await waitFor(what, async () => {
    await h.pass(stepMs)
    return so()
  })
}

async function begun(): Promise<{ id: string; worker: string }> {
  const { id } = await runs.create(plain, { principal: 'tester' })
  await until('the command to run', () => runs.get(id)?.state === 'running')
  return { id, worker: runs.get(id)?.worker_id ?? '' }
}

async function logOf(id: string): Promise<string> {
  let text = ''
  for await (const { data } of runs.readLog(id, { from: 0, follow: false })) text += Buffer.from(data).toString()
  return text
}

/** From its second frame on the log finds no room, until this is called. */
async function fullDisk(): Promise<() => void> {
  const file = await open(dir)
  await file.close()
  const kind = Object.getPrototypeOf(file) as FileHandle
  const { write } = kind
  let [frames, full] = [0, true]
  vi.spyOn(kind, 'write').mockImplementation(function (this: FileHandle, bytes: Uint8Array, at?: number) {
    if (full && frames++ > 0) return Promise.reject(Object.assign(new Error('no space left on device'), { code: 'ENOSPC' }))
    return Reflect.apply(write, this, [bytes, at]) as unknown
  } as typeof write)
  return () => {
    full = false
  }
}

const letters = (count: number): string => Array.from({ length: count }, (_, at) => String.fromCharCode(97 + (at % 26))).join('')

test.each([['as it went on'], ['after a restart']])(
  'a piece of which a part was stored is stored once %s, however it is cut when it is told again',
  async (how) => {
    const { id, worker } = await begun()
    commands.write(worker, 'before\n')
    await until('the first of the output', async () => (await logOf(id)) === 'before\n')
    const heal = await fullDisk()
    const text = letters(150_000)
    commands.write(worker, text)
    await until('a part to be stored', async () => (await logOf(id)).length === 7 + 65_536)
    if (how === 'after a restart') {
      await runs.stop()
      await h.crash()
      // Told again in small pieces, of which none ends where the stored part does.
      const { logs } = h.provider()
      h.provider().logs = async function* (target, options, call): AsyncGenerator<LogChunk> {
        for await (const { stream, data, cursor } of logs(target, options, call))
          for (let at = 0; at < data.length; at += 50_000) {
            const part = data.subarray(at, at + 50_000)
            yield { stream, data: part, cursor: String(Number(cursor) - data.length + at + part.length) }
          }
      }
      heal()
      await start()
    } else heal()
    await until('the rest to be stored', async () => (await logOf(id)).length >= 7 + text.length)
    commands.end(worker, 0)
    await until('its end', () => runs.get(id) === undefined)
    expect((await logOf(id)) === `before\n${text}`).toBe(true)
    expect((await runs.find(id))?.outcome).toBe('passed')
  },
)

test('a full disk is waited for, and cuts no log: whoever reads it has all of it', async () => {
  const { id, worker } = await begun()
  const heal = await fullDisk()
  const text = letters(100_000)
  commands.write(worker, text)
  commands.end(worker, 3)
  await h.pass(20 * 60_000)
  expect(runs.get(id)?.state).toBe('running')
  heal()
  await until('its end', () => runs.get(id) === undefined, 1000)
  expect((await logOf(id)) === text).toBe(true)
  expect(await runs.find(id)).toMatchObject({ outcome: 'failed', reason: 'exit 3' })
})

test.each([
  ['internal', 'the vendor lost it'],
  ['unsupported', 'unsupported: the vendor lost it'],
] as const)('a run whose log cannot be read to its end says so: %s', async (code, problem) => {
  const { id, worker } = await begun()
  commands.write(worker, 'before')
  await until('the first of the output', async () => (await logOf(id)) === 'before')
  const stored = runs.wait(id, ({ state }) => state === 'collecting')
  fault = new ProviderError(code, 'the vendor lost it')
  commands.cut(fault)
  commands.write(worker, ', lost')
  commands.end(worker, 0)
  await until('its end', () => runs.get(id) === undefined)
  expect(await runs.find(id)).toMatchObject({ outcome: 'passed', log_problem: problem })
  // A host that is killed before the end goes on from there.
  expect(await stored).toMatchObject({ outcome: 'passed', log_problem: problem })
})

test('of one whose log was read to its end nothing is said', async () => {
  const { id, worker } = await begun()
  commands.write(worker, 'all')
  commands.end(worker, 0)
  // At once.
  await until('its end', () => runs.get(id) === undefined, 0)
  expect(await runs.find(id)).toMatchObject({ outcome: 'passed', log_problem: null })
})

test('one that is cancelled has its worker ended at once, and its log read meanwhile', async () => {
  const { id, worker } = await begun()
  const ends = (): number => h.provider().vendor.calls.filter((call) => call.method === 'terminate' && call.id === worker).length
  await runs.cancel(id, { principal: 'tester', reason: 'no need' })
  // Sooner than after the grace that the worker itself has for it.
  await h.pass(100)
  expect(ends()).toBe(1)
  commands.write(worker, 'bye')
  commands.end(worker, 143)
  await until('its end', () => runs.get(id) === undefined)
  expect(await runs.find(id)).toMatchObject({ outcome: 'cancelled', reason: 'no need' })
  expect(await logOf(id)).toBe('bye')
})

test('an end that nobody tells of is asked for, long before the next list', async () => {
  const { id, worker } = await begun()
  h.provider().announce = () => undefined
  const lists = (): number => h.provider().vendor.calls.filter(({ method }) => method === 'list').length
  const before = lists()
  commands.end(worker, 3)
  await until('its end', () => runs.get(id) === undefined)
  expect(await runs.find(id)).toMatchObject({ outcome: 'failed', reason: 'exit 3' })
  expect(lists()).toBe(before)
})

test('one whose worker is lost ends with it', async () => {
  const { id, worker } = await begun()
  h.provider().vendor.workers.delete(worker)
  fault = new ProviderError('not-found', 'no such worker')
  commands.cut(fault)
  await until('its end', () => runs.get(id) === undefined, 5000)
  expect(await runs.find(id)).toMatchObject({
    outcome: 'infrastructure',
    reason: expect.stringContaining('its worker was lost'),
    log_problem: 'its worker was gone',
  })
})

test('after a restart its log is asked for from where it was stored, not from its begin', async () => {
  const { id, worker } = await begun()
  commands.write(worker, 'before')
  await until('the first of the output', async () => (await logOf(id)) === 'before')
  await runs.stop()
  await h.crash()
  const { logs } = h.provider()
  const from: (string | undefined)[] = []
  h.provider().logs = (target, options, call) => {
    from.push(options.cursor)
    return logs(target, options, call)
  }
  await start()
  commands.write(worker, ' after')
  commands.end(worker, 0)
  await until('its end', () => runs.get(id) === undefined)
  expect([await logOf(id), new Set(from)]).toEqual(['before after', new Set(['6'])])
})
