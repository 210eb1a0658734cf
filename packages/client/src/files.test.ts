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
import { create, Header } from 'tar'
import { expect, test } from 'vitest'
import { tempFolder } from '@muster/test/systems/temp'
import { connect } from './client.ts'
import { MusterError } from './errors.ts'
import { packFolder, packTree, saveAs } from './files.ts'
import { startServer } from './serve.test.helper.ts'
import { unpackTo } from './unpack.ts'

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

test('a download that is cut each time ends soon, and nobody is said to be away', async () => {
  await using folder = await tempFolder('client')
  await using server = await startServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/x-tar' })
    response.write(Buffer.alloc(512), () => response.destroy())
  })
  const { workers, runs } = connect({ url: server.url })
  for (const save of [
    () => workers.saveFiles('w1', { path: 'from', target: join(folder.path, 'x') }),
    () => runs.saveOutput('r1', { name: 'dist', target: join(folder.path, 'x') }),
  ])
    await expect(save()).rejects.toMatchObject({
      name: 'MusterError',
      message: expect.stringContaining('cut off before its end') as string,
      hint: expect.not.stringContaining('muster up') as string,
    })
  expect([server.asked.length, readdirSync(folder.path)]).toEqual([6, []])
})

/** As the daemon frames it: pieces of a size that fits nothing, and how it ended. */
function framed(tar: Buffer, end: object): Buffer {
  const head = (length: number): Buffer => {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32BE(length)
    return bytes
  }
  const parts: Buffer[] = []
  for (let at = 0; at < tar.length; at += 777) {
    const part = tar.subarray(at, at + 777)
    parts.push(head(part.length), part)
  }
  return Buffer.concat([...parts, head(0), Buffer.from(JSON.stringify(end))])
}

