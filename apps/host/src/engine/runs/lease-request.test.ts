import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { RunRequest } from '../model.ts'
import { type Harness, leaseRequest, openHarness, poolConfig } from '../testing/harness.ts'
import { startRuns } from './index.ts'

const plain: RunRequest = { command: ['true'], requirements: {}, stdin: false, inputs: [], outputs: [] }

test.each([
  [{ stdin: true }, 'stdin', 'standard input'],
  [{ inputs: ['in', 'tools'].map((name) => ({ name, path: name })) }, 'inputs', 'in, tools'],
  [{ outputs: ['out', 'report'].map((name) => ({ name, path: name })) }, 'outputs', 'out, report'],
] as const)('a worker that is its command could not be given this, so it is refused: %j', async (given, field, asked) => {
  const dir = mkdtempSync(join(tmpdir(), 'muster-refuse-'))
  const h = await openHarness({ pools: [poolConfig()], providers: [{ name: 'one' }] })
  const report = (message: string, error: unknown): void => void h.reports.push({ message, error })
  const runs = await startRuns({ engine: h.engine, dataDir: dir, killpoint: () => undefined, report })
  try {
    const ask = (request: Partial<RunRequest>): Promise<unknown> =>
      runs.create({ ...plain, ...given, ...request }, { principal: 'tester' })
    const refused = {
      code: 'refused',
      hint: expect.stringContaining('mode hold'),
      refusal: { nearest: { pool: 'ci', field, asked } },
    }
    await expect(ask({ pool: 'ci', requirements: { mode: 'command' } })).rejects.toMatchObject(refused)
    const lease = await h.engine.leases.request(leaseRequest())
    await expect(ask({ lease: lease.id, requirements: { mode: 'command' } })).rejects.toMatchObject({
      code: 'refused',
      message: `lease ${lease.id} cannot serve this: mode is command, and the lease has a worker that holds`,
      refusal: { nearest: { pool: 'ci', field: 'mode', asked: 'command', has: 'hold' } },
    })
    await ask({ pool: 'ci' })
    await ask({ lease: lease.id, requirements: { mode: 'hold' } })
    expect(h.reports).toEqual([])
  } finally {
    await runs.stop()
    await h.close()
    rmSync(dir, { recursive: true, force: true })
  }
})

async function inLease(
  work: (h: Harness, ask: (request: Partial<RunRequest>) => Promise<unknown>) => Promise<void>,
): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'muster-refuse-'))
  const worker = { image: 'debian', env: { A: '1' }, resources: { cpu: 2 } }
  const h = await openHarness({ pools: [poolConfig({ worker })], providers: [{ name: 'one' }] })
  const report = (message: string, error: unknown): void => void h.reports.push({ message, error })
  const runs = await startRuns({ engine: h.engine, dataDir: dir, killpoint: () => undefined, report })
  try {
    await work(h, (request) => runs.create({ ...plain, ...request }, { principal: 'tester' }))
    expect(h.reports).toEqual([])
  } finally {
    await runs.stop()
    await h.close()
    rmSync(dir, { recursive: true, force: true })
  }
}

test.each([
  [{ image: 'alpine' }, 'image is alpine, and its worker has debian'],
  [{ arch: 'arm64' }, 'arch is arm64, and its worker has none'],
  [{ resources: { cpu: 2, memoryBytes: 5 } }, 'resources.memoryBytes is 5, and its worker has none'],
  [{ resources: { cpu: 3 } }, 'resources.cpu is 3, and its worker has 2'],
  [{ env: { A: '1' } }, 'env is A, and its worker has what it was made with'],
  [{ labels: { team: 'a' } }, 'labels.team is a, and its worker has none'],
] as const)('the worker of a lease becomes nothing else: %j is refused, before it is there and after', (requirements, why) =>
  inLease(async (h, ask) => {
    const lease = await h.engine.leases.request(leaseRequest())
    const refused = { code: 'refused', message: `lease ${lease.id} cannot serve this: ${why}` }
    await expect(ask({ lease: lease.id, requirements })).rejects.toMatchObject(refused)
    await h.pass(5000)
    expect(h.engine.leases.get(lease.id)?.worker_id).not.toBeNull()
    await expect(ask({ lease: lease.id, requirements })).rejects.toMatchObject(refused)
    // What it is anyway, or what the lease asked for, may be said.
    await ask({ lease: lease.id, requirements: { image: 'debian', resources: { cpu: 2 } } })
  }),
)

test('the lease of a run is nobody else’s: what is in it would be told that run’s exit and log', () =>
  inLease(async (h, ask) => {
    const run = (await ask({ pool: 'ci' })) as { id: string; lease_id: string }
    const other = { field: 'lease', asked: run.lease_id, has: run.id }
    await expect(ask({ lease: run.lease_id })).rejects.toMatchObject({ code: 'refused', refusal: { nearest: other } })
    await h.pass(5000)
    await expect(ask({ lease: run.lease_id })).rejects.toMatchObject({ code: 'refused', refusal: { nearest: other } })
  }))

test('a lease goes by the worker that it has, whatever its pool has come to make', () =>
  inLease(async (h, ask) => {
    const lease = await h.engine.leases.request(leaseRequest())
    await h.pass(5000)
    const settings = { reconcileMs: 30_000, orphanGraceMs: 120_000, retention: { recordsMs: 1e12, journalMs: 1e12 } }
    const pools = [poolConfig({ work: 'agent', worker: { image: 'alpine' } })]
    await h.engine.configure({ pools, ...settings }, { principal: 'tester', changes: ['it'], commit: () => undefined })
    const asked = ask({ lease: lease.id, requirements: { image: 'alpine' } })
    await expect(asked).rejects.toMatchObject({ message: expect.stringContaining('its worker has debian') })
    // What an agent has not, this one has.
    await ask({ lease: lease.id, requirements: { image: 'debian', mode: 'hold' }, stdin: true })
  }))
