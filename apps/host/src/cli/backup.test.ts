import { execFileSync } from 'node:child_process'
import { mkdir, realpath, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { fileOf } from './backup.ts'

test('a backup takes the place of a regular file only, and of that when it is told to', async () => {
  await using folder = await tempFolder('backup')
  const here = await realpath(folder.path)
  const [file, pipe, link, nowhere, within] = ['file', 'pipe', 'link', 'nowhere', 'within'].map((name) => join(here, name)) as [
    string,
    string,
    string,
    string,
    string,
  ]
  await writeFile(file, 'earlier')
  execFileSync('sh', ['-c', 'mkfifo "$1"', 'sh', pipe])
  await symlink(file, link)
  await symlink(join(here, 'absent'), nowhere)
  await mkdir(within)
  expect(await fileOf(join(here, 'new'), 'o1', false)).toBe(join(here, 'new'))
  expect(await fileOf(within, 'o1', false)).toMatch(/within\/muster-o1-.*\.tar$/)
  expect(await fileOf(file, 'o1', true)).toBe(file)
  expect(await fileOf(link, 'o1', true)).toBe(file)
  for (const taken of [file, link])
    await expect(fileOf(taken, 'o1', false)).rejects.toMatchObject({ hint: expect.stringContaining('--force') })
  for (const force of [true, false]) {
    for (const odd of ['/dev/null', pipe])
      await expect(fileOf(odd, 'o1', force)).rejects.toMatchObject({
        message: `${odd} is no regular file`,
        hint: expect.not.stringContaining('--force'),
      })
    await expect(fileOf(nowhere, 'o1', force)).rejects.toThrow('leads nowhere')
  }
})
