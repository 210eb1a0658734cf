/** Workers without a record, from the first list that shows them to their end. */
import { ProviderError } from '@muster/core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Harness, openHarness, owner, poolConfig } from './testing/harness.ts'
import type { Fault } from './testing/vendor.ts'

const GRACE = 120_000
const id = `w${'9'.repeat(26)}`
let h: Harness
let fault: Fault | undefined
beforeEach(async () => {
  fault = undefined
  h = await openHarness({
    pools: [poolConfig()],
    providers: [{ name: 'one', fault: (method) => (method === 'terminate' ? fault : undefined) }],
    // Lists come for a reason, or not at all.
    engine: { reconcileMs: 100 * GRACE, orphanGraceMs: GRACE },
  })
  await appear(id)
})
async function appear(one: string): Promise<void> {
  const tags = { 'muster-owner': owner, 'muster-provider': 'one', 'muster-pool': 'ci', 'muster-worker': one, 'muster-epoch': '1' }
  const spec = { id: one, tags, work: { mode: 'hold' as const } }
  h.provider().vendor.workers.set(one, { spec, phase: 'running', ready: true, visibleAt: 0 })
  await h.engine.reconcile('one')
}
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

const rules = async (): Promise<string[]> => (await h.engine.journal.why('worker', id)).map((row) => row.rule)

test('is removed when its grace is over, not with the next list that happens to come', async () => {
  await h.pass(GRACE - 1000)
  expect(h.provider().vendor.workers.size).toBe(1)
  await h.pass(2000)
  expect(h.provider().vendor.workers.size).toBe(0)
  expect(await rules()).toEqual(['orphan-quarantined', 'orphan-removed', 'orphan-gone'])
})

test('is decided on once, however often its end is asked for', async () => {
  fault = { error: new ProviderError('transient', 'busy') }
  await h.pass(GRACE)
  for (let tries = 0; tries < 3; tries++) {
    await h.engine.reconcile('one')
    await h.settle()
  }
  expect(await rules()).toEqual(['orphan-quarantined', 'orphan-removed'])
})

test('that takes its time to end is one until it is gone', async () => {
  const { terminate } = h.provider()
  h.provider().terminate = async () => ({ state: 'terminating' })
  await h.pass(GRACE + 1000)
  expect([await rules(), (await h.engine.orphans('one')).length]).toEqual([['orphan-quarantined', 'orphan-removed'], 1])
  h.provider().terminate = terminate
  await h.engine.reconcile('one')
  await h.settle()
  expect([(await rules()).at(-1), await h.engine.orphans('one')]).toEqual(['orphan-gone', []])
})

test('is told with the time at which it will be removed', async () => {
  const [orphan] = await h.engine.orphans('one')
  expect(orphan).toMatchObject({ id, pool: 'ci', state: 'quarantined', firstSeen: h.clock.now(), dueAt: h.clock.now() + GRACE })
})

test('that was removed is told with its pool to the end, and counted at its provider, as one that went by itself is not', async () => {
  expect(h.engine.providers.orphans('one')).toEqual({ known: 1, removed: 0 })
  await h.pass(GRACE + 2000)
  const rows = await h.engine.journal.why('worker', id)
  expect(rows.map((row) => [row.rule, row.pool])).toEqual([
    ['orphan-quarantined', 'ci'],
    ['orphan-removed', 'ci'],
    ['orphan-gone', 'ci'],
  ])
  const removedAt = rows.at(-1)?.at
  expect(h.engine.providers.orphans('one')).toEqual({ known: 0, removed: 1, removedAt })
  await appear(`w${'8'.repeat(26)}`)
  expect(h.engine.providers.orphans('one')).toEqual({ known: 1, removed: 1, removedAt })
  h.provider().vendor.workers.clear()
  await h.pass(1000)
  await h.engine.reconcile('one')
  await h.settle()
  expect(h.engine.providers.orphans('one')).toEqual({ known: 0, removed: 1, removedAt })
  expect(h.engine.providers.orphans('none')).toEqual({ known: 0, removed: 0 })
})

test('is told with its pool to the end across a restart', async () => {
  await h.crash()
  await h.pass(GRACE + 2000)
  await h.engine.reconcile('one')
  await h.settle()
  expect((await h.engine.journal.why('worker', id)).map((row) => row.pool)).toEqual(['ci', 'ci', 'ci'])
  expect(h.engine.providers.orphans('one')).toMatchObject({ known: 0, removed: 1 })
})

test('is removed when its grace is over also after a restart in between, which sees no reason for a list', async () => {
  await h.pass(GRACE / 2)
  await h.crash()
  await h.pass(GRACE / 2 - 1000)
  expect(h.provider().vendor.workers.size).toBe(1)
  await h.pass(2000)
  expect(h.provider().vendor.workers.size).toBe(0)
})

test('is removed when its own grace is over, though another was found meanwhile', async () => {
  await h.pass(GRACE / 2)
  const later = `w${'8'.repeat(26)}`
  await appear(later)
  await h.pass(GRACE / 2 + 1000)
  expect([...h.provider().vendor.workers.keys()]).toEqual([later])
  await h.pass(GRACE / 2)
  expect(h.provider().vendor.workers.size).toBe(0)
})
