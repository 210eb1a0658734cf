import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { alone, nameOf } from './alone.ts'

test('one is alone with the files until it is done; another is told which process is at them', async () => {
  await using folder = await tempFolder('alone')
  const file = join(folder.path, 'plugins.json')
  {
    await using _held = await alone(file)
    await expect(alone(file)).rejects.toMatchObject({
      code: 'conflict',
      message: `another command (process ${process.pid}) is changing ${file} and its lock right now`,
    })
  }
  await using _again = await alone(file)
})

test('nobody keeps it from its end by coming to it', async () => {
  await using folder = await tempFolder('alone')
  const file = join(folder.path, 'plugins.json')
  {
    await using _held = await alone(file)
    const guest = connect(await nameOf(file))
    guest.on('error', () => undefined)
    await once(guest, 'close')
  }
  await using again = await alone(file)
  expect(again).toBeDefined()
})

test('who only keeps others away, as any process of the machine may, is named as well', async () => {
  await using folder = await tempFolder('alone')
  const file = join(folder.path, 'plugins.json')
  const server = createServer()
  server.listen(await nameOf(file))
  await once(server, 'listening')
  try {
    await expect(alone(file)).rejects.toMatchObject({ fix: expect.stringContaining(`run: ps -fp ${process.pid},`) as string })
  } finally {
    server.close()
  }
})
