/** What a provider refuses to make: for how long, who waits, and who is told in whose words. */
import { ProviderError } from '@muster/core'
import { afterEach, describe, expect, test } from 'vitest'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'

let h: Harness
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

const words = 'the engine has no image x:1, and the pool pulls none'
const absent = new ProviderError('unsupported', words, {
  effect: 'none',
  path: 'image',
  retryAfterMs: 5000,
  hint: 'Put it there.',
})
const never = new ProviderError('unsupported', 'the machine has 2', { effect: 'none', path: 'resources.cpu' })

async function open(error: ProviderError, pool: Parameters<typeof poolConfig>[0] = {}): Promise<{ mend(): void }> {
  let broken = true
  h = await openHarness({
    pools: [poolConfig({ worker: { image: 'x:1' }, ...pool })],
    providers: [{ name: 'one', fault: (method) => (method === 'launch' && broken ? { error } : undefined) }, { name: 'two' }],
  })
  return { mend: () => void (broken = false) }
}

async function ask(requirements = {}, ms = 100): Promise<string> {
  const { id } = await h.engine.leases.request(leaseRequest({ requirements }))
  await h.pass(ms)
  return id
}
const launches = (): number => h.provider().vendor.calls.filter((call) => call.method === 'launch').length
const conditions = (): string[] => h.engine.conditions.list().map(({ name, type }) => `${name} ${type}`)
/** Its reason, without when it is asked again. */
const waiting = (): string | undefined => h.engine.pools.get('ci')?.waiting.replace(/; tried again at \d{4}-\S+Z$/, '')

test('for now: whoever asks waits, tries go on ever more rarely, and the pool says it in its words until one succeeds', async () => {
  const { mend } = await open(absent, { queueTimeoutMs: 14_400_000 })
  const [first, second] = [await ask(), await ask()]
  expect([first, second].map((id) => h.engine.leases.get(id)?.state)).toEqual(['queued', 'queued'])
  expect(launches()).toBe(1)
  expect(waiting()).toBe(`one: for now it refuses image: ${words}`)
  expect(h.engine.conditions.list()).toMatchObject([
    { scope: 'pool', name: 'ci', type: 'refused:one', message: expect.stringContaining(words), hint: 'Put it there.' },
  ])
  const why = (await h.engine.journal.why('pool', 'ci')).map((row) => row.decision)
  expect(why).toContain(`waits: one: for now it refuses image: ${words}`)
  // However many wait: one refusal is one step.
  await h.pass(3_600_000)
  expect(launches()).toBeLessThan(60)
  expect(h.engine.leases.get(first)?.state).toBe('queued')
  mend()
  await h.pass(300_000)
  expect([first, second].map((id) => h.engine.leases.get(id)?.state)).toEqual(['active', 'active'])
  expect([conditions(), waiting()]).toEqual([[], ''])
  // It is forgotten: the next refusal begins with a short pause again.
  expect(launches()).toBeLessThan(60)
})

test('for now, where another one does it: that is taken, and the first one is asked again later', async () => {
  const { mend } = await open(absent, { placement: ['one', 'two'] })
  const providerOf = (id: string): string | undefined => h.engine.workers.get(h.engine.leases.get(id)?.worker_id ?? '')?.provider
  expect([providerOf(await ask()), providerOf(await ask()), launches()]).toEqual(['two', 'two', 1])
  expect(conditions()).toEqual(['ci refused:one'])
  mend()
  await h.pass(5000)
  expect([providerOf(await ask()), conditions()]).toEqual(['one', []])
})

test('for now, of what the request itself wants: it fails at once with the words, and the pool is well', async () => {
  await open(absent)
  const id = await ask({ image: 'typo:1' })
  expect(await h.engine.leases.find(id)).toMatchObject({
    end: 'failed',
    end_reason: `no placement is left: one: it does not support image: ${words}`,
  })
  expect(conditions()).toEqual([])
})

