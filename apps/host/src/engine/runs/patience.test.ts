import { ProviderError } from '@muster/core'
import { expect, test } from 'vitest'
import type { Job } from './deps.ts'
import { patienceFor } from './patience.ts'

/** What is written for a command whose starts fail in turn with these words. */
async function toldOf(reasons: readonly string[]): Promise<string[]> {
  const told: string[] = []
  const engine = {
    clock: { now: () => 0 },
    pools: { get: () => undefined },
    store: { write: async (work: (...given: unknown[]) => unknown) => work() },
    journal: { append: (_tx: unknown, _after: unknown, { inputs }: { inputs: { reason: string } }) => told.push(inputs.reason) },
  }
  const job = { deps: { engine }, run: { id: 'r', pool: 'ci' }, worker: { id: 'w', provider: 'one' } } as unknown as Job
  const patience = patienceFor(job)
  for (const reason of reasons) expect(await patience.spent(new ProviderError('throttled', reason))).toBeUndefined()
  return told
}

test('reasons that differ by a random name or a process number alone are told once', async () => {
  const full = (name: string, pid: number): string => `write /data/.x1.${name}: No space left on device (process ${pid})`
  const reasons = [full('deadbeef00112233', 4711), full('0123456789abcdef', 13_370), full('ffffffff00000000', 10_001)]
  expect(await toldOf(reasons)).toEqual([`throttled: ${reasons[0]}`])
})

test('another code is another reason, and there is a most', async () => {
  expect(await toldOf(['status 500', 'status 503', 'status 500'])).toHaveLength(2)
  expect(await toldOf(Array.from({ length: 50 }, (_, at) => `reason ${at}`))).toHaveLength(20)
})
