/** Copies of a data folder by hard links, as some snapshot tools make them. */
import { cpSync, linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { start } from './start.test.helper.ts'

let room: string
let home: string
let copy: string
beforeEach(() => {
  room = mkdtempSync(join(tmpdir(), 'muster-linked-'))
  home = join(room, 'home')
  copy = join(room, 'copy')
})
afterEach(() => rmSync(room, { recursive: true, force: true }))

function linkTo(names: readonly string[]): void {
  mkdirSync(copy)
  for (const name of names) linkSync(join(home, name), join(copy, name))
}

const contents = (dir: string): Map<string, string> =>
  new Map(readdirSync(dir).map((name) => [name, readFileSync(join(dir, name), 'base64')]))

test.each([undefined, 'adopt', 'new-owner'] as const)(
  'a copy by hard links is not opened, and its original loses nothing: %s',
  async (said) => {
    const owner = await start(home)
    linkTo(readdirSync(home))
    // Who takes the lock writes its name into it.
    rmSync(join(copy, 'host.lock'))
    const before = contents(home)
    const linked = { code: 'corrupt', message: expect.stringContaining('hard link'), hint: expect.stringContaining('cp -a') }
    for (const dir of [copy, home]) await expect(start(dir, said)).rejects.toMatchObject(linked)
    expect({ ...Object.fromEntries(contents(home)), 'host.lock': '' }).toEqual({ ...Object.fromEntries(before), 'host.lock': '' })
    // As the hint says.
    const own = join(room, 'own')
    cpSync(copy, own, { recursive: true })
    rmSync(copy, { recursive: true })
    expect(await start(home)).toBe(owner)
    expect(await start(own, 'new-owner')).not.toBe(owner)
    expect(await start(home)).toBe(owner)
  },
)

test('a lock that two folders share would keep one of them out for ever: it is told', async () => {
  await start(home)
  linkTo(['host.lock'])
  await expect(start(copy)).rejects.toMatchObject({ message: expect.stringMatching(/host\.lock is a hard link/) })
  rmSync(join(copy, 'host.lock'))
  await start(home)
})
