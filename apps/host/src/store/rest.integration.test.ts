/** An original of another user that a copy of root lays to rest. */
import { chownSync, cpSync, readdirSync, statSync, symlinkSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { requireSystem, root } from '@muster/test/require'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { openIdentity, type Restore } from './identity.ts'
import { noteIn, ownerPath } from './note.ts'
import { openSqliteStore } from './open.ts'

const USER = 65_534

test('its note stays its own, so that its next start can tell who went on; no link of its user leads root elsewhere', async (context) => {
  await requireSystem(context, root)
  await using room = await tempFolder('rest')
  const [home, copy, victim] = ['home', 'copy', 'victim'].map((name) => join(room.path, name)) as [string, string, string]
  await start(home)
  for (const path of [home, ...readdirSync(home).map((name) => join(home, name))]) chownSync(path, USER, USER)
  cpSync(home, copy, { recursive: true })
  await writeFile(victim, 'of root')
  symlinkSync(victim, `${ownerPath(home)}.part`)

  await start(copy, 'adopt')
  expect(noteIn(home)).toMatchObject({ heir: copy })
  const { uid, gid, mode } = statSync(ownerPath(home))
  expect({ uid, gid, mode: mode & 0o777 }).toEqual({ uid: USER, gid: USER, mode: 0o600 })
  expect(await readFile(victim, 'utf8')).toBe('of root')
  expect(statSync(victim).uid).toBe(0)
})

async function start(dir: string, restore?: Restore): Promise<void> {
  const store = await openSqliteStore(dir)
  try {
    await openIdentity(store, dir, restore === undefined ? {} : { restore })
  } finally {
    await store.close()
  }
}
