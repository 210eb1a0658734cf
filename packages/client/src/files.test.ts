import { createHash } from 'node:crypto'
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { create } from 'tar'
import { expect, test } from 'vitest'
import { tempFolder } from '@muster/test/systems/temp'
import { connect } from './client.ts'
import { packFolder, packTree, saveAs, unpackTo } from './files.ts'
import { startServer } from './serve.test.helper.ts'

async function bytesOf(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of source) chunks.push(chunk)
  return Buffer.concat(chunks)
}

function fill(root: string): void {
  mkdirSync(join(root, 'src/deep'), { recursive: true })
  mkdirSync(join(root, 'node_modules/x'), { recursive: true })
  mkdirSync(join(root, 'empty'))
  writeFileSync(join(root, 'src/deep/a.txt'), 'hello')
  writeFileSync(join(root, 'run.sh'), '#!/bin/sh\n', { mode: 0o755 })
  writeFileSync(join(root, 'node_modules/x/index.js'), 'x')
  symlinkSync('run.sh', join(root, 'link'))
}

test('a folder goes out and comes in as it was, without what is excluded', async () => {
  await using folder = await tempFolder('client')
  const [from, to] = [join(folder.path, 'from'), join(folder.path, 'to')]
  fill(from)
  await unpackTo(to, packFolder(from, { exclude: ['node_modules', 'src/**/*.log'] }))
  expect(readdirSync(to).sort()).toEqual(['empty', 'link', 'run.sh', 'src'])
  expect(readFileSync(join(to, 'src/deep/a.txt'), 'utf8')).toBe('hello')
  expect(statSync(join(to, 'run.sh')).mode & 0o777).toBe(0o755)
  expect(readlinkSync(join(to, 'link'))).toBe('run.sh')
})

test('the same files give the same bytes', async () => {
  await using folder = await tempFolder('client')
  fill(folder.path)
  const digest = async (): Promise<string> =>
    createHash('sha256')
      .update(await bytesOf(packFolder(folder.path)))
      .digest('hex')
  const before = await digest()
  expect(await digest()).toBe(before)
  utimesSync(join(folder.path, 'run.sh'), 1, 1)
  expect(await digest()).not.toBe(before)
})

test('an empty folder is an empty tar; none is an error', async () => {
  await using folder = await tempFolder('client')
  await unpackTo(join(folder.path, 'to'), packFolder(folder.path))
  await expect(bytesOf(packFolder(join(folder.path, 'none')))).rejects.toMatchObject({ code: 'local' })
})

test('an output is saved under the name that was asked for, whole or not at all', async () => {
  await using folder = await tempFolder('client')
  const from = join(folder.path, 'from')
  fill(from)
  const tree = create({ cwd: folder.path, portable: true }, ['from']) as unknown as AsyncIterable<Uint8Array>
  const target = join(folder.path, 'out/result')
  await saveAs(target, tree)
  expect(readFileSync(join(target, 'src/deep/a.txt'), 'utf8')).toBe('hello')
  async function* broken(): AsyncGenerator<Uint8Array, void, undefined> {
    yield Buffer.alloc(512, 1)
    throw new Error('cut')
  }
  await expect(saveAs(target, broken())).rejects.toThrow()
  await expect(saveAs(target, packFolder(from))).rejects.toMatchObject({ code: 'protocol' })
  expect(readFileSync(join(target, 'src/deep/a.txt'), 'utf8')).toBe('hello')
  expect(readdirSync(join(folder.path, 'out'))).toEqual(['result'])
})

test('entries that would leave the folder are refused', async () => {
  await using folder = await tempFolder('client')
  mkdirSync(join(folder.path, 'a/b'), { recursive: true })
  writeFileSync(join(folder.path, 'a/evil'), 'x')
  const tree = create({ cwd: join(folder.path, 'a/b'), preservePaths: true }, ['../evil']) as unknown as AsyncIterable<Uint8Array>
  await expect(unpackTo(join(folder.path, 'to'), tree)).rejects.toThrow()
  expect(readdirSync(join(folder.path, 'to'))).toEqual([])
})

test('a device is no tree: nothing is sent in its place', async () => {
  await expect(bytesOf(packTree('/dev/null', 'x'))).rejects.toMatchObject({
    code: 'local',
    message: "'/dev/null' is neither a file nor a folder",
  })
})

test('nothing comes in that would run as whoever unpacked it', async () => {
  await using folder = await tempFolder('client')
  const from = join(folder.path, 'from')
  fill(from)
  chmodSync(join(from, 'run.sh'), 0o6755)
  chmodSync(join(from, 'src'), 0o3770)
  const tree = create({ cwd: folder.path, portable: true }, ['from']) as unknown as AsyncIterable<Uint8Array>
  await unpackTo(join(folder.path, 'to'), tree)
  expect(statSync(join(folder.path, 'to/from/run.sh')).mode & 0o7777).toBe(0o755)
  expect(statSync(join(folder.path, 'to/from/src')).mode & 0o7000).toBe(0)
})

test('a place that cannot be written is said at once, and no fault of the connection', async () => {
  await using folder = await tempFolder('client')
  fill(join(folder.path, 'from'))
  const tar = await bytesOf(create({ cwd: folder.path, portable: true }, ['from']))
  await using server = await startServer((_request, response) => void response.writeHead(200).end(tar))
  const { runs, workers } = connect({ url: server.url })
  writeFileSync(join(folder.path, 'file'), 'x')
  for (const target of ['/proc/none', join(folder.path, 'file/below'), '/dev/null/x'])
    for (const save of [
      () => workers.saveFiles('w1', { path: 'from', target }),
      () => runs.saveOutput('r1', { name: 'dist', target }),
    ])
      await expect(save()).rejects.toMatchObject({ code: 'local', message: expect.stringContaining(target) as string })
  expect(server.asked).toHaveLength(6)
})

test('a download that is cut begins anew', async () => {
  await using folder = await tempFolder('client')
  fill(join(folder.path, 'from'))
  const tar = await bytesOf(create({ cwd: folder.path, portable: true }, ['from']))
  const sha256 = createHash('sha256').update(tar).digest('hex')
  let first = true
  await using server = await startServer((_request, response) => {
    response.writeHead(200, { 'muster-sha256': sha256, 'content-length': tar.length })
    if (first) response.write(tar.subarray(0, 700), () => response.destroy())
    else response.end(tar)
    first = false
  })
  const target = join(folder.path, 'saved')
  expect(await connect({ url: server.url }).runs.saveOutput('r1', { name: 'dist', target })).toBe(sha256)
  expect(readdirSync(target).sort()).toEqual(['empty', 'link', 'node_modules', 'run.sh', 'src'])
})
