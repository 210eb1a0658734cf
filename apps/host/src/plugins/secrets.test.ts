import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { afterEach, expect, test, vi } from 'vitest'
import { secretReader } from './secrets.ts'

afterEach(() => void vi.unstubAllEnvs())

test('a secret is read anew each time, without the line break at its end, and its version is that of its value', async () => {
  await using folder = await tempFolder('secrets')
  const file = join(folder.path, 'token')
  vi.stubEnv('MUSTER_TEST_SECRET', 'of the env')
  const read = secretReader({ token: { file }, other: { env: 'MUSTER_TEST_SECRET' } })
  await writeFile(file, 'one\n')
  const first = await read('token')
  expect(first).toEqual({ value: 'one', version: createHash('sha256').update('one').digest('base64url').slice(0, 16) })
  await writeFile(file, 'two\nlines\r\n')
  const second = await read('token')
  expect(second.value).toBe('two\nlines')
  expect(second.version).not.toBe(first.version)
  expect((await read('other')).value).toBe('of the env')
})

test('what cannot be had says why, without an effect, and where to look', async () => {
  await using folder = await tempFolder('secrets')
  vi.stubEnv('MUSTER_TEST_SECRET', '')
  const [empty, none] = [join(folder.path, 'empty'), join(folder.path, 'none')]
  await writeFile(empty, '\n')
  const read = secretReader({ env: { env: 'MUSTER_TEST_SECRET' }, empty: { file: empty }, none: { file: none } })
  const refused = (message: string, hint?: string): object => ({ code: 'auth', effect: 'none', message, hint })
  await expect(read('other')).rejects.toMatchObject(
    refused("no source for the secret 'other' is configured", 'add secrets.other to the provider'),
  )
  await expect(read('env')).rejects.toMatchObject(
    refused("the secret 'env' cannot be read: the variable MUSTER_TEST_SECRET is empty"),
  )
  await expect(read('empty')).rejects.toMatchObject(refused("the secret 'empty' cannot be read: the file is empty"))
  await expect(read('none')).rejects.toMatchObject(
    refused("the secret 'none' cannot be read: ENOENT", 'see the file named in secrets.none'),
  )
})
