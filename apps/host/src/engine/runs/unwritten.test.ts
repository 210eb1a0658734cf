/** Runs whose logs cannot be written: said while it is so, and nothing is lost. */
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { StoreError } from '../../store/store.ts'
import type { ConditionKey } from '../api.ts'
import type { Runs } from '../runs-api.ts'
import { commandsIn } from '../testing/commands.ts'
import { type Harness, leaseRequest, openHarness, poolConfig } from '../testing/harness.ts'
import { startRuns } from './index.ts'
import { openTold, tellUnwritten } from './unwritten.ts'

test('a run whose files cannot be made is told as a condition, and goes on by itself', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'muster-unwritten-'))
  const h = await openHarness({ pools: [poolConfig({ work: 'hold', uses: 5 })], providers: [{ name: 'one' }] })
  const commands = commandsIn(h.provider(), () => undefined)
  const report = (message: string, error: unknown): void => void h.reports.push({ message, error })
  const runs = await startRuns({ engine: h.engine, dataDir: dir, killpoint: () => undefined, report })
  const until = (what: string, so: () => boolean): Promise<unknown> =>
    waitFor(what, async () => {
      await h.pass(500)
      return so()
    })
  const told = () => h.engine.conditions.list().filter(({ type }) => type === 'output-waits')
  try {
    // No folder can be made below a file, whoever asks.
    await writeFile(join(dir, 'runs'), '')
    const request = { pool: 'ci', command: ['make'], requirements: {}, stdin: false, inputs: [], outputs: [] }
    const { id } = await runs.create(request, { principal: 'tester' })
    await until('the condition', () => told().length > 0)
    expect(told()).toMatchObject([
      { scope: 'host', name: 'runs', message: expect.stringContaining('output of runs waits, and so do their ends') },
    ])
    await rm(join(dir, 'runs'))
    await mkdir(join(dir, 'runs'))
    await until('its command to begin', () => commands.started.length > 0)
    expect(told()).toEqual([])
    await runs.cancel(id, { principal: 'ann', reason: 'enough' })
  } finally {
    await runs.stop()
    await h.close()
    await rm(dir, { recursive: true, force: true })
  }
})

