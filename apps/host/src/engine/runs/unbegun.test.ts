/** Commands that never began: what ends their wait, and what becomes of the worker. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ProviderError } from '@muster/core'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Runs } from '../runs-api.ts'
import { type Commands, commandsIn } from '../testing/commands.ts'
import { type Harness, leaseRequest, openHarness, poolConfig } from '../testing/harness.ts'
import { startRuns } from './index.ts'

let dir: string
let h: Harness
let runs: Runs
let commands: Commands
let fault: () => ProviderError | undefined

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'muster-unbegun-'))
  fault = () => undefined
  h = await openHarness({ pools: [poolConfig({ work: 'hold', uses: 5 })], providers: [{ name: 'one' }] })
  commands = commandsIn(h.provider(), () => fault())
  const report = (message: string, error: unknown): void => void h.reports.push({ message, error })
  runs = await startRuns({ engine: h.engine, dataDir: dir, killpoint: () => undefined, report })
})
afterEach(async () => {
  await runs.stop()
  expect(h.reports).toEqual([])
  await h.close()
  await rm(dir, { recursive: true, force: true })
})

const request = { pool: 'ci', command: ['make'], requirements: {}, stdin: false, inputs: [], outputs: [] }

async function until(what: string, so: () => boolean, stepMs = 100): Promise<void> {
  await waitFor(what, async () => {
    await h.pass(stepMs)
    return so()
  })
}

/** A run that is cancelled after its command was asked for in vain; how long it took to end. */
async function cancelled(stepMs = 100): Promise<{ id: string; worker: string; tookMs: number }> {
  const { id } = await runs.create(request, { principal: 'tester' })
  const before = commands.asked()
  await until('it to be asked for in vain', () => commands.asked() > before + 3)
  const worker = runs.get(id)?.worker_id ?? ''
  await runs.cancel(id, { principal: 'ann', reason: 'no need' })
  const from = h.clock.now()
  await until('its end', () => runs.get(id) === undefined, stepMs)
  return { id, worker, tookMs: h.clock.now() - from }
}

const knows = (state: 'unknown' | 'running'): void => {
  h.provider().execState = async () => ({ state })
}
const nobodyTells = (): void => {
  h.provider().execState = () => Promise.reject(new ProviderError('transient', 'no answer'))
}
const down = (effect: 'none' | 'possible'): ProviderError => new ProviderError('transient', 'no shell comes up', { effect })

test.each([
  ['it was never sent', down('none'), nobodyTells],
  ['its worker has never heard of it', down('possible'), () => knows('unknown')],
])('a command that is known to be unbegun is not waited for when its run is cancelled: %s', async (_, error, set) => {
  set()
  fault = () => error
  const { id, worker, tookMs } = await cancelled()
  expect(tookMs).toBeLessThan(1000)
  expect(await runs.find(id)).toMatchObject({ outcome: 'cancelled', reason: 'no need', started_at: null, exit: null })
  expect(commands.started).toEqual([])
  await until('its worker to go', () => h.engine.workers.get(worker) === undefined)
})

test.each([
  ['its worker knows of it', down('possible'), () => knows('running')],
  ['nobody can tell', down('possible'), nobodyTells],
  ['it may be on its way', new ProviderError('deadline', 'no answer in time'), () => knows('unknown')],
])('one that may have begun is waited for, until it is killed and nobody answers: %s', async (_, error, set) => {
  set()
  fault = () => error
  const { id, worker, tookMs } = await cancelled(2000)
  expect(tookMs).toBeGreaterThan(30_000)
  expect(await runs.find(id)).toMatchObject({ outcome: 'cancelled', exit: expect.stringContaining('did not answer') })
  await until('its worker to go', () => h.engine.workers.get(worker) === undefined)
})

test('one that begins after all while it is asked whether its worker knows of it is ended as any other', async () => {
  fault = () => down('possible')
  const killed: string[] = []
  h.provider().execKill = async (target, { signal }) => {
    killed.push(signal)
    commands.end(target.id, 143)
  }
  h.provider().execState = async () => {
    fault = () => undefined
    return { state: 'running' }
  }
  const { id } = await cancelled()
  expect(killed).toContain('SIGTERM')
  expect(await runs.find(id)).toMatchObject({ outcome: 'cancelled', exit: expect.stringContaining('143') })
})

