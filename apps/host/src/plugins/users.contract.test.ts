/** Users of plugins: which one a plugin gets, and that its folder is its own. Only root may hand files over. */
import { chmod, chown, link, lstat, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { requireSystem, root } from '@muster/test/require'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openUsers } from './users.ts'

const range = { from: 1_400_000_000, to: 1_400_000_002 }
let folder: TempFolder
let data: string
beforeEach(async () => {
  folder = await tempFolder('users')
  data = join(folder.path, 'data')
  await mkdir(join(data, 'providers'), { recursive: true })
  await mkdir(join(data, 'plugins', 'x'), { recursive: true })
})
afterEach(() => folder.remove())

const own = (name: string): string => join(data, 'providers', name)
const places = (name: string): { own: string; root: string } => ({ own: own(name), root: join(data, 'plugins', 'x') })
const owner = async (path: string): Promise<number> => (await lstat(path)).uid

test('each gets a user of its own, keeps it, also after another start, and gives nothing to the next', async (context) => {
  await requireSystem(context, root)
  const users = openUsers({ range, data })
  const [a, b] = await Promise.all([users.settle(places('a')), users.settle(places('b'))])
  expect(a).toEqual({ uid: range.from, gid: range.from })
  expect(b).toEqual({ uid: range.from + 1, gid: range.from })
  expect([await owner(own('a')), await owner(own('b'))]).toEqual([a.uid, b.uid])
  expect(((await stat(own('a'))).mode & 0o777).toString(8)).toBe('700')
  // Its folder remembers it.
  const later = openUsers({ range, data })
  expect(await later.settle(places('c'))).toEqual({ uid: range.to, gid: range.from })
  expect(await later.settle(places('b'))).toEqual(b)
  await expect(later.settle(places('d'))).rejects.toThrow(`all of ${range.from} to ${range.to} have a plugin`)
})

test('one whose folder belongs to a user outside of the range gets one of it', async (context) => {
  await requireSystem(context, root)
  for (const [name, uid] of [
    ['below', range.from - 1],
    ['above', range.to + 1],
  ] as const) {
    await mkdir(own(name))
    await chown(own(name), uid, uid)
  }
  const users = openUsers({ range, data })
  expect((await users.settle(places('below'))).uid).toBe(range.from)
  expect((await users.settle(places('above'))).uid).toBe(range.from + 1)
})

test('what lies in its folder is its own, but for links and what has a second name', async (context) => {
  await requireSystem(context, root)
  await mkdir(join(own('a'), 'deep', 'er'), { recursive: true })
  const outside = join(folder.path, 'outside')
  await writeFile(outside, '')
  await writeFile(join(own('a'), 'file'), '')
  await writeFile(join(own('a'), 'deep', 'er', 'file'), '')
  await symlink(outside, join(own('a'), 'link'))
  await link(outside, join(own('a'), 'second'))
  const { uid } = await openUsers({ range, data }).settle(places('a'))
  for (const path of ['', 'file', 'deep', 'deep/er', 'deep/er/file'])
    expect([path, await owner(join(own('a'), path))]).toEqual([path, uid])
  for (const path of ['link', 'second']) expect([path, await owner(join(own('a'), path))]).toEqual([path, 0])
  expect(await owner(outside)).toBe(0)
})

test('a folder that a user works in is taken back when the last of them has ended, where the user of the host was at work beside', async (context) => {
  await requireSystem(context, root)
  const users = openUsers({ range, data })
  const [one, other] = [users.entered(own('a'), 'its own'), users.entered(own('a'), 'its own')]
  const { uid } = await users.settle(places('a'))
  const host = users.entered(own('a'), 'the host')
  await users.unsettle(own('a'))
  expect(await owner(own('a'))).toBe(uid)
  await host()
  await one()
  await one()
  expect(await owner(own('a'))).toBe(uid)
  await other()
  expect(await owner(own('a'))).toBe(0)
  // It was there first.
  const first = users.entered(own('a'), 'the host')
  const second = users.entered(own('a'), 'its own')
  expect(await users.settle(places('a'))).toMatchObject({ uid })
  await second()
  expect(await owner(own('a'))).toBe(0)
  await first()
  // Alone, it keeps what it has.
  const alone = users.entered(own('a'), 'its own')
  await users.settle(places('a'))
  await alone()
  expect(await owner(own('a'))).toBe(uid)
  await users.unsettle(own('a'))
  expect(await owner(own('a'))).toBe(0)
})

test('folders on the way are opened to pass through and no more, and those that all may pass stay as they are', async (context) => {
  await requireSystem(context, root)
  const mode = async (path: string): Promise<string> => {
    const found = await stat(path)
    return `${(found.mode & 0o777).toString(8)} ${found.gid}`
  }
  await chmod(data, 0o700)
  await chmod(join(data, 'plugins'), 0o755)
  const users = openUsers({ range, data })
  await users.settle(places('a'))
  expect([await mode(data), await mode(join(data, 'plugins'))]).toEqual([`710 ${range.from}`, '755 0'])
  expect(await mode(join(data, 'providers'))).toMatch(/^(?:755 0|710 \d+)$/)
})

test('a folder that is its own already is not gone through again', async (context) => {
  await requireSystem(context, root)
  const users = openUsers({ range, data })
  await users.settle(places('a'))
  await writeFile(join(own('a'), 'of-the-host'), '')
  await users.settle(places('a'))
  expect(await owner(join(own('a'), 'of-the-host'))).toBe(0)
})

test('a folder of its own user, but of another group, is handed over as well; no file stays open for it', async (context) => {
  await requireSystem(context, root)
  await mkdir(join(own('a'), 'deep'), { recursive: true })
  await writeFile(join(own('a'), 'deep', 'file'), '')
  await chown(own('a'), range.to, 0)
  const opened = async (): Promise<number> => (await readdir('/proc/self/fd')).length
  const before = await opened()
  const user = await openUsers({ range, data }).settle(places('a'))
  expect([user, (await stat(own('a'))).gid, await owner(join(own('a'), 'deep', 'file'))]).toEqual([
    { uid: range.to, gid: range.from },
    range.from,
    range.to,
  ])
  expect(await opened()).toBe(before)
})

test('what is taken back is what a plugin had: a folder of anybody else, or none, stays as it is', async (context) => {
  await requireSystem(context, root)
  const users = openUsers({ range, data })
  const others = { below: range.from - 1, above: range.to + 1 }
  for (const [name, uid] of Object.entries(others)) {
    await mkdir(own(name))
    await chown(own(name), uid, uid)
    await users.unsettle(own(name))
    expect([name, await owner(own(name))]).toEqual([name, uid])
  }
  await users.unsettle(own('none'))
  for (const uid of [range.from, range.to]) {
    await mkdir(own(`of-${uid}`))
    await chown(own(`of-${uid}`), uid, uid)
    await users.unsettle(own(`of-${uid}`))
    expect(await owner(own(`of-${uid}`))).toBe(0)
  }
})
