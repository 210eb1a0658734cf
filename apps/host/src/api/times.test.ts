/** What is shown of records after the daemon stood still, or the machine's clock was set: the machine's time, in order, over a restart too. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { RunRecord } from '../engine/model.ts'
import type { Runs } from '../engine/runs-api.ts'
import { startRuns } from '../engine/runs/index.ts'
import { type Commands, commandsIn } from '../engine/testing/commands.ts'
import { type Harness, leaseRequest, openHarness, poolConfig } from '../engine/testing/harness.ts'
import { decisionView, leaseView, runView, workerView } from './views.ts'

let dir: string
let h: Harness
let runs: Runs
let commands: Commands

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'muster-times-'))
  h = await openHarness({ pools: [poolConfig({ work: 'hold' })], providers: [{ name: 'one' }] })
  commands = commandsIn(h.provider(), () => undefined)
  runs = await startRuns({ engine: h.engine, dataDir: dir, killpoint: () => undefined, report: () => undefined })
})
afterEach(async () => {
  await runs.stop()
  await h.close()
  await rm(dir, { recursive: true, force: true })
})

async function untilIn(state: string, id: string): Promise<RunRecord> {
  let run: RunRecord | undefined
  await waitFor(`a run that is ${state}`, async () => {
    await h.pass(100)
    run = await runs.find(id)
    return run?.state === state
  })
  return run as RunRecord
}

const ms = (text: string | undefined): number => Date.parse(text ?? '')

test.each([
  ['that stood still for two minutes', 120_000],
  ['whose clock was set an hour on', 3_600_000],
  ['whose clock was set an hour back', -3_600_000],
])('a daemon %s: a run, its worker, a lease and the journal by the clock on the wall', async (_title, ahead) => {
  const lease = await h.engine.leases.request(leaseRequest({ ttlMs: 60_000 }))
  const made = await runs.create(
    { pool: 'ci', command: ['make'], requirements: {}, stdin: false, inputs: [], outputs: [], timeoutMs: 60_000 },
    { principal: 'tester' },
  )
  const running = await untilIn('running', made.id)
  const worker = running.worker_id ?? ''
  h.clock.setAhead(ahead)
  await h.pass(1000)
  // Neither its time-out nor the lease is over.
  expect((await runs.find(made.id))?.state).toBe('running')
  const held = await h.engine.leases.find(lease.id)
  if (held === undefined) throw new Error('the lease is not kept')
  expect(held.state).toBe('active')
  const left = (held.expires_at ?? 0) - h.clock.now()
  expect(ms(leaseView(held, h.clock).expiresAt) - h.clock.wall()).toBe(left)

  const wall = h.clock.wall()
  commands.end(worker, 0)
  const ended = runView(await untilIn('ended', made.id), h.clock)
  const [started, over] = [ms(ended.startedAt), ms(ended.endedAt)]
  expect(ms(ended.createdAt)).toBeLessThanOrEqual(started)
  if (ahead > 0) {
    expect(over).toBeGreaterThanOrEqual(wall)
    expect(over).toBeLessThanOrEqual(h.clock.wall())
    expect(over - started).toBeGreaterThanOrEqual(ahead)
  } else {
    // It took no less than was watched.
    expect(over - started).toBeGreaterThanOrEqual(1000)
    expect(over - started).toBeLessThan(60_000)
  }
  const last = (await h.engine.journal.why('run', made.id)).at(-1)
  expect(last?.rule).toBe('run-ended')
  if (last !== undefined) expect(ms(decisionView(last).at)).toBeGreaterThanOrEqual(wall)

  // What is made now is made now.
  const { id } = await h.engine.leases.request(leaseRequest())
  const young = await h.engine.leases.find(id)
  if (young !== undefined) expect(ms(leaseView(young, h.clock).requestedAt)).toBe(h.clock.wall())

  const before = await h.engine.workers.find(worker)
  if (before === undefined) throw new Error('the worker is not kept')
  const shown = workerView(before, h.clock)
  await h.crash()
  // The clocks of a daemon that starts agree.
  h.clock.setAhead(0)
  const after = await h.engine.workers.find(worker)
  if (after === undefined) throw new Error('the worker is not kept')
  const again = workerView(after, h.clock)
  expect([again.createdAt, again.readyAt]).toEqual([shown.createdAt, shown.readyAt])
})
