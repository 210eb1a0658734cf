import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type CrashFacts, dropBundles, writeBundle } from './bundle.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'muster-bundles-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

const day = 86_400_000
const crash = (at: number): CrashFacts => ({
  at,
  provider: 'p',
  plugin: { name: 'x', version: '1.0.0' },
  reason: 'killed',
  restarts: 0,
  output: [],
})

test('bundles go when they are too many, and when they are too old', async () => {
  const now = Date.UTC(2026, 5, 30)
  const names: string[] = []
  for (let ago = 9; ago >= 0; ago--) names.push(await writeBundle(dir, crash(now - ago * day), { most: 6, ms: 100 * day }))
  const left = (): Promise<string[]> =>
    readdir(join(dir, 'crashes')).then((all) => all.sort().map((name) => join('crashes', name)))
  expect(await left()).toEqual(names.slice(4))
  await dropBundles(dir, now, { most: 6, ms: 2.5 * day })
  expect(await left()).toEqual(names.slice(7))
  await dropBundles(join(dir, 'none'), now, { most: 0, ms: 0 })
})
