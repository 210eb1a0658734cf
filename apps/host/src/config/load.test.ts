import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { loadConfig } from './load.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-load-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

test('a byte that is no UTF-8 is a problem at its line: read anyway, a worker got another value than was written', async () => {
  const file = join(folder, 'muster.yaml')
  const lines = (last: string): Buffer => Buffer.from(`providers: {}\npools: {}\n# é\n${last}\n`, 'utf8')
  const mixed = Buffer.concat([lines('# ü'), Buffer.from('# caf\xe9\n', 'latin1')])
  await writeFile(file, mixed)
  const { config, problems } = await loadConfig(file)
  expect(config).toBeUndefined()
  expect(problems).toEqual([{ file, line: 5, column: 6, reason: 'the file is not UTF-8', fix: 'save it as UTF-8' }])
  await writeFile(file, lines('# ü'))
  expect((await loadConfig(file)).problems).toEqual([])
})

test('a duration that may be off is told how a duration is written, not that off is all there is', async () => {
  const file = join(folder, 'muster.yaml')
  for (const stats of ['90', '5min', "''"]) {
    await writeFile(file, `providers: { local: { plugin: local, stats: ${stats} } }\npools: {}\n`)
    const [problem] = (await loadConfig(file)).problems
    expect(problem?.reason).toMatch(/'providers\.local\.stats': .*(duration|30s)/)
    expect(problem?.fix).not.toContain('off')
  }
})
