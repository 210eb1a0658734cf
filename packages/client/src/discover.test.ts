import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { tempFolder } from '@muster/test/systems/temp'
import { dataFolder, discover } from './discover.ts'

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
  expect(await discover({ cwd: path, env: away })).toEqual({ url: 'http://elsewhere:1', token: 't' })
  expect(await discover({ cwd: path, env: { MUSTER_URL: 'http://elsewhere:1' } })).toEqual({ url: 'http://elsewhere:1' })
  endpoint(join(path, 'mine'))
  expect(await discover({ cwd: path, data: 'mine', env: away })).toEqual({ socket: join(path, 'mine/muster.sock') })
})

test('without a socket: the URL with the token of the folder, or the variable', async () => {
  await using folder = await tempFolder('client')
  const { path } = folder
  endpoint(path, {})
  expect(await discover({ data: path, env })).toEqual({ url: 'http://127.0.0.1:1' })
  expect(await discover({ data: path, env: { MUSTER_TOKEN: 't' } })).toEqual({ url: 'http://127.0.0.1:1', token: 't' })
  writeFileSync(join(path, 'admin.token'), 'own\n')
  expect(await discover({ data: path, env })).toEqual({ url: 'http://127.0.0.1:1', token: 'own' })
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