test.each([
  ['it was never sent', down('none'), nobodyTells],
  ['its worker has never heard of it', down('possible'), () => knows('unknown')],
])('a command that is known to be unbegun when its run is cancelled does not begin after that: %s', async (_, error, set) => {
  set()
  fault = () => error
  const { id } = await runs.create(request, { principal: 'tester' })
  await until('it to be asked for in vain', () => commands.asked() > 3)
  // It is back in the very moment of the cancel, which ends the pause before the next try.
  fault = () => undefined
  await runs.cancel(id, { principal: 'ann', reason: 'no need' })
  await until('its end', () => runs.get(id) === undefined)
  expect(commands.started).toEqual([])
  expect(await runs.find(id)).toMatchObject({ outcome: 'cancelled', started_at: null })
})

test.each(['none', 'possible'] as const)(
  'one that began while the store could not write is not taken for unbegun, whatever a later try says: effect %s',
  async (effect) => {
    fault = () => {
      h.ill = 'full'
      fault = () => {
        h.ill = undefined
        return down(effect)
      }
      return undefined
    }
    const { id } = await runs.create(request, { principal: 'tester' })
    await until('it to be asked for again', () => commands.asked() > 3)
    expect(commands.started).toHaveLength(1)
    await runs.cancel(id, { principal: 'ann', reason: 'no need' })
    await until('its end', () => runs.get(id) === undefined, 2000)
    expect(await runs.find(id)).toMatchObject({ outcome: 'cancelled', exit: expect.stringContaining('did not answer') })
  },
)

test.each([
  ['exec', down('possible'), () => knows('unknown')],
  ['exec', down('possible'), () => knows('running')],
  ['run', down('none'), () => knows('unknown')],
] as const)(
  'a worker in which a command of its holder could not be begun ends with the lease: by %s',
  async (how, error, set) => {
    const lease = await h.engine.leases.request(leaseRequest())
    const hold = (): string => h.engine.leases.get(lease.id)?.worker_id ?? ''
    await until('it to be held', () => h.engine.leases.get(lease.id)?.state === 'active')
    const worker = hold()
    set()
    fault = () => error
    const { id } =
      how === 'exec'
        ? await runs.exec(worker, { command: ['make'], stdin: false }, { principal: 'tester' })
        : await runs.create({ ...request, lease: lease.id }, { principal: 'tester' })
    await until('it to be given up', () => runs.get(id) === undefined, 10_000)
    // Whoever holds it has it until they let go of it.
    expect(h.engine.workers.get(worker)).toMatchObject({ phase: 'leased', lease_id: lease.id })
    fault = () => undefined
    await h.engine.leases.release(lease.id, { reason: 'done' })
    expect(h.engine.workers.get(worker)).toMatchObject({ phase: 'terminating' })
    await until('it to go', () => h.engine.workers.get(worker) === undefined)
  },
)

test('one in which a command of its holder was refused, or began, serves on', async () => {
  const lease = await h.engine.leases.request(leaseRequest())
  await until('it to be held', () => h.engine.leases.get(lease.id)?.state === 'active')
  const worker = h.engine.leases.get(lease.id)?.worker_id ?? ''
  fault = () => new ProviderError('unsupported', 'not as that user')
  const refused = await runs.exec(worker, { command: ['make'], stdin: false }, { principal: 'tester' })
  await until('it to be refused', () => runs.get(refused.id) === undefined)
  fault = () => undefined
  const began = await runs.exec(worker, { command: ['make'], stdin: false }, { principal: 'tester' })
  await until('it to run', () => runs.get(began.id)?.state === 'running')
  commands.end(worker, 1)
  await until('its end', () => runs.get(began.id) === undefined)
  await h.engine.leases.release(lease.id, { reason: 'done' })
  expect(h.engine.workers.get(worker)).toMatchObject({ phase: 'idle' })
})
