import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { RunRequest } from '../model.ts'
import { leaseRequest, openHarness, poolConfig } from '../testing/harness.ts'
import { startRuns } from './index.ts'

const plain: RunRequest = { command: ['true'], requirements: {}, stdin: false, inputs: [], outputs: [] }

test.each([
  [{ stdin: true }, 'stdin'],
  [{ inputs: [{ name: 'in', path: 'work' }] }, 'inputs'],
  [{ outputs: [{ name: 'out', path: 'dist' }] }, 'outputs'],
] as const)('a worker that is its command could not be given this, so it is refused: %j', async (given, field) => {
  const dir = mkdtempSync(join(tmpdir(), 'muster-refuse-'))
  const h = await openHarness({ pools: [poolConfig()], providers: [{ name: 'one' }] })
  const report = (message: string, error: unknown): void => void h.reports.push({ message, error })
  const runs = await startRuns({ engine: h.engine, dataDir: dir, killpoint: () => undefined, report })
  try {
    const ask = (request: Partial<RunRequest>): Promise<unknown> =>
      runs.create({ ...plain, ...given, ...request } as RunRequest, { principal: 'tester' })
    const refused = { code: 'refused', hint: expect.stringContaining('mode hold'), refusal: { nearest: { pool: 'ci', field } } }
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
