import { chmod, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { CrashBundle, MusterClient } from '@muster/client'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { crashesOf, save } from './crashes.ts'

const bundle: CrashBundle = {
  id: '1970-01-01T00-00-01.000Z-p',
  at: '1970-01-01T00:00:01.000Z',
  provider: 'p',
  plugin: { name: 'x', version: '1.0.0' },
  reason: 'killed',
  restarts: 0,
  output: [],
}

test('a bundle that takes the place of a file is readable by its user alone, whoever could read that file', async () => {
  await using folder = await tempFolder('crash')
  const file = join(folder.path, 'crash.json')
  await writeFile(file, 'something longer than a bundle'.repeat(99))
  await chmod(file, 0o644)
  await expect(save(bundle, file, false)).rejects.toMatchObject({ hint: expect.stringContaining('--force') })
  await save(bundle, file, true)
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  expect(JSON.parse(await readFile(file, 'utf8'))).toEqual(bundle)
  await expect(save(bundle, join(file, 'x'), true)).rejects.toMatchObject({ hint: 'Name a file that this user may write.' })
})

test('a provider that is none is said to be none; one that is gone still has its bundles', async () => {
  const client = (items: CrashBundle[]): MusterClient =>
    ({
      providers: {
        crashes: async (query: object) => ({ items: 'provider' in query ? items : [bundle] }),
        get: async (name: string) => {
          if (name !== 'p') throw new Error(`there is no provider ${name}`)
          return { name }
        },
      },
    }) as unknown as MusterClient
  expect(await crashesOf(client([]))).toEqual({ items: [bundle] })
  expect(await crashesOf(client([]), 'p')).toEqual({ items: [] })
  expect(await crashesOf(client([bundle]), 'gone')).toEqual({ items: [bundle] })
  await expect(crashesOf(client([]), 'typo')).rejects.toThrow('there is no provider typo')
})