test.each([
  ['while another waits', true],
  ['before another asks', false],
])('for now, of what one request wants as its pool does, %s: it fails alone', async (_when, first) => {
  const { mend } = await open(absent)
  const plain = first ? undefined : await ask()
  const wished = await ask({ image: 'x:1' })
  const id = plain ?? (await ask())
  expect(await h.engine.leases.find(wished)).toMatchObject({ end: 'failed', end_reason: expect.stringContaining(words) })
  await h.pass(60_000)
  expect([h.engine.leases.get(id)?.state, waiting()]).toEqual(['queued', `one: for now it refuses image: ${words}`])
  expect(conditions()).toEqual(['ci refused:one'])
  mend()
  await h.pass(300_000)
  expect(h.engine.leases.get(id)?.state).toBe('active')
})

test('the stock of a pool: the reason is told without a lease that waits, and it is made once it can be', async () => {
  const { mend } = await open(absent, { work: 'hold', scale: { warm: 1 } })
  await h.pass(1000)
  expect(waiting()).toBe(`its stock: one: for now it refuses image: ${words}`)
  expect(conditions()).toEqual(['ci refused:one'])
  await h.pass(120_000)
  mend()
  await h.pass(300_000)
  expect(h.engine.pools.get('ci')?.workers).toEqual({ idle: 1 })
  expect([conditions(), waiting()]).toEqual([[], ''])
})

test('for good: whoever asks fails at once without a call, until the provider is asked anew after a while', async () => {
  const { mend } = await open(never)
  const reason = 'no placement is left: one: it does not support resources.cpu: the machine has 2'
  expect(await h.engine.leases.find(await ask())).toMatchObject({ end: 'failed', end_reason: reason })
  expect(await h.engine.leases.find(await ask())).toMatchObject({ end: 'failed', end_reason: reason })
  expect([launches(), conditions()]).toEqual([1, []])
  mend()
  await h.pass(5000)
  expect(h.engine.leases.get(await ask())?.state).toBe('active')
})

test('for good, of the stock: the pool says so, and tries go on', async () => {
  const { mend } = await open(never, { work: 'hold', scale: { warm: 1 } })
  await h.pass(1000)
  expect(waiting()).toBe('its stock: one: it does not support resources.cpu: the machine has 2')
  expect(h.engine.conditions.list()).toMatchObject([{ type: 'stock', message: expect.stringContaining('the machine has 2') }])
  mend()
  await h.pass(300_000)
  expect([h.engine.pools.get('ci')?.workers, conditions(), waiting()]).toEqual([{ idle: 1 }, [], ''])
})

test('an operator who has mended it need not wait: a reconcile asks anew', async () => {
  const { mend } = await open(absent)
  const id = await ask({}, 100_000)
  mend()
  await h.engine.reconcile('one')
  await h.pass(100)
  expect(h.engine.leases.get(id)?.state).toBe('active')
})

test('where nobody waits, it is no longer said once somebody asks for a look: nobody tries, and the image may be back', async () => {
  await open(absent)
  const id = await ask()
  await h.engine.leases.release(id, { reason: 'done' })
  await h.pass(600_000)
  expect(conditions()).toEqual(['ci refused:one'])
  await h.engine.reconcile('two')
  await h.engine.reconcile('one', 'run')
  expect(conditions()).toEqual(['ci refused:one'])
  await h.engine.reconcile('one')
  expect(conditions()).toEqual([])
  await ask()
  expect(conditions()).toEqual(['ci refused:one'])
})

test('another configuration of the pool may have mended it: what was refused is asked for anew, and no longer told', async () => {
  await open(absent)
  const id = await ask()
  await h.engine.leases.release(id, { reason: 'done' })
  await h.pass(100)

  const settings = { reconcileMs: 30_000, orphanGraceMs: 120_000, retention: { recordsMs: 1e12, journalMs: 1e12 } }
  const how = { principal: 'tester', changes: ['it'], commit: () => undefined }
  await h.engine.configure({ pools: [poolConfig({ worker: { image: 'y:1' } })], ...settings }, how)
  await h.pass(100)
  expect(conditions()).toEqual([])
})

test('a pool that waits says when it is tried again, as the clock of its readers has it, and each try moves that', async () => {
  await open(absent)
  await ask()
  const when = (): number => Date.parse(/; tried again at (\S+)$/.exec(h.engine.pools.get('ci')?.waiting ?? '')?.[1] ?? '')
  const first = when()
  expect(first - h.clock.wall()).toBeGreaterThan(4000)
  expect(first - h.clock.wall()).toBeLessThanOrEqual(5000)
  await h.pass(5000)
  expect(when() - first).toBeGreaterThanOrEqual(10_000)
})

