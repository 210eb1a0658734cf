/** A folder that somebody else made gets nobody's token. */
import { symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { tempFolder } from '@muster/test/systems/temp'
import { discover } from './discover.ts'
import { endpointOf } from './endpoint.ts'

const uid = process.getuid?.()
const loopback = 'http://127.0.0.1:1'

function note(data: string, text: string): void {
  writeFileSync(join(data, 'endpoint.json'), text)
}

test('the token of MUSTER_TOKEN goes to MUSTER_URL only: a folder that names another daemon does not get it', async () => {
  await using folder = await tempFolder('client')
  const { path } = folder
  writeFileSync(join(path, 'muster.yaml'), 'host: { data: . }\n')
  note(path, JSON.stringify({ pid: 1, url: loopback }))
  const refused = {
    code: 'local',
    message: expect.stringContaining('MUSTER_TOKEN is for the daemon at MUSTER_URL'),
    hint: expect.stringContaining('Set MUSTER_URL'),
  }
  const env = { MUSTER_URL: 'https://real.example', MUSTER_TOKEN: 'mst_real' }
  await expect(discover({ config: join(path, 'muster.yaml'), env })).rejects.toMatchObject(refused)
  await expect(discover({ data: path, env })).rejects.toMatchObject(refused)
  await expect(discover({ cwd: path, env: { MUSTER_TOKEN: 'mst_real' } })).rejects.toMatchObject(refused)
  expect(await discover({ cwd: path, env })).toMatchObject({ url: 'https://real.example', token: 'mst_real' })
  // A file that holds nothing is no token.
  writeFileSync(join(path, 'admin.token'), '\n')
  await expect(discover({ data: path, env })).rejects.toMatchObject(refused)
})

test('the token of a folder goes to this machine only, and only where the folder is of who asks', async () => {
  await using folder = await tempFolder('client')
  const { path } = folder
  writeFileSync(join(path, 'admin.token'), 'own\n')
  for (const url of [
    'http://127.0.0.1:1',
    'http://localhost:1',
    'https://[::1]:1',
    'http://127.1:1',
    'http://[::ffff:127.0.0.1]:1',
  ]) {
    note(path, JSON.stringify({ url }))
    expect(await endpointOf(path, { uid, token: undefined })).toMatchObject({ url, token: 'own' })
  }
  for (const url of [
    'http://10.0.0.1:1',
    'https://elsewhere.example',
    'http://127.0.0.1.elsewhere.example',
    'http://127.0.0.1@elsewhere.example',
    'http://0.0.0.0:1',
    'no address',
  ]) {
    note(path, JSON.stringify({ url }))
    await expect(endpointOf(path, { uid, token: undefined })).rejects.toMatchObject({
      code: 'local',
      message: expect.stringContaining('not of this machine'),
      hint: expect.stringContaining('MUSTER_URL'),
    })
  }
  note(path, JSON.stringify({ url: loopback }))
  await expect(endpointOf(path, { uid: 1 + (uid ?? 0), token: undefined })).rejects.toMatchObject({
    code: 'local',
    message: expect.stringContaining('belongs to another user'),
    hint: expect.stringContaining('MUSTER_URL'),
  })
})

test('a link in place of the token of a folder is not followed', async () => {
  await using folder = await tempFolder('client')
  await using other = await tempFolder('client')
  const { path } = folder
  writeFileSync(join(other.path, 'admin.token'), 'of another daemon\n')
  symlinkSync(join(other.path, 'admin.token'), join(path, 'admin.token'))
  note(path, JSON.stringify({ url: loopback }))
  expect(await endpointOf(path, { uid, token: undefined })).toEqual({ url: loopback })
})

test('a note of a daemon that is empty, cut off or something else is said, with what to do', async () => {
  await using folder = await tempFolder('client')
  const { path } = folder
  for (const text of ['', '{"pid":1,"ur', 'null', '[]', '5', '{}', '{"url":5}', '{"url":"http://127.0.0.1:1","socket":null}']) {
    note(path, text)
    await expect(endpointOf(path, { uid, token: 't' })).rejects.toMatchObject({
      code: 'local',
      message: expect.stringContaining('endpoint.json is not what a daemon writes'),
      hint: expect.stringContaining('Start the daemon anew'),
    })
  }
})
