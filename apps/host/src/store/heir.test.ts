/** Which of several data folders of one owner works: known also over several steps, and after a restore into one of them. */
import { cpSync, mkdtempSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { lockHost } from './lock.ts'
import { leap, ownerPath } from './note.ts'
import { lockPath } from './files.ts'
import { StoreError } from './store.ts'
import { start } from './start.test.helper.ts'

let room: string
let home: string
let copy: string
let third: string
beforeEach(() => {
  room = mkdtempSync(join(tmpdir(), 'muster-heir-'))
  home = join(room, 'home')
  copy = join(room, 'copy')
  third = join(room, 'third')
})
afterEach(() => rmSync(room, { recursive: true, force: true }))

/** While a daemon works at `there`: why `dir` does not start, at first and with `--adopt`; only of refusals that name `there`. */
async function refusals(dir: string, there: string): Promise<string[]> {
  const atWork = lockHost(lockPath(there))
  try {
    const codes: string[] = []
    for (const said of [undefined, 'adopt'] as const) {
      const why = await start(dir, said).catch((error: unknown) => error)
      if (why instanceof StoreError && why.message.includes(there)) codes.push(why.code)
    }
    return codes
  } finally {
    atWork.release()
  }
}

async function goneOn(): Promise<string> {
  const owner = await start(home)
  cpSync(home, copy, { recursive: true })
  expect(await start(copy, 'adopt')).toBe(owner)
  return owner
}

test('an original knows the copy of its copy that works now', async () => {
  const owner = await goneOn()
  cpSync(copy, third, { recursive: true })
  expect(await start(third, 'adopt')).toBe(owner)
  expect(await refusals(home, third)).toEqual(['restored', 'held'])
  // On the way back all of them rest.
  expect(await start(home, 'adopt')).toBe(owner)
  for (const at of [copy, third])
    await expect(start(at)).rejects.toMatchObject({ code: 'restored', message: expect.stringContaining(home) })
})

test('a former state of the original that is put elsewhere does not go on beside the copy that works', async () => {
  const former = join(room, 'former')
  await start(home)
  cpSync(home, former, { recursive: true })
  cpSync(home, copy, { recursive: true })
  await start(copy, 'adopt')
  expect(await refusals(former, copy)).toEqual(['restored', 'held'])
})

test('an original into which a backup is restored still knows who works', async () => {
  const owner = await start(home)
  const former = join(room, 'muster.db')
  cpSync(join(home, 'muster.db'), former)
  cpSync(home, copy, { recursive: true })
  await start(copy, 'adopt')
  cpSync(former, join(home, 'muster.db'))
  leap(ownerPath(home), { owner, epoch: 1 })
  expect(await refusals(home, copy)).toEqual(['restored', 'held'])
})

test('a copy that went on and was moved since is said to be away, unless a link leads to it', async () => {
  const owner = await goneOn()
  renameSync(copy, third)
  expect(await start(third)).toBe(owner)
  await expect(start(home)).rejects.toMatchObject({
    code: 'restored',
    message: expect.stringMatching(/went on in its place as .*copy, which is not there/),
    hint: expect.stringContaining('--new-owner'),
  })
  symlinkSync(third, copy)
  const atWork = lockHost(lockPath(third))
  await expect(start(home, 'adopt')).rejects.toMatchObject({ code: 'held' })
  atWork.release()
  expect(await start(home, 'adopt')).toBe(owner)
})