test('for now, of what a request itself wants: whoever mended it asks again, and is heard as soon as the provider said', async () => {
  const { mend } = await open(absent)
  await ask()
  for (let tried = 0; tried < 8; tried++) await h.pass(60_000)
  const wished = await ask({ image: 'x:1' })
  expect(h.engine.leases.get(wished)).toBeUndefined()
  const [row] = (await h.engine.journal.why('lease', wished)).filter(({ rule }) => rule === 'no-placement-left')
  expect(row?.change).toMatch(/^A placement whose provider can serve this; asked again in \d+ s, or at once after a reconcile\.$/)
  mend()
  await h.pass(5000)
  expect(h.engine.leases.get(await ask({ image: 'x:1' }))?.state).toBe('active')
})

test('one who asks again and again for what is refused costs a call in the time that the provider said, and no more', async () => {
  await open(absent)
  for (let asked = 0; asked < 50; asked++) await ask({ image: 'typo:1' }, 1000)
  expect(launches()).toBeLessThanOrEqual(11)
  expect(launches()).toBeGreaterThanOrEqual(8)
})

describe('it is told until it is over', () => {
  const changes = (): Promise<string[]> =>
    h.engine.journal
      .why('pool', 'ci')
      .then((rows) => rows.map(({ rule }) => rule).filter((rule) => rule.startsWith('condition-')))

  test('a look that finds it as it was does not take it back', async () => {
    const { mend } = await open(absent)
    await ask()
    for (let looked = 0; looked < 3; looked++) {
      await h.engine.reconcile('one')
      await h.pass(100)
    }
    expect([launches(), await changes()]).toEqual([4, ['condition-raised']])
    mend()
    await h.engine.reconcile('one')
    await h.pass(100)
    expect([conditions(), await changes()]).toEqual([[], ['condition-raised', 'condition-cleared']])
  })

  test('of the stock too, over another configuration of something else', async () => {
    await open(absent, { work: 'hold', scale: { warm: 1 } })
    const settings = { reconcileMs: 30_000, orphanGraceMs: 120_000, retention: { recordsMs: 1e12, journalMs: 1e12 } }
    const how = { principal: 'tester', changes: ['it'], commit: () => undefined }
    await h.pass(100)
    const pool = poolConfig({ worker: { image: 'x:1' }, work: 'hold', scale: { warm: 1 } })
    await h.engine.configure({ pools: [{ ...pool, graceMs: pool.graceMs + 1 }], ...settings }, how)
    await h.pass(100)
    expect([launches(), await changes()]).toEqual([2, ['condition-raised']])
  })

  test('a worker of another shape is no sign that it is over', async () => {
    let refuses = true
    h = await openHarness({
      pools: [poolConfig({ worker: { image: 'x:1' } })],
      providers: [
        {
          name: 'one',
          fault: (method) => (method === 'launch' && refuses ? { error: absent } : undefined),
        },
      ],
    })
    await ask()
    refuses = false
    const other = await ask({ image: 'y:1' })
    expect([h.engine.leases.get(other)?.state, conditions()]).toEqual(['active', ['ci refused:one']])
    await h.pass(10_000)
    expect([conditions(), await changes()]).toEqual([[], ['condition-raised', 'condition-cleared']])
  })

  test('a worker of another shape is one that it is over, where nobody waits for the shape that was refused', async () => {
    let refuses = true
    const fault = (method: string) => (method === 'launch' && refuses ? { error: absent } : undefined)
    h = await openHarness({ pools: [poolConfig({ worker: { image: 'x:1' } })], providers: [{ name: 'one', fault }] })
    const gone = await ask()
    await h.engine.leases.release(gone, { reason: 'not needed' })
    await h.pass(100)
    expect(conditions()).toEqual(['ci refused:one'])
    refuses = false
    const other = await ask({ image: 'y:1' })
    expect([h.engine.leases.get(other)?.state, conditions()]).toEqual(['active', []])
  })
})
