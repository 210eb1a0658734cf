/** What is told of a plugin that fell back, and until when. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { entriesOf } from './entries.ts'
import { fallbacksOf } from './fallback.ts'
import { type Harness, openHarness, poolConfig } from './testing/harness.ts'

let h: Harness
beforeEach(async () => {
  const pools = [
    poolConfig(),
    poolConfig({ name: 'both', placement: ['two', 'one'] }),
    poolConfig({ name: 'other', placement: ['two'] }),
  ]
  h = await openHarness({ pools, providers: [{ name: 'one' }, { name: 'two' }] })
})
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

const how = { principal: 'the daemon', alias: 'cloud', before: '2.0.0', after: '1.0.0', providers: ['one'], known: {} }
const fallBack = { provider: 'one', tree: 'sha512-two', beforeTree: 'sha512-one', reason: 'it ended by itself (exit 3)' }
const shown = (): string[] =>
  h.engine.conditions.list().flatMap(({ scope, name, type }) => (type === 'fell-back:cloud' ? [`${scope}/${name}`] : []))
const kept = async (): Promise<string[]> =>
  (await fallbacksOf(h.engine.store)).map((one) => `${one.alias} ${one.tree} ${one.before_tree}`)

test('every pool of the provider shows it, over a restart too, until somebody has seen it', async () => {
  await h.engine.upgrades.switch({ ...how, fallBack, entries: [{ name: 'one', value: '{}' }], commit: () => undefined })
  await h.settle()
  await h.crash()
  expect(shown()).toEqual(['pool/ci', 'pool/both'])
  const message = "version 2.0.0 of the plugin 'cloud' cannot start for one, and 1.0.0 runs instead: it ended by itself (exit 3)"
  expect(h.engine.conditions.list()).toContainEqual(expect.objectContaining({ type: 'fell-back:cloud', message }))
  expect(await kept()).toEqual(['cloud sha512-two sha512-one'])
  expect(await entriesOf(h.engine.store)).toEqual([{ name: 'one', value: '{}' }])
  await expect(h.engine.upgrades.acknowledge('clouds', { principal: 'ann' })).rejects.toMatchObject({ code: 'not-found' })
  expect(await h.engine.upgrades.acknowledge('cloud', { principal: 'ann' })).toEqual(['ci', 'both'])
  await h.settle()
  // What runs stays as it is.
  expect([shown(), await kept()]).toEqual([[], ['cloud sha512-two sha512-one']])
  await expect(h.engine.upgrades.acknowledge('cloud', { principal: 'ann' })).rejects.toMatchObject({ code: 'not-found' })
  const rules = (await h.engine.journal.after(0, 100)).map((one) => one.rule)
  expect(rules.filter((rule) => rule.startsWith('plugin-') || rule.startsWith('fall'))).toEqual([
    'plugin-fell-back',
    'fall-back-seen',
  ])
})

test('another version that takes over ends what was kept and what is shown: it is the word of an operator', async () => {
  await h.engine.upgrades.switch({ ...how, fallBack, commit: () => undefined })
  await h.engine.upgrades.switch({ ...how, principal: 'ann', before: '1.0.0', after: '3.0.0', commit: () => undefined })
  await h.settle()
  expect([shown(), await kept()]).toEqual([[], []])
})

test('so does another configuration, once no provider runs what fell back', async () => {
  const pools = [...h.engine.pools.list()].map((one) => one.config)
  const rest = { reconcileMs: 30_000, orphanGraceMs: 120_000, retention: { recordsMs: 1e12, journalMs: 1e12 } }
  const configure = (versions: Record<string, string>): Promise<void> => {
    const all = Object.entries(versions).map(([name, version]) => [name, { version, package: '@muster-test/vendor' }])
    const how = { principal: 'ann', changes: [], versions: Object.fromEntries(all), commit: () => undefined }
    return h.engine.configure({ pools, ...rest }, how)
  }
  for (const name of ['one', 'two']) {
    const provider = h.provider(name)
    const { status } = provider
    provider.status = () => ({ ...status(), alias: 'cloud' })
  }
  await h.engine.upgrades.switch({ ...how, providers: ['one', 'two'], fallBack, commit: () => undefined })
  await configure({})
  await configure({ one: '3.0.0' })
  await h.settle()
  expect([shown().length, (await kept()).length]).toEqual([3, 1])
  await configure({ one: '3.0.0', two: '3.0.0' })
  await h.settle()
  expect([shown(), await kept()]).toEqual([[], []])
})
