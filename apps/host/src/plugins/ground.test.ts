import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { bareGround, defaultUsers, openGround, privileges } from './ground.ts'

test('a machine says what keeps plugins from users of their own', async () => {
  await using temp = await tempFolder('ground')
  const data = join(temp.path, 'closed/data')
  await mkdir(join(temp.path, 'closed'))
  await chmod(temp.path, 0o711)
  await chmod(join(temp.path, 'closed'), 0o700)
  expect(await openGround({ data, users: 'off', root: true })).toMatchObject({ lacks: { fact: 'host.isolation.users is off' } })
  expect(await openGround({ data, users: defaultUsers, root: false })).toMatchObject({
    lacks: { mend: 'start the host as root' },
  })
  expect(await openGround({ data, users: defaultUsers, root: true })).toMatchObject({
    lacks: { mend: expect.stringMatching(/install util-linux|chmod o\+x \/.*, or write/) },
  })
})

test('a user of its own has nothing else of its host', () => {
  expect(privileges({ uid: 7, gid: 5 })).toEqual([
    ...['--reuid=7', '--regid=5', '--clear-groups', '--no-new-privs', '--inh-caps=-all', '--bounding-set=-all'],
    ...['--pdeathsig', 'KILL'],
  ])
  expect(privileges()).toEqual(['--pdeathsig', 'KILL'])
})

test('where nobody has looked, there is no user of its own', () => {
  expect(bareGround.lacks).toMatchObject({ mend: 'run muster check' })
})
