import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type BundleLimits, type CrashFacts, dropBundles, openCrashes, writeBundle } from './bundle.ts'
import { createRedactor } from './redactor.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'muster-bundles-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

const day = 86_400_000
const asIs = (text: string): string => text
const write = (facts: CrashFacts, keep: BundleLimits = { most: 100, ms: 100 * day }, clean = asIs): Promise<string> =>
  writeBundle(dir, facts, { keep, clean })
const crash = (at: number, more: Partial<CrashFacts> = {}): CrashFacts => ({
  at,
  provider: 'p',
  plugin: { name: 'x', version: '1.0.0' },
  reason: 'killed',
  restarts: 0,
  output: [],
  ...more,
})

test('bundles go when they are too many, and when they are too old', async () => {
  const now = Date.UTC(2026, 5, 30)
  const names: string[] = []
  for (let ago = 9; ago >= 0; ago--)
    names.push(await write(crash(now - ago * day, { reason: `fell ${ago}` }), { most: 6, ms: 100 * day }))
  const left = (): Promise<string[]> =>
    readdir(join(dir, 'crashes')).then((all) => all.sort().map((name) => join('crashes', name)))
  expect(await left()).toEqual(names.slice(4))
  await dropBundles(dir, now, { most: 6, ms: 2.5 * day })
  expect(await left()).toEqual(names.slice(7))
  await dropBundles(join(dir, 'none'), now, { most: 0, ms: 0 })
})

test('they are read from the newest on, page by page, of all or of one provider; what is damaged or foreign is none', async () => {
  const now = Date.UTC(2026, 5, 30)
  for (let n = 0; n < 4; n++) await write(crash(now + n, { provider: n % 2 === 0 ? 'p' : 'other-p', reason: `fell ${n}` }))
  await writeFile(join(dir, 'crashes/2026-06-30T01-00-00.000Z-p.json'), '{"at":')
  await writeFile(join(dir, 'crashes/2026-06-30T02-00-00.000Z-p.json'), '{"at":1,"note":"x"}')
  await writeFile(join(dir, 'crashes/notes'), 'x')
  const crashes = openCrashes(dir, (_provider, text) => text)
  const reasons = async (query: object): Promise<unknown> => {
    const { items, next } = await crashes.list({ limit: 10, ...query })
    return [items.map((one) => one.reason), next]
  }
  expect(await reasons({})).toEqual([['fell 3', 'fell 2', 'fell 1', 'fell 0'], undefined])
  expect(await reasons({ provider: 'p' })).toEqual([['fell 2', 'fell 0'], undefined])
  const before = '2026-06-30T00-00-00.002Z-p'
  expect(await reasons({ limit: 2 })).toEqual([['fell 3', 'fell 2'], before])
  expect(await reasons({ limit: 2, before })).toEqual([['fell 1', 'fell 0'], undefined])
  expect(await crashes.get(before)).toEqual({ id: before, ...crash(now + 2, { reason: 'fell 2' }) })
  for (const id of ['2026-06-30T01-00-00.000Z-p', '../muster', `../crashes/${before}`, ''])
    expect(await crashes.get(id)).toBeUndefined()
  expect(await openCrashes(join(dir, 'none'), (_provider, text) => text).list({ limit: 1 })).toEqual({ items: [] })
})

test('a secret that became known only after it was said is not written, and one from before is not given out', async () => {
  const key = ['-----BEGIN PRIVATE KEY-----', 'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC', '-----END PRIVATE KEY-----'].join('\n')
  const said = crash(1000, { reason: 'bad t0ken"x', violation: 'of t0ken"x', output: ['{"m":"t0ken\\"x"}', ...key.split('\n')] })
  const redactor = createRedactor()
  const planted = (await write(said)).replace('crashes/', '').replace('.json', '')
  for (const secret of ['t0ken"x', key]) redactor.learn(secret)
  const written = await readFile(join(dir, await write({ ...said, at: 2000 }, undefined, redactor.clean)), 'utf8')
  const crashes = openCrashes(dir, (provider, text) => (provider === 'p' ? redactor.clean(text) : text))
  for (const text of [written, JSON.stringify(await crashes.get(planted))]) {
    expect(text).not.toMatch(/t0ken|PRIVATE|MIIE/)
    expect(text.match(/\[secret\]/g)).toHaveLength(6)
  }
})

test('a list neither holds the output of its bundles nor looks through it', async () => {
  const written = crash(1000, { violation: 'rule', output: ['a line', 'the last'] })
  await write(written)
  const looked: string[] = []
  const crashes = openCrashes(dir, (_provider, text) => {
    looked.push(text)
    return text
  })
  const { output, ...head } = written
  expect((await crashes.list({ limit: 1 })).items).toEqual([{ id: '1970-01-01T00-00-01.000Z-p', ...head }])
  expect(looked).toEqual(['killed', 'rule'])
  expect(await crashes.get('1970-01-01T00-00-01.000Z-p')).toMatchObject({ output })
})

const reasonsLeft = async (): Promise<string[]> => {
  const { items } = await openCrashes(dir, (_provider, text) => text).list({ limit: 100 })
  return items.map(({ provider, reason, at }) => `${provider} ${reason} ${at}`)
}

test('a provider that falls again and again takes no other’s bundles away', async () => {
  const keep = { most: 3, ms: 100 * day }
  await write(crash(1, { provider: 'other-p' }), keep)
  for (let at = 2; at <= 9; at += 1) await write(crash(at, { reason: `fell ${at}` }), keep)
  expect(await reasonsLeft()).toEqual(['p fell 9 9', 'p fell 8 8', 'p fell 7 7', 'other-p killed 1'])
})

test('of crashes for the same reason the first and the newest are kept, and what was before them stays', async () => {
  const keep = { most: 3, ms: 100 * day }
  await write(crash(1, { reason: 'the cause' }), keep)
  for (let at = 2; at <= 9; at += 1) {
    await write(crash(at), keep)
    // Of another one in between.
    await write(crash(at, { provider: 'other-p' }), keep)
  }
  const others = ['other-p killed 9', 'other-p killed 2']
  expect((await reasonsLeft()).sort()).toEqual([...others, 'p killed 2', 'p killed 9', 'p the cause 1'].sort())
  await write(crash(10, { plugin: { name: 'x', version: '2.0.0' } }), keep)
  await write(crash(11, { violation: 'rule' }), keep)
  expect((await reasonsLeft()).filter((one) => one.startsWith('p'))).toEqual(['p killed 11', 'p killed 10', 'p killed 9'])
})
