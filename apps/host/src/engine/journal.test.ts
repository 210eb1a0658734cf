import { afterEach, expect, test } from 'vitest'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'

let h: Harness
afterEach(() => h.close())

test('a subscriber from before what is still kept waits like any other, and gets what comes next', async () => {
  h = await openHarness({ pools: [poolConfig()], providers: [{ name: 'one' }] })
  await h.engine.leases.request(leaseRequest())
  await h.pass(1000)
  await h.engine.store.write((tx) => tx.deleteFrom('journal').execute())
  const abort = new AbortController()
  const events = h.engine.events.subscribe(0, abort.signal)[Symbol.asyncIterator]()
  const first = events.next()
  // Without a wait in it the subscription would never let the loop turn again.
  for (let n = 0; n < 20; n++) await new Promise((resolve) => setImmediate(resolve))
  await h.engine.leases.request(leaseRequest())
  expect((await first).value).toMatchObject({ rule: 'lease-queued' })
  abort.abort()
  await events.return?.()
})

test('what comes after a decision is all that came after it, each once, and that itself is none of it', async () => {
  h = await openHarness({ pools: [poolConfig()], providers: [{ name: 'one' }] })
  await h.engine.leases.request(leaseRequest())
  await h.pass(1000)
  const all = (await h.engine.journal.after(0, 500)).map(({ seq }) => seq)
  expect(all.length).toBeGreaterThan(3)
  for (const [at, seq] of all.entries())
    expect((await h.engine.journal.after(seq, 500)).map((row) => row.seq)).toEqual(all.slice(at + 1))
  expect((await h.engine.journal.after(all[0] ?? 0, 2)).map(({ seq }) => seq)).toEqual(all.slice(1, 3))
})

test('of rows from before the start as many are read as were asked for', async () => {
  h = await openHarness({ pools: [poolConfig()], providers: [{ name: 'one' }] })
  await h.engine.leases.request(leaseRequest())
  await h.pass(1000)
  const all = (await h.engine.journal.after(0, 500)).map(({ seq }) => seq)
  await h.crash()
  expect((await h.engine.journal.after(0, 2)).map(({ seq }) => seq)).toEqual(all.slice(0, 2))
})
