import { existsSync, readdirSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { listenOn } from './listen.ts'
import { nameSocket, setMode } from './socket-file.ts'

test('a socket gets its mode; of a link that stands in its place, what it leads to does not', async () => {
  await using folder = await tempFolder('socket')
  const at = (name: string): string => join(folder.path, name)
  const mode = (name: string): number => statSync(at(name)).mode & 0o777
  const server = createServer()
  await listenOn(server, { path: at('made') })
  for (const wanted of [0o600, 0o660]) {
    setMode(at('made'), wanted)
    expect(mode('made')).toBe(wanted)
  }
  renameSync(at('made'), at('moved'))
  writeFileSync(at('precious'), 'precious', { mode: 0o640 })
  symlinkSync('precious', at('made'))
  expect(() => setMode(at('made'), 0o666)).toThrow('made was replaced by what is no socket')
  expect(mode('precious')).toBe(0o640)
  server.close()
})

test('a name that is taken is left alone, and so is what took it later', async () => {
  await using folder = await tempFolder('socket')
  const [made, path] = [join(folder.path, 'made'), join(folder.path, 'name')]
  const server = createServer()
  await listenOn(server, { path: made })
  writeFileSync(path, 'precious')
  expect(() => nameSocket(made, { path, mode: 0o600 })).toThrow('EEXIST')
  expect(readdirSync(folder.path)).toEqual(['name'])
  server.close()
  await listenOn(server, { path: made })
  renameSync(path, join(folder.path, 'other'))
  const file = nameSocket(made, { path, mode: 0o600 })
  expect(file.isGone()).toBe(false)
  renameSync(path, join(folder.path, 'taken'))
  expect(file.isGone()).toBe(true)
  renameSync(join(folder.path, 'other'), path)
  file.remove()
  expect(existsSync(path)).toBe(true)
  renameSync(join(folder.path, 'taken'), path)
  file.remove()
  expect(existsSync(path)).toBe(false)
  server.close()
})
