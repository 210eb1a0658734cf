/** A small share of fuzz.integration.test.ts, always the same, over runs that have a log. */
import { expect, test } from 'vitest'
import { startTestDaemon } from './testing/daemon.ts'
import { fuzz } from './testing/fuzz/fuzz.ts'

test('a few requests of each operation, right and wrong', { timeout: 60_000 }, async () => {
  await using daemon = await startTestDaemon()
  const made = await daemon.ask('POST', '/v1/runs', { body: { pool: 'ci', command: ['true'] } })
  daemon.runs.output(made.json['id'] as string, 'stdout', 'something')
  const told = await fuzz(daemon, { seed: 20_260_101, requests: 45 * 6 })
  expect(told.wrong).toEqual([])
  expect(told.statuses[200]).toBeGreaterThan(30)
  expect(daemon.harness.reports).toEqual([])
})

test.each([
  ['full', 507],
  ['io', 503],
  ['overloaded', 503],
] as const)('a store that is ill (%s) is said as documented', { timeout: 60_000 }, async (ill, status) => {
  await using daemon = await startTestDaemon({ realRuns: true, agents: true })
  const told = await fuzz(daemon, { seed: 20_260_102, requests: 45 * 4, ill })
  expect(told.wrong).toEqual([])
  expect(told.statuses[status]).toBeGreaterThan(0)
})
