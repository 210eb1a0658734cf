import { ProviderError } from '@muster/core'
import { afterEach, expect, test } from 'vitest'
import { type Harness, type HarnessOptions, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'
import type { Fault } from './testing/vendor.ts'

let h: Harness
afterEach(() => h?.close())

const marks = (): unknown[] => h.provider().vendor.calls.flatMap((one) => (one.method === 'mark' ? [one.leased] : []))

async function warm(given: Partial<HarnessOptions['providers'][number]> = {}): Promise<void> {
  h = await openHarness({
    pools: [poolConfig({ uses: 3, scale: { max: 1, warm: 1 } })],
    providers: [{ name: 'one', capabilities: { mark: true }, ...given }],
  })
  await h.pass(100)
}

const lease = async (): Promise<string> => {
  const { id } = await h.engine.leases.request(leaseRequest())
  await h.settle()
  return id
}

test('a provider is told when a worker becomes idle and when it is held again; what begins held is not told', async () => {
  await warm()
  expect(marks()).toEqual([false])
  const first = await lease()
  expect(marks()).toEqual([false, true])
  await h.engine.leases.release(first, { reason: 'enough' })
  await h.settle()
  expect(marks()).toEqual([false, true, false])

  await h.close()
  h = await openHarness({
    pools: [poolConfig({ scale: { max: 1 } })],
    providers: [{ name: 'one', capabilities: { mark: true } }],
  })
  await lease()
  await h.pass(100)
  expect([...h.engine.workers.live()]).toMatchObject([{ phase: 'leased' }])
  expect(marks()).toEqual([])
})

test('one that does not want to know is not told', async () => {
  await warm({ capabilities: {} })
  await lease()
  expect(marks()).toEqual([])
})

test('a lease waits for no word; what fails is said again, as it is by then, and not for ever', async () => {
  let broken = true
  await warm({
    fault: (method) =>
      method === 'mark' && broken ? { error: new ProviderError('transient', 'away', { effect: 'none' }) } : undefined,
  })
  const id = await lease()
  expect(h.engine.leases.get(id)).toMatchObject({ state: 'active' })
  await h.pass(3_600_000 / 12)
  const tries = marks().length
  expect(tries).toBeLessThanOrEqual(10)
  await h.pass(60_000)
  expect(marks()).toHaveLength(tries)
  broken = false
  await h.engine.leases.release(id, { reason: 'enough' })
  await h.settle()
  expect(marks().slice(tries)).toEqual([false])
})

test('a worker that is leased is told of at once, though a word before it failed and waits', async () => {
  let broken = true
  await warm({
    fault: (method) =>
      method === 'mark' && broken ? { error: new ProviderError('transient', 'away', { retryAfterMs: 60_000 }) } : undefined,
  })
  expect(marks()).toEqual([false])
  broken = false
  await lease()
  expect(marks()).toEqual([false, true])
  await h.pass(120_000)
  expect(marks()).toEqual([false, true])
})

test('an answer that is late holds up no other change, and the last word is the one that is true', async () => {
  await warm({ fault: (method) => (method === 'mark' ? { delayMs: 10_000 } : undefined) })
  const id = await lease()
  expect(h.engine.leases.get(id)).toMatchObject({ state: 'active' })
  await h.pass(60_000)
  expect(marks()).toEqual([false, true])
})

test('after a restart each is told of once more: what was said last is not known', async () => {
  await warm()
  await h.crash()
  await h.pass(100)
  expect(marks()).toEqual([false, false])
  await lease()
  await h.crash()
  await h.pass(100)
  expect(marks()).toEqual([false, false, true, true])
})

test('a word that fails after its worker has ended concerns nobody, and others are told', async () => {
  const unheard: unknown[] = []
  const hear = (error: unknown): void => void unheard.push(error)
  process.on('unhandledRejection', hear)
  try {
    let fault: Fault | undefined = { delayMs: 10_000, error: new ProviderError('transient', 'away') }
    await warm({ fault: (method) => (method === 'mark' ? fault : undefined) })
    fault = undefined
    const [worker] = [...h.engine.workers.live()]
    await h.engine.workers.terminate(worker?.id ?? '', { principal: 'ann', reason: 'test', force: false })
    await h.pass(20_000)
    expect(await h.engine.workers.find(worker?.id ?? '')).toMatchObject({ end: 'gone' })
    expect([unheard, marks()]).toEqual([[], [false, false]])
  } finally {
    process.off('unhandledRejection', hear)
  }
})
