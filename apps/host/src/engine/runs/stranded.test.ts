/** Commands for a worker that belongs to another version of its plugin than the one that was started: nobody who runs knows it. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ProviderError } from '@muster/core'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Runs } from '../runs-api.ts'
import { commandsIn } from '../testing/commands.ts'
import { type Harness, leaseRequest, openHarness, owner, poolConfig } from '../testing/harness.ts'
import { scriptedProvider } from '../testing/vendor.ts'
import { startRuns } from './index.ts'

let dir: string
let h: Harness
let runs: Runs

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'muster-stranded-'))
  h = await openHarness({ pools: [poolConfig({ work: 'hold', uses: 5 })], providers: [{ name: 'one' }] })
})
afterEach(async () => {
  await runs.stop()
  expect(h.reports).toEqual([])
  await h.close()
  await rm(dir, { recursive: true, force: true })
})

async function until(what: string, so: () => boolean, stepMs = 1000): Promise<void> {
  await waitFor(what, async () => {
    await h.pass(stepMs)
    return so()
  })
}

test('who asks for a command in it is told what it belongs to, and waits for it no longer than for any that takes none', async () => {
  const lease = await h.engine.leases.request(leaseRequest())
  await until('it to be held', () => h.engine.leases.get(lease.id)?.state === 'active')
  const worker = h.engine.leases.get(lease.id)?.worker_id ?? ''
  const newer = scriptedProvider({ name: 'one', version: '2.0.0', owner, clock: h.clock })
  commandsIn(newer, () => new ProviderError('not-found', `no worker ${worker}`))
  h.takeOver(newer)
  await h.crash(1000)
  const report = (message: string, error: unknown): void => void h.reports.push({ message, error })
  runs = await startRuns({ engine: h.engine, dataDir: dir, killpoint: () => undefined, report })
  const { id } = await runs.exec(worker, { command: ['make'], stdin: false }, { principal: 'tester' })
  await until('it to be given up', () => runs.get(id) === undefined)
  const told = await h.engine.journal.why('run', id)
  expect(told.map((row) => row.decision)).toContainEqual(
    expect.stringContaining('1 worker belongs to version 1.0.0 of its plugin, and 2.0.0, which was started, does not show it'),
  )
  expect(await runs.find(id)).toMatchObject({ outcome: 'infrastructure', started_at: null })
  expect(h.engine.workers.get(worker)).toMatchObject({ phase: 'leased', lease_id: lease.id })
})
