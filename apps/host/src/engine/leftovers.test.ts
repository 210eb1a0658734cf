import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { dropLeftovers, startLeftovers } from './leftovers.ts'
import { testClock } from './testing/clock.ts'

const day = 86_400_000
const clock = testClock()
let dataDir: string
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'muster-leftovers-'))
})
afterEach(() => rmSync(dataDir, { recursive: true, force: true }))

function folder(path: string, days: number): void {
  mkdirSync(join(dataDir, path), { recursive: true })
  writeFileSync(join(dataDir, path, 'file'), 'x')
  const at = new Date(clock.now() - days * day)
  utimesSync(join(dataDir, path), at, at)
}
const drop = (inUse: string[] = []): Promise<void> =>
  dropLeftovers({
    dataDir,
    clock,
    keep: () => ({ replacedMs: 90 * day, unpackedMs: 30 * day }),
    inUse: () => Promise.resolve(inUse),
  })

test('what a restore replaced goes after its time, and nothing else of the folder', async () => {
  folder('before-restore-2026-01-01T00-00-00-000Z', 91)
  folder('before-restore-2026-04-01T00-00-00-000Z', 89)
  folder('runs', 500)
  folder('providers', 500)
  await drop()
  expect(readdirSync(dataDir).sort()).toEqual(['before-restore-2026-04-01T00-00-00-000Z', 'providers', 'runs'])
})

test('an unpacked plugin goes when nobody has run it for so long, and a half one too', async () => {
  const [old, used, young] = ['a', 'b', 'c'].map((letter) => letter.repeat(128)) as [string, string, string]
  folder(`plugins/${old}`, 31)
  folder(`plugins/${used}`, 31)
  folder(`plugins/${young}`, 29)
  folder(`plugins/.draft-${'0'.repeat(16)}`, 31)
  folder('plugins/of-somebody-else', 500)
  await drop([join(dataDir, 'plugins', used)])
  expect(readdirSync(join(dataDir, 'plugins')).sort()).toEqual([used, young, 'of-somebody-else'].sort())
})

test('a data folder without any is fine', async () => {
  await expect(drop()).resolves.toBeUndefined()
})

test('a round that fails is told, and the next one comes all the same', async () => {
  folder(`plugins/${'a'.repeat(128)}`, 31)
  const time = testClock()
  const reports: unknown[] = []
  let fails = true
  const leftovers = startLeftovers({
    ...{ dataDir, clock: time, keep: () => ({ replacedMs: 90 * day, unpackedMs: 30 * day }) },
    inUse: () => (fails ? Promise.reject(new Error('the store is away')) : Promise.resolve([])),
    report: (message, data) => reports.push([message, data]),
  })
  leftovers.now()
  await waitFor('the first round', () => reports.length > 0)
  expect(reports).toEqual([['what is left over could not be removed', { error: 'Error: the store is away' }]])
  fails = false
  await waitFor('the next round', () => time.step(time.now() + 3_600_000))
  await leftovers.stop()
  expect(readdirSync(join(dataDir, 'plugins'))).toEqual([])
})
