import { chmod, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { alone, aloneFileOf } from './alone.ts'
import { PluginRefusal } from './refusal.ts'

let folder: TempFolder
let file: string
beforeEach(async () => {
  folder = await tempFolder('alone')
  file = join(folder.path, 'plugins.json')
})
afterEach(() => folder.remove())

test('one is alone with the files until it is done; another is told which process is at them, also at what and since when', async () => {
  const argv = vi.spyOn(process, 'argv', 'get')
  {
    argv.mockReturnValue(['node', 'muster', '--config', 'x', 'plugins', 'add', 'https://me:secret@registry.example/x.tgz'])
    await using _held = await alone(file)
    argv.mockReturnValue(['node', 'muster', 'plugins', 'lock'])
    // Also one of its own process, and another after that.
    for (const _ of [1, 2])
      await expect(alone(file)).rejects.toMatchObject({
        code: 'conflict',
        message: expect.stringMatching(
          new RegExp(
            `^another command \\(muster plugins add, process ${process.pid} on ${hostname()}, since 20\\S+Z\\) is changing ${file} and its lock right now$`,
          ),
        ) as string,
        fix: `run: ps -fp ${process.pid}, which says what it is; then the command again, once that has ended`,
      })
  }
  await using _again = await alone(file)
  argv.mockRestore()
})

test('who is no command is named without one, who is on another machine with that', async () => {
  const held = await alone(file)
  await expect(alone(file)).rejects.toMatchObject({
    message: expect.stringContaining(`another command (process ${process.pid} on`) as string,
  })
  await held[Symbol.asyncDispose]()
  using other = new DatabaseSync(aloneFileOf(file))
  other.exec("update holder set pid = 17, host = 'elsewhere', since = 0; begin immediate")
  await expect(alone(file)).rejects.toMatchObject({
    message: `another command (process 17 on elsewhere, since 1970-01-01T00:00:00.000Z) is changing ${file} and its lock right now`,
    fix: 'run: ps -fp 17 on elsewhere, which says what it is; then the command again, once that has ended',
  })
})

test('who only keeps others away is no reason to wait, or to go on', async () => {
  using other = new DatabaseSync(aloneFileOf(file))
  other.exec('begin exclusive')
  await expect(alone(file)).rejects.toMatchObject({
    code: 'conflict',
    message: `another command is changing ${file} and its lock right now`,
    fix: expect.stringMatching(/^run: ps -ef, /) as string,
  })
})

test('a file that is no lock is named, with what rids of it', async () => {
  const lock = aloneFileOf(file)
  const refused = { code: 'conflict', fix: `run: rm -r ${lock}, which is nothing but that; then the command again` }
  await writeFile(
    lock,
    'what a disk left of it, or somebody wrote, longer than a head of a hundred bytes is, so that it is looked at as one',
  )
  await expect(alone(file)).rejects.toMatchObject(refused)
  await rm(lock)
  await mkdir(lock)
  await expect(alone(file)).rejects.toMatchObject(refused)
  await rm(lock, { recursive: true })
  const victim = join(folder.path, 'victim')
  await symlink(victim, lock)
  await expect(alone(file)).rejects.toMatchObject({
    ...refused,
    message: `${lock}, which keeps two commands apart, cannot be locked: it is no file`,
  })
  await writeFile(victim, '')
  await expect(alone(file)).rejects.toMatchObject(refused)
  expect(await readFile(victim, 'utf8')).toBe('')
})

test('what hinders it beside the file is told as it is: nobody is told to remove a file that is well', async () => {
  // Of a change that was cut off, SQLite thinks.
  await mkdir(`${aloneFileOf(file)}-journal`)
  const error: unknown = await alone(file).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ message: expect.stringContaining('unable to open database file') as string })
  expect(error).not.toBeInstanceOf(PluginRefusal)
})

test.each([
  ['700', '600'],
  ['755', '600'],
  ['775', '660'],
  ['777', '666'],
  // One replaces nothing of others there.
  ['1777', '600'],
])('in a folder of mode %s the lock has the mode %s: who may write the one may take the other', async (mode, wanted) => {
  const inner = join(folder.path, 'inner')
  await mkdir(inner)
  await chmod(inner, Number.parseInt(mode, 8))
  await using _held = await alone(join(inner, 'plugins.json'))
  expect(await readdir(inner)).toEqual(['.plugins.json.writer'])
  expect(((await stat(join(inner, '.plugins.json.writer'))).mode & 0o7777).toString(8)).toBe(wanted)
})

test('where the folder is not there, the file system says so', async () => {
  await expect(alone(join(folder.path, 'gone', 'plugins.json'))).rejects.toMatchObject({ code: 'ENOENT' })
})
