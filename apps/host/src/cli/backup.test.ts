import { execFileSync } from 'node:child_process'
import { mkdir, readdir, readFile, realpath, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { fileOf, writeBackup } from './backup.ts'

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

test('a backup that is given up takes nothing from another one to the same file, nor from what is called so', async () => {
  await using folder = await tempFolder('backup')
  const file = join(folder.path, 'b.tar')
  await writeFile(`${file}.part`, 'of somebody else')
  const begun = Promise.withResolvers<void>()
  const goOn = Promise.withResolvers<void>()
  const other = writeBackup(
    (async function* () {
      yield Buffer.alloc(100)
      begun.resolve()
      await goOn.promise
      yield Buffer.alloc(100)
    })(),
    file,
    false,
  )
  other.catch(() => undefined)
  await begun.promise
  const cut = (async function* () {
    yield Buffer.alloc(10)
    throw new Error('given up')
  })()
  await expect(writeBackup(cut, file, false)).rejects.toThrow('given up')
  expect((await readdir(folder.path)).length).toBe(2)
  goOn.resolve()
  // It came to be read back, and is no backup.
  await expect(other).rejects.toMatchObject({ name: 'ArchiveError' })
  expect(await readdir(folder.path)).toEqual(['b.tar.part'])
  expect(await readFile(`${file}.part`, 'utf8')).toBe('of somebody else')
})