describe('where no log can be opened', () => {
  let dir: string
  let h: Harness
  let runs: Runs
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'muster-unwritten-'))
    h = await openHarness({ pools: [poolConfig({ work: 'hold', uses: 5 })], providers: [{ name: 'one' }] })
    await start()
    await writeFile(join(dir, 'runs'), '')
  })
  async function start(): Promise<void> {
    const report = (message: string, error: unknown): void => void h.reports.push({ message, error })
    runs = await startRuns({ engine: h.engine, dataDir: dir, killpoint: () => undefined, report })
  }
  afterEach(async () => {
    vi.restoreAllMocks()
    await runs.stop()
    expect(h.reports).toEqual([])
    await h.close()
    await rm(dir, { recursive: true, force: true })
  })
  const until = (what: string, so: () => boolean): Promise<unknown> =>
    waitFor(what, async () => {
      await h.pass(500)
      return so()
    })
  const waits = (): boolean => h.engine.conditions.list().some(({ name }) => name === 'runs')

  test('each try to run a command leaves nothing that looks after its worker', async () => {
    commandsIn(h.provider(), () => undefined)
    const lease = await h.engine.leases.request(leaseRequest())
    await until('it to be held', () => h.engine.leases.get(lease.id)?.state === 'active')
    const timers = new Set<unknown>()
    const { setInterval: set, clearInterval: clear } = globalThis
    vi.spyOn(globalThis, 'setInterval').mockImplementation((work, ms) => {
      const timer = set(work as () => void, ms)
      timers.add(timer)
      return timer
    })
    vi.spyOn(globalThis, 'clearInterval').mockImplementation((timer) => {
      timers.delete(timer)
      clear(timer)
    })
    let tries = 0
    const { providerOf } = h.engine
    h.engine.providerOf = (worker) => {
      tries += 1
      return providerOf(worker)
    }
    await runs.exec(h.engine.leases.get(lease.id)?.worker_id ?? '', { command: ['make'], stdin: false }, { principal: 'tester' })
    await until('some tries', () => tries > 5)
    expect(timers.size).toBeLessThanOrEqual(1)
  })

  test('a run that is cancelled, and whose worker has never heard of its command, ends', async () => {
    const commands = commandsIn(h.provider(), () => undefined)
    const request = { pool: 'ci', command: ['make'], requirements: {}, stdin: false, inputs: [], outputs: [] }
    const { id } = await runs.create(request, { principal: 'tester' })
    await until('the condition', waits)
    await runs.cancel(id, { principal: 'ann', reason: 'enough' })
    await until('its end', () => runs.get(id) === undefined)
    expect(await runs.find(id)).toMatchObject({ outcome: 'cancelled', reason: 'enough', started_at: null })
    // What stands in the way here cannot be looked through either.
    await until('that to be told', () => h.reports.length > 0)
    expect(h.reports.splice(0)).toMatchObject([{ message: 'what is left of a run could not be removed' }])
    expect([commands.started, waits()]).toEqual([[], false])
  })

  test.each([
    ['cancelled', 'enough', {}],
    ['timeout', 'it ran longer than its time-out', { timeoutMs: 5000 }],
  ])(
    'one that has begun is told to end all the same, and its output is stored once it can be: %s',
    async (outcome, reason, over) => {
      const commands = commandsIn(h.provider(), () => undefined)
      const killed: string[] = []
      h.provider().execKill = async (_target, { signal }) => {
        killed.push(signal)
        if (signal === 'SIGKILL') commands.end(worker(), 137)
      }
      const worker = (): string => runs.get(id)?.worker_id ?? ''
      const folder = join(dir, 'runs')
      await rm(folder)
      const request = { pool: 'ci', command: ['make'], requirements: {}, stdin: false, inputs: [], outputs: [], ...over }
      const { id } = await runs.create(request, { principal: 'tester' })
      await until('its command to begin', () => runs.get(id)?.state === 'running')
      commands.write(worker(), 'before\n')
      // The host starts anew, without the disk of its runs.
      await runs.stop()
      await rename(folder, join(dir, 'away'))
      await writeFile(folder, '')
      await start()
      await until('the condition', waits)
      if (outcome === 'cancelled') await runs.cancel(id, { principal: 'ann', reason })
      await until('it to be killed', () => killed.includes('SIGKILL'))
      expect(killed.slice(0, 2)).toEqual(['SIGTERM', 'SIGKILL'])
      commands.write(worker(), 'after\n')
      await rm(folder)
      await rename(join(dir, 'away'), folder)
      await until('its end', () => runs.get(id) === undefined)
      expect(await runs.find(id)).toMatchObject({ outcome, reason: expect.stringContaining(reason) as string })
      let text = ''
      for await (const { data } of runs.readLog(id, { from: 0, follow: false })) text += Buffer.from(data).toString()
      expect(text).toBe('before\nafter\n')
    },
  )
})

test('it is over when the last of them was written, not when it could be opened, or when it has ended', async () => {
  const full = new StoreError('full', 'no space left')
  const seen: string[] = []
  const named = ({ name, type }: ConditionKey): string => `${type} ${name}`
  const told = tellUnwritten({
    raise: (one) => void seen.push(`raised ${named(one)}: ${one.message}`),
    clear: (one) => void seen.push(`cleared ${named(one)}`),
  })
  expect(seen.splice(0)).toEqual(['cleared output-waits runs'])
  let ill = true
  const totals = { end: 0, stdout: 0, stderr: 0, loose: { stdout: 0, stderr: 0 } }
  const append = async (): Promise<void> => {
    if (ill) throw full
  }
  const open = async () => ({ append, totals: () => totals, close: async () => undefined })
  const piece = { stream: 'stdout', data: Buffer.from('x') } as const
  const [a, b] = [await openTold('a', { open, told }), await openTold('b', { open, told })]
  await expect(a.append(piece)).rejects.toBe(full)
  await expect(b.append(piece)).rejects.toBe(full)
  await openTold('a', { open, told })
  expect(seen.splice(0)).toEqual(['raised output-waits runs: no space left (run a); output of runs waits, and so do their ends'])
  told.forget('b')
  expect(seen).toEqual([])
  ill = false
  await a.append(piece)
  expect(seen.splice(0)).toEqual(['cleared output-waits runs'])
  await expect(openTold('c', { open: () => Promise.reject(full), told })).rejects.toBe(full)
  await openTold('c', { open, told })
  expect(seen.map((one) => one.split(' ')[0])).toEqual(['raised', 'cleared'])
})