test('what could be read of a tree is kept beside what is whole, and it is an error that says why', async () => {
  await using folder = await tempFolder('client')
  fill(join(folder.path, 'from'))
  const tar = await bytesOf(create({ cwd: folder.path, portable: true }, ['from']))
  let body = framed(tar, {})
  await using server = await startServer((request, response) => {
    expect(request.headers.accept).toContain('application/vnd.muster.tar')
    response.writeHead(200, { 'content-type': 'application/vnd.muster.tar' })
    // In pieces that end within a head, within a frame and within the end.
    for (let at = 0; at < body.length; at += 1001) response.write(body.subarray(at, at + 1001))
    response.end()
  })
  const { workers } = connect({ url: server.url })
  const target = join(folder.path, 'to')
  await workers.saveFiles('w1', { path: 'from', target })
  expect(readFileSync(join(target, 'src/deep/a.txt'), 'utf8')).toBe('hello')
  writeFileSync(join(target, 'mine'), 'x')

  const problem = {
    type: '',
    title: '',
    status: 400,
    code: 'invalid-request',
    detail: 'cannot read from: secret: Permission denied',
  }
  body = framed(tar, { problem })
  const failed = workers.saveFiles('w1', { path: 'from', target })
  const message = `${problem.detail}; what could be read is in '${target}.incomplete'`
  await expect(failed).rejects.toMatchObject({ name: 'MusterError', code: 'invalid-request', message })
  expect(readFileSync(join(`${target}.incomplete`, 'src/deep/a.txt'), 'utf8')).toBe('hello')
  expect(readFileSync(join(target, 'mine'), 'utf8')).toBe('x')

  // Ended in the middle of a file: the reason, not what a tar looks like then.
  body = framed(tar.subarray(0, tar.indexOf('hello') + 2), { problem: { ...problem, code: 'provider-failed', status: 502 } })
  const cut = workers.saveFiles('w1', { path: 'from', target: join(folder.path, 'cut') })
  await expect(cut).rejects.toMatchObject({ code: 'provider-failed', message: problem.detail })
  expect(server.asked).toHaveLength(3)
  expect(readdirSync(folder.path).sort()).toEqual(['from', 'to', 'to.incomplete'])
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

interface TarEntry {
  path: string
  type?: string
  linkpath?: string
  content?: string
}

/** A tar of just these entries, whatever they are. */
function tarOf(entries: readonly TarEntry[]): Uint8Array[] {
  const blocks = entries.flatMap(({ path, type = 'File', linkpath, content = '' }) => {
    const block = Buffer.alloc(512)
    const size = Buffer.byteLength(content)
    new Header({ path, type: type as 'File', mode: 0o755, size, ...(linkpath === undefined ? {} : { linkpath }) }).encode(
      block,
      0,
    )
    return size === 0 ? [block] : [block, Buffer.concat([Buffer.from(content), Buffer.alloc(512 - size)])]
  })
  return [...blocks, Buffer.alloc(1024)]
}

async function* sent(entries: readonly TarEntry[]): AsyncGenerator<Uint8Array, void, undefined> {
  yield* tarOf(entries)
}

test('links stay as they are, wherever they lead; pipes and devices are left out and told', async () => {
  await using folder = await tempFolder('client')
  const target = join(folder.path, 'venv')
  const skipped = await saveAs(
    target,
    sent([
      { path: 'venv/', type: 'Directory' },
      { path: 'venv/python', type: 'SymbolicLink', linkpath: '/usr/bin/python3' },
      { path: 'venv/again', type: 'Link', linkpath: 'venv/python' },
      { path: 'venv/up', type: 'SymbolicLink', linkpath: '../../elsewhere' },
      { path: 'venv/pipe', type: 'FIFO' },
      { path: 'venv/pipe2', type: 'Link', linkpath: 'venv/pipe' },
      { path: 'venv/null', type: 'CharacterDevice' },
      { path: 'venv/file', content: 'text' },
      { path: 'venv/hard', type: 'Link', linkpath: 'venv/file' },
    ]),
  )
  expect(skipped).toEqual(['pipe', 'pipe2', 'null'].map((name) => `venv/${name}, a pipe or a device`))
  expect(readdirSync(target).sort()).toEqual(['again', 'file', 'hard', 'python', 'up'])
  expect(['python', 'again', 'up'].map((name) => readlinkSync(join(target, name)))).toEqual([
    '/usr/bin/python3',
    '/usr/bin/python3',
    '../../elsewhere',
  ])
  expect(readFileSync(join(target, 'hard'), 'utf8')).toBe('text')
  await saveAs(join(folder.path, 'one'), sent([{ path: 'x', type: 'SymbolicLink', linkpath: '/etc/hosts' }]))
  expect(readlinkSync(join(folder.path, 'one'))).toBe('/etc/hosts')
  await expect(saveAs(join(folder.path, 'two'), sent([{ path: 'x', type: 'FIFO' }]))).rejects.toMatchObject({
    code: 'local',
    message: expect.stringContaining('a pipe or a device') as string,
  })
})

test.each<[string, TarEntry[]]>([
  [
    'a file through a link',
    [
      { path: 'a', type: 'SymbolicLink', linkpath: '/OUT' },
      { path: 'a/evil', content: 'x' },
    ],
  ],
  [
    'a link through a link',
    [
      { path: 'a', type: 'SymbolicLink', linkpath: '/OUT' },
      { path: 'a/deep/evil', type: 'SymbolicLink', linkpath: 'x' },
    ],
  ],
  ['an absolute path', [{ path: '/OUT/evil', content: 'x' }]],
  ['a path that leads up', [{ path: 'a/../../out/evil', content: 'x' }]],
  ['a link that stands above', [{ path: '../out/evil', type: 'SymbolicLink', linkpath: 'x' }]],
  ['a second name of a file elsewhere', [{ path: 'a', type: 'Link', linkpath: '/etc/hostname' }]],
  ['a second name of a file above', [{ path: 'a', type: 'Link', linkpath: '../out/kept' }]],
  ['the folder itself as a link', [{ path: './', type: 'SymbolicLink', linkpath: '/OUT' }]],
])('nothing is written outside, and it is said in a sentence: %s', async (_what, entries) => {
  await using folder = await tempFolder('client')
  const out = join(folder.path, 'out')
  mkdirSync(out)
  writeFileSync(join(out, 'kept'), 'x')
  const placed = entries.map((entry) => ({
    ...entry,
    path: entry.path.replace('/OUT', out),
    ...(entry.linkpath === undefined ? {} : { linkpath: entry.linkpath.replace('/OUT', out) }),
  }))
  await expect(unpackTo(join(folder.path, 'to'), sent(placed))).rejects.toBeInstanceOf(MusterError)
  expect(readdirSync(out)).toEqual(['kept'])
  expect(readFileSync(join(out, 'kept'), 'utf8')).toBe('x')
})

test('what is no tar, or is cut, is said in a sentence', async () => {
  await using folder = await tempFolder('client')
  async function* bytes(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array, void, undefined> {
    yield* chunks
  }
  const [head = Buffer.alloc(0)] = tarOf([{ path: 'a', content: 'text' }])
  for (const wrong of [bytes(Buffer.alloc(2048, 'x')), bytes(head)])
    await expect(saveAs(join(folder.path, 'to'), wrong)).rejects.toMatchObject({ name: 'MusterError', code: 'protocol' })
  expect(readdirSync(folder.path)).toEqual([])
})

test('what is there is kept where it is not to be replaced, and back in its place where the new one cannot take it', async () => {
  await using folder = await tempFolder('client')
  const target = join(folder.path, 'src')
  mkdirSync(target)
  writeFileSync(join(target, 'mine'), 'x')
  const tree: TarEntry[] = [
    { path: 'dist/', type: 'Directory' },
    { path: 'dist/new', content: 'y' },
  ]
  await expect(saveAs(target, sent(tree), { replace: false })).rejects.toMatchObject({
    code: 'local',
    message: expect.stringContaining('is there already') as string,
  })
  expect([readdirSync(folder.path), readdirSync(target)]).toEqual([['src'], ['mine']])
  await saveAs(target, sent(tree))
  expect([readdirSync(folder.path), readdirSync(target)]).toEqual([['src'], ['new']])
  symlinkSync('nowhere', join(folder.path, 'link'))
  await expect(saveAs(join(folder.path, 'link'), sent(tree), { replace: false })).rejects.toMatchObject({ code: 'local' })
})

test('two names that this machine cannot tell apart are left out and told, not one in the place of the other', async () => {
  await using folder = await tempFolder('client')
  const named = (last: number): TarEntry => ({ path: `d/a${String.fromCharCode(last)}`, content: String(last) })
  // As a worker has them: one byte each, which is no UTF-8.
  const raw = tarOf([named(0x61), named(0x62), { path: 'd/good', content: 'text' }])
  for (const [at, byte] of [
    [0, 0xfe],
    [2, 0xff],
  ] as const) {
    const block = raw[at]
    if (block === undefined) throw new Error('no such block')
    block[3] = byte
    block.fill(0x20, 148, 156)
    const sum = block.reduce((all, one) => all + one, 0)
    block.set(Buffer.from(`${sum.toString(8).padStart(6, '0')}\0 `), 148)
  }
  const target = join(folder.path, 'd')
  expect(
    await saveAs(
      target,
      (async function* () {
        yield* raw
      })(),
    ),
  ).toEqual(['d/a\ufffd, whose name is not UTF-8'])
  expect(readdirSync(target)).toEqual(['good'])
})

test('a file that cannot be read here is told as that, and not as a daemon that is away', async () => {
  await using folder = await tempFolder('client')
  const odd = Buffer.concat([Buffer.from(`${folder.path}/odd`), Buffer.from([0xff])])
  writeFileSync(odd, '')
  await using server = await startServer((request, response) => {
    request.resume().on('end', () => response.end('{}'))
  })
  const { workers } = connect({ url: server.url })
  for (const pack of [packFolder(folder.path), packTree(folder.path, 'tree')])
    await expect(bytesOf(pack)).rejects.toMatchObject({ code: 'local', hint: expect.stringContaining('not UTF-8') as string })
  await expect(workers.putFiles('w1', { path: '/x', tar: () => packTree(folder.path, 'tree') })).rejects.toMatchObject({
    code: 'local',
  })
})
