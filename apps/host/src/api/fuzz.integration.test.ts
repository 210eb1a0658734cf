/** The API as it is documented, asked by the careless and the hostile. The seed is printed; MUSTER_FUZZ_SEED repeats it. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { startTestDaemon } from './testing/daemon.ts'
import { fuzz } from './testing/fuzz/fuzz.ts'

/** In CI always the same, so that what fails there fails again; at a desk another each time. */
const SEED = Number(process.env['MUSTER_FUZZ_SEED'] ?? (process.env['CI'] === 'true' ? 1 : Math.floor(Math.random() * 2 ** 31)))
const REQUESTS = Number(process.env['MUSTER_FUZZ_REQUESTS'] ?? 20_000)
/** Records, journal and the log that the test keeps grow with the requests; what leaks with each of them would be more. */
const GROWTH_BYTES = 200 * 2 ** 20

test(`${REQUESTS} requests from the document`, { timeout: 900_000 }, async () => {
  process.stdout.write(`fuzz: MUSTER_FUZZ_SEED=${SEED}\n`)
  await using daemon = await startTestDaemon({
    realRuns: true,
    agents: true,
    limits: { failures: { burst: 1000, perSecond: 10 } },
  })
  const before = heapBytes()
  const told = await fuzz(daemon, { seed: SEED, requests: REQUESTS })
  process.stdout.write(`fuzz: ${JSON.stringify(told.statuses)}, ${told.cut} cut off\n`)
  expect(told.wrong.slice(0, 20)).toEqual([])
  expect(Object.keys(told.statuses).filter((status) => Number(status) >= 500)).toEqual([])
  expect(told.sent).toBeGreaterThanOrEqual(REQUESTS)
  const perOperation = Object.values(told.perOperation)
  expect(perOperation.length).toBeGreaterThanOrEqual(45)
  expect(Math.min(...perOperation)).toBeGreaterThanOrEqual(Math.min(200, Math.floor(REQUESTS / perOperation.length)))
  await waitFor('every stream to be let go', () => daemon.api.streams() === 0)
  await waitFor('every connection to be let go', async () => (await daemon.api.connections()) === 0)
  expect(heapBytes() - before).toBeLessThan(GROWTH_BYTES)
  expect(daemon.harness.reports).toEqual([])
  // Fewer do not reach everything.
  if (REQUESTS < 20_000) return
  for (const status of [200, 201, 204, 400, 401, 403, 404, 409, 413, 415, 422])
    expect([status, told.statuses[status]]).not.toEqual([status, undefined])
  // A command of this vendor seldom gets to leave an output, no worker's end is ever stuck, no provider is leaving, its plugin never falls back, and it has no
  // terminals.
  const rare = ['getOutput', 'forgetWorker', 'forgetProvider', 'acknowledgePlugin', 'openTerminal']
  expect(Object.keys(told.perOperation).filter((one) => !told.done.has(one) && !rare.includes(one))).toEqual([])
})

function heapBytes(): number {
  setFlagsFromString('--expose_gc')
  ;(runInNewContext('gc') as () => void)()
  return process.memoryUsage().heapUsed
}
