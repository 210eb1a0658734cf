import { execFileSync } from 'node:child_process'
import { chmod, mkdir, readdir, readFile, realpath, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { openBackups } from '../store/backup.ts'
import { openIdentity } from '../store/identity.ts'
import { openSqliteStore } from '../store/open.ts'
import { dropLeft, fileOf, keep } from './backup.ts'

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

async function tarOf(dataDir: string): Promise<Uint8Array[]> {
  const store = await openSqliteStore(dataDir)
  await openIdentity(store, dataDir)
  const backups = await openBackups({ store, dataDir, version: '1.2.3' })
  const taken = await backups.begin({ key: false, logs: false }, new AbortController().signal)
  const chunks: Uint8Array[] = []
  for await (const chunk of taken?.tar ?? []) chunks.push(chunk)
  await taken?.dispose()
  await store.close()
  return chunks
}

async function* given(chunks: readonly Uint8Array[], meanwhile?: () => Promise<unknown>): AsyncGenerator<Uint8Array> {
  yield* chunks.slice(0, 1)
  await meanwhile?.()
  yield* chunks.slice(1)
}

test('a backup is written into no file that was there before: not into one of others, and not through a link', async () => {
  await using folder = await tempFolder('backup')
  const chunks = await tarOf(join(folder.path, 'data'))
  const [open, led, victim] = ['open.tar', 'led.tar', 'victim'].map((name) => join(folder.path, name)) as [string, string, string]
  await writeFile(`${open}.part`, 'of others')
  await chmod(`${open}.part`, 0o666)
  await writeFile(victim, 'precious')
  await symlink(victim, `${led}.part`)
  for (const file of [open, led]) {
    await keep(given(chunks), { file, force: false })
    expect((await stat(file)).mode & 0o777).toBe(0o600)
  }
  expect([await readFile(`${open}.part`, 'utf8'), await readFile(victim, 'utf8')]).toEqual(['of others', 'precious'])
})

test('two backups to one file at once do not touch each other', async () => {
  await using folder = await tempFolder('backup')
  const chunks = await tarOf(join(folder.path, 'data'))
  const file = join(folder.path, 'nightly.tar')
  // The second one is cut off while the first is written, a third is whole before it.
  const cut = (): Promise<unknown> =>
    keep(
      given(chunks, async () => Promise.reject(new Error('cut off'))),
      { file, force: true },
    ).catch(String)
  const meanwhile = async (): Promise<void> => {
    expect(await cut()).toBe('Error: cut off')
    await keep(given(chunks), { file, force: true })
  }
  await keep(given(chunks, meanwhile), { file, force: true })
  expect(Buffer.concat(chunks).equals(await readFile(file))).toBe(true)
  expect((await readdir(folder.path)).sort()).toEqual(['data', 'nightly.tar'])
})

test('a backup that is cut off while its file is being made leaves none', async () => {
  await using folder = await tempFolder('backup')
  const cut = (): AsyncGenerator<Uint8Array> => given([], async () => Promise.reject(new Error('cut off')))
  for (let round = 0; round < 1000; round++)
    await expect(keep(cut(), { file: join(folder.path, `${round}.tar`), force: true })).rejects.toThrow('cut off')
  expect(await readdir(folder.path)).toEqual([])
})

test('what a backup that was killed has left is removed by a later one to the same place, a day after it was written last', async () => {
  await using folder = await tempFolder('backup')
  const at = (name: string): string => join(folder.path, name)
  const id = '0123456789abcdef'
  const yesterday = Date.now() / 1000 - 90_000
  const old = [
    `nightly.tar.${id}.part`,
    `muster-o1-20260101T010101Z.tar.${id}.part`,
    ...[`nightly.tar2.${id}.part`, 'nightly.tar.part', `muster-o2-20260101T010101Z.tar.${id}.part`, 'nightly.tar.0123.part'],
  ]
  for (const name of old) {
    await writeFile(at(name), '')
    await utimes(at(name), yesterday, yesterday)
  }
  await writeFile(at('nightly.tar.fedcba9876543210.part'), 'of one that is under way')
  for (const name of ['nightly.tar', 'muster-o1-20260202T020202Z.tar']) await writeFile(at(name), '')
  expect(await dropLeft(at('nightly.tar'))).toEqual([at(`nightly.tar.${id}.part`)])
  expect(await dropLeft(at('muster-o1-20260202T020202Z.tar'))).toEqual([at(`muster-o1-20260101T010101Z.tar.${id}.part`)])
  expect((await readdir(folder.path)).length).toBe(old.length - 2 + 3)
})
