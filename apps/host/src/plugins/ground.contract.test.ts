/** What a machine that has all gives to a host under root. */
import { execFile } from 'node:child_process'
import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { requireSystem, root } from '@muster/test/require'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { defaultUsers, openGround, setpriv } from './ground.ts'

/** Seen without the room that is tested. */
const needsSetpriv = {
  name: 'setpriv',
  probe: async (): Promise<string | undefined> =>
    (await promisify(execFile)('setpriv', ['--version']).catch(() => ({ stdout: '' }))).stdout.includes('util-linux')
      ? undefined
      : 'there is none',
}

test('a machine with all that it takes gives each plugin a user of its own', async (context) => {
  await requireSystem(context, root)
  await requireSystem(context, needsSetpriv)
  await using temp = await tempFolder('ground')
  await chmod(temp.path, 0o711)
  const data = join(temp.path, 'open/data')
  // Folders that are not there yet keep nobody out.
  expect(await openGround({ data, users: defaultUsers })).toEqual({ cages: expect.any(Boolean) })
  expect(await setpriv()).toMatch(/^\/(?:usr\/)?bin\/setpriv$/)
  await mkdir(join(temp.path, 'open'), { mode: 0o700 })
  await mkdir(join(temp.path, 'open/deeper'), { mode: 0o700 })
  const closed = join(temp.path, 'open')
  // The first one on the way is what is to be opened first.
  expect(await openGround({ data: join(closed, 'deeper/data'), users: defaultUsers })).toEqual({
    lacks: {
      fact: `no other user can pass ${closed} on the way to the data folder`,
      mend: `run: chmod o+x ${closed}, or write another host.data`,
    },
  })
})

test('ids that no process can have are told, in the words of whoever refused them', async (context) => {
  await requireSystem(context, root)
  await requireSystem(context, needsSetpriv)
  await using temp = await tempFolder('ground')
  await chmod(temp.path, 0o711)
  const users = { from: 60_578, to: 1e20 }
  expect(await openGround({ data: join(temp.path, 'data'), users })).toEqual({
    lacks: {
      fact: expect.stringMatching(/^a process of user 100000000000000000000 cannot be started: setpriv: .+$/),
      mend: 'name other ids as host.isolation.users',
    },
  })
})
