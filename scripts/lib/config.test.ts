import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { ensureConfig, withFreePort } from './config.mjs'

test('a port that was taken after the first configuration was written is another one then; a user’s own stays', async () => {
  await using temp = await tempFolder('config')
  const first = await ensureConfig(temp.path)
  const port = Number(first.listen.split(':')[1])
  const other = createServer().listen(port, '127.0.0.1')
  // Another program may have it already, which is as good.
  await once(other, 'listening').catch(() => undefined)
  const refused = new Error(`the daemon ended: the TCP address ${first.listen} cannot be opened: port ${port} is in use`)
  const second = await withFreePort(first, refused)
  other.close()
  expect(second.listen).toMatch(/^127\.0\.0\.1:\d+$/)
  expect(second.listen).not.toBe(first.listen)
  expect(await readFile(second.file, 'utf8')).toContain(`listen: ${second.listen}\n`)
  await expect(withFreePort(second, new Error('no disk'))).rejects.toThrow('no disk')
  const found = await ensureConfig(temp.path)
  expect(found).toEqual({ ...second, written: false })
  await expect(withFreePort(found, refused)).rejects.toThrow('is in use')
})
