/** The stock of a pool when its workers cannot be had. */
import { ProviderError } from '@muster/core'
import { afterEach, expect, test } from 'vitest'
import { type Harness, openHarness, poolConfig } from './testing/harness.ts'

let h: Harness
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

const warm = poolConfig({ work: 'hold', scale: { warm: 1 } })
const conditions = (): string[] => h.engine.conditions.list().map(({ name, type }) => `${name} ${type}`)

async function configure(config: typeof warm): Promise<void> {
  const settings = { reconcileMs: 30_000, orphanGraceMs: 120_000, retention: { recordsMs: 1e12, journalMs: 1e12 } }
  const how = { principal: 'tester', changes: ['it'], commit: () => undefined }
  await h.engine.configure({ pools: [config], ...settings }, how)
  await h.settle()
}

test('workers for it that end before they are ready are made ever more rarely, until one gets ready', async () => {
  let sick = true
  h = await openHarness({
    pools: [poolConfig({ work: 'hold' })],
    providers: [
      {
        name: 'one',
        made: (id) =>
          void h.clock.after(1, () => {
            if (!sick) return
            Object.assign(h.provider().vendor.workers.get(id) ?? {}, { phase: 'exited', exit: { code: 1, reason: 'exit 1' } })
            h.provider().announce(id)
          }),
      },
    ],
  })
  const made = async (ms: number): Promise<number> => {
    const { length } = h.provider().vendor.made
    await h.pass(ms)
    return h.provider().vendor.made.length - length
  }
  await configure(warm)
  // After two seconds, four, eight, and so on.
  await h.pass(1000)
  expect(h.provider().vendor.made).toHaveLength(1)
  expect([await made(15_000), await made(30_000)]).toEqual([3, 1])
  sick = false
  await h.pass(60_000)
  expect(h.engine.pools.get('ci')?.workers).toEqual({ idle: 1 })
  sick = true
  const [idle] = h.engine.workers.live()
  await h.engine.workers.terminate(idle?.id ?? '', { principal: 'ann', reason: 'test', force: true })
  expect(await made(5000)).toBe(2)
})

test('that it cannot be made is said no longer once the pool keeps none', async () => {
  const refused = { error: new ProviderError('invalid-spec', 'no such size', { effect: 'none' }) }
  h = await openHarness({
    pools: [warm],
    providers: [{ name: 'one', fault: (method) => (method === 'launch' ? refused : undefined) }],
  })
  await h.pass(100)
  expect(conditions()).toEqual(['ci stock'])
  await configure({ ...warm, graceMs: 5000 })
  expect(conditions()).toEqual(['ci stock'])
  await configure({ ...warm, scale: { ...warm.scale, warm: 0 } })
  expect(conditions()).toEqual([])
})
