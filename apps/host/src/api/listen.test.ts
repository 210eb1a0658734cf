import { createServer } from 'node:http'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { listenOn } from './listen.ts'

test('a place that cannot be listened on may be tried for ever: no try leaves a listener', async () => {
  await using folder = await tempFolder('listen')
  const server = createServer()
  const listeners = (): number[] => ['error', 'listening'].map((name) => server.listenerCount(name))
  const before = listeners()
  for (let tries = 0; tries < 3; tries++)
    await expect(listenOn(server, { path: join(folder.path, 'none', 'muster.sock') })).rejects.toMatchObject({ code: 'EACCES' })
  await listenOn(server, { path: join(folder.path, 'muster.sock') })
  expect(listeners()).toEqual(before)
  server.close()
})
