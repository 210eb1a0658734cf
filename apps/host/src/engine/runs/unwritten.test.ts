/** Runs whose logs cannot be written: said while it is so, and nothing is lost. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { StoreError } from '../../store/store.ts'
import type { ConditionKey } from '../api.ts'
import { commandsIn } from '../testing/commands.ts'
import { openHarness, poolConfig } from '../testing/harness.ts'
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
