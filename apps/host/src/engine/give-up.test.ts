/** A provider that the configuration names no longer, and that an operator gives up. */
import { afterEach, describe, expect, test } from 'vitest'
import { entriesOf, type ProviderEntry } from './entries.ts'
import type { PoolConfig } from './model.ts'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'
import { holdingProviders } from './working.ts'

let h: Harness
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

const both = poolConfig({ placement: ['one', 'two'] })
const vendor = (name: string): string[] => [...h.provider(name).vendor.workers.keys()]

async function configure(pools: PoolConfig[], entries: readonly ProviderEntry[] = []): Promise<void> {
  const settings = { reconcileMs: 30_000, orphanGraceMs: 1e9, retention: { recordsMs: 1e12, journalMs: 1e12 } }
  await h.engine.configure({ pools, ...settings }, { principal: 'tester', changes: ['it'], commit: () => undefined, entries })
  await h.pass(100)
}

async function held(): Promise<{ id: string; worker: string }> {
  const { id } = await h.engine.leases.request(leaseRequest())
  await h.pass(100)
  return { id, worker: h.engine.leases.get(id)?.worker_id ?? '' }
}

describe('a provider that does not go', () => {
  const how = { principal: 'ann', reason: 'its plugin lies' }
  const stray = `w${'7'.repeat(26)}`

  /** It says for ever that it has a worker of ours. */
  async function lying(): Promise<void> {
    h = await openHarness({ pools: [both], providers: [{ name: 'one' }, { name: 'two' }] })
    const { id, worker } = await held()
    const seen = h.provider('one').vendor.workers.get(worker)
    if (seen === undefined) throw new Error('no worker')
    const tags = { ...seen.spec.tags, 'muster-worker': stray }
    h.provider('one').vendor.workers.set(stray, { ...seen, spec: { ...seen.spec, id: stray, tags } })
    await h.engine.reconcile('one')
    expect(await h.engine.orphans('one')).toHaveLength(1)
    await configure(
      [both],
      ['one', 'two'].map((name) => ({ name, value: '{}' })),
    )
    await expect(h.engine.providers.forget('one', how)).rejects.toMatchObject({ code: 'conflict' })
    h.leaving.add('one')
    await configure([{ ...both, placement: ['two'] }])
    await expect(h.engine.providers.forget('one', how)).rejects.toMatchObject({
      code: 'conflict',
      message: 'one has 1 worker with a record',
    })
    await h.engine.leases.release(id, { reason: 'done' })
    await h.pass(1000)
    expect([...h.leaving]).toEqual(['one'])
  }
  const noted = async (): Promise<string[]> => (await entriesOf(h.engine.store)).map((one) => one.name)

  test('is given up by an operator, with what it says that it has, and no daemon knows it any more', async () => {
    await lying()
    const dropped: unknown[] = []
    const { drop } = h.engine.plugins
    Object.assign(h.engine.plugins, {
      drop: (...given: Parameters<typeof drop>) => {
        dropped.push(given)
        return drop(...given)
      },
    })
    await expect(h.engine.providers.forget('three', how)).rejects.toMatchObject({ code: 'not-found' })
    expect(await h.engine.providers.forget('one', how)).toEqual({ orphans: 1, prepared: [] })
    // Its own folder, by which what is left there is found, stays.
    expect(dropped).toEqual([['one', { left: true }]])
    expect([h.engine.plugins.find('one'), h.engine.conditions.list(), await noted()]).toEqual([undefined, [], ['two']])
    expect(await h.engine.orphans('one')).toEqual([])
    const told = (await h.engine.journal.why('provider', 'one')).at(-1)
    expect([told?.rule, JSON.parse(told?.inputs ?? '')]).toEqual(['provider-given-up', { ...how, orphans: 1, prepared: [] }])
    const before = h.provider('one').vendor.calls.length
    await h.pass(300_000)
    expect([h.provider('one').vendor.calls.length, vendor('one')]).toEqual([before, [stray]])
    expect(await holdingProviders(h.engine.store)).not.toContain('one')
  })

  test('is given up too where nobody can open it', async () => {
    await lying()
    h.leaving.delete('one')
    h.absent.add('one')
    await h.crash()
    expect(await holdingProviders(h.engine.store)).toContain('one')
    expect(await h.engine.providers.forget('one', how)).toEqual({ orphans: 1, prepared: [] })
    expect([await noted(), [...(await holdingProviders(h.engine.store))].includes('one')]).toEqual([['two'], false])
  })
})
