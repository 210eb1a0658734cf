import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { tempFolder } from '@muster/test/systems/temp'
import { connect } from './client.ts'
import { dataFolder, discover, type DiscoverOptions } from './discover.ts'
import type { MusterError } from './errors.ts'
import { problem, startServer } from './serve.test.helper.ts'

const env = {}

function endpoint(data: string, more: object = { socket: join(data, 'muster.sock') }): void {
  mkdirSync(data, { recursive: true })
  writeFileSync(join(data, 'endpoint.json'), JSON.stringify({ pid: 1, url: 'http://127.0.0.1:1', ...more }))
}

test('the nearest muster.yaml above says where the data is', async () => {
  await using folder = await tempFolder('client')
  const inner = join(folder.path, 'a/b')
  mkdirSync(inner, { recursive: true })
  await expect(discover({ cwd: inner, env })).rejects.toMatchObject({
    code: 'no-daemon',
    hint: expect.stringContaining('-c FILE'),
  })
  writeFileSync(join(folder.path, 'muster.yaml'), 'pools: {}\n')
  expect(await dataFolder({ cwd: inner })).toBe(join(folder.path, '.muster'))
  writeFileSync(join(folder.path, 'muster.yaml'), 'host: { data: state/x }\n')
  expect(await dataFolder({ cwd: inner })).toBe(join(folder.path, 'state/x'))
  await expect(discover({ cwd: inner, env })).rejects.toMatchObject({ code: 'no-daemon', hint: 'Start it with `muster up`.' })
  endpoint(join(folder.path, 'state/x'))
  expect(await discover({ cwd: inner, env })).toEqual({ socket: join(folder.path, 'state/x/muster.sock') })
})

test('a configuration or a data folder that is named comes first; a variable when none is', async () => {
  await using folder = await tempFolder('client')
  const { path } = folder
  writeFileSync(join(path, 'other.yaml'), 'host:\n  data: /abs/data # comment\n')
  expect(await dataFolder({ cwd: path, config: 'other.yaml' })).toBe('/abs/data')
  expect(await dataFolder({ cwd: path, config: 'other.yaml', data: 'mine' })).toBe(join(path, 'mine'))
  const away = { MUSTER_URL: 'http://elsewhere:1', MUSTER_TOKEN: 't' }
  expect(await discover({ cwd: path, env: away })).toEqual({ url: 'http://elsewhere:1', token: 't', tokenFrom: 'MUSTER_TOKEN' })
  expect(await discover({ cwd: path, env: { MUSTER_URL: 'http://elsewhere:1' } })).toEqual({ url: 'http://elsewhere:1' })
  endpoint(join(path, 'mine'))
  expect(await discover({ cwd: path, data: 'mine', env: away })).toEqual({ socket: join(path, 'mine/muster.sock') })
})

test('without a socket: the URL with the token of the folder, and never the one that is meant for MUSTER_URL', async () => {
  await using folder = await tempFolder('client')
  const { path } = folder
  endpoint(path, {})
  expect(await discover({ data: path, env })).toEqual({ url: 'http://127.0.0.1:1' })
  // A folder that was checked out may name any address.
  for (const env of [{ MUSTER_TOKEN: 't' }, { MUSTER_URL: 'https://elsewhere', MUSTER_TOKEN: 't' }])
    expect(await discover({ data: path, env })).toEqual({ url: 'http://127.0.0.1:1' })
  const file = join(path, 'admin.token')
  writeFileSync(file, 'own\n')
  expect(await discover({ data: path, env })).toEqual({ url: 'http://127.0.0.1:1', token: 'own', tokenFrom: file })
  // One that holds nothing is none.
  writeFileSync(file, '\n')
  expect(await discover({ data: path, env })).toEqual({ url: 'http://127.0.0.1:1' })
})

test('a token that a link of the folder leads to is not sent where the folder says', async () => {
  await using folder = await tempFolder('client')
  const [own, other] = [join(folder.path, 'own'), join(folder.path, 'other')]
  endpoint(own)
  writeFileSync(join(own, 'admin.token'), 'mst_own\n')
  endpoint(other, {})
  symlinkSync(join(own, 'admin.token'), join(other, 'admin.token'))
  expect(await discover({ data: other, env })).toEqual({ url: 'http://127.0.0.1:1' })
  // The whole folder may be a link: both files are of one then.
  symlinkSync(own, join(folder.path, 'link'))
  expect(await discover({ data: join(folder.path, 'link'), env })).toEqual({ socket: join(own, 'muster.sock') })
})

test('what is no endpoint of a daemon is said', async () => {
  await using folder = await tempFolder('client')
  const { path } = folder
  for (const text of ['', '{', 'null', '[]', '{}', '{"url":5}', '{"url":"http://127.0.0.1:1","socket":5}']) {
    writeFileSync(join(path, 'endpoint.json'), text)
    await expect(discover({ data: path, env })).rejects.toMatchObject({
      code: 'no-daemon',
      message: `${join(path, 'endpoint.json')} names no daemon`,
      hint: expect.stringContaining('Remove it'),
    })
  }
})

test('a token that is refused is told by where it was read, and what to do about it', async () => {
  await using folder = await tempFolder('client')
  const { path } = folder
  const refused = {
    code: 'unauthorized',
    detail: 'the token is unknown, expired or revoked',
    hint: 'Ask an admin for a new one.',
  }
  await using server = await startServer((_request, response) => problem(response, 401, refused))
  writeFileSync(join(path, 'endpoint.json'), JSON.stringify({ url: server.url }))
  const asking = async (env: NodeJS.ProcessEnv, where: DiscoverOptions = { data: path }): Promise<unknown> =>
    connect(await discover({ ...where, env })).pools.list()
  await expect(asking({ MUSTER_URL: server.url, MUSTER_TOKEN: 'mst_t' }, {})).rejects.toMatchObject({
    message: 'the token in MUSTER_TOKEN is unknown, expired or revoked',
    hint: 'Ask an admin for a new one.',
  })
  await expect(asking({})).rejects.toMatchObject({ message: refused.detail, hint: refused.hint })
  const file = join(path, 'admin.token')
  for (const [text, reason] of [
    ['mst_dead', 'is unknown, expired or revoked'],
    ['mst_dead\nmst_other', 'holds a newline, a blank or another character that no token has'],
  ] as const) {
    writeFileSync(file, `${text}\n`)
    const failure = (await asking({}).catch((error: unknown) => error)) as MusterError
    expect(failure.message).toBe(`the token in ${file} ${reason}`)
    expect(failure.hint).toMatch(`Remove ${file}, and set MUSTER_URL and MUSTER_TOKEN`)
    expect(failure.hint).toContain('host.socket.path')
  }
})

test('a configuration that cannot be read or understood is said', async () => {
  await using folder = await tempFolder('client')
  const { path } = folder
  await expect(dataFolder({ cwd: path, config: 'none.yaml' })).rejects.toMatchObject({ code: 'no-daemon' })
  writeFileSync(join(path, 'muster.yaml'), 'host: { data: [\n')
  await expect(dataFolder({ cwd: path })).rejects.toThrow('not valid YAML')
  writeFileSync(join(path, 'muster.yaml'), 'host: { data: 5 }\n')
  expect(await dataFolder({ cwd: path })).toBe(join(path, '.muster'))
})
