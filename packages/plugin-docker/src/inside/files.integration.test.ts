import { createHash, randomBytes } from 'node:crypto'
import { findDocker } from '@muster/test/systems/docker'
import { suiteWith } from '@muster/test/systems/presence'
import { type TarEntry, tarStream } from '@muster/test/systems/tar'
import * as tar from 'tar-stream'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { callOf, createHarness, type Harness } from '../testing/harness.test.helper.ts'

suiteWith(await findDocker(), 'files of a worker on a real engine', (docker) => {
  let harness: Harness
  let id: string
  beforeAll(async () => {
    harness = await createHarness(docker.socket)
    const spec = harness.hold({ security: { user: 'user' }, workdir: '/work' })
    await harness.provider.launch(spec, callOf())
    id = spec.id
  })
  afterAll(() => harness.clean())

  const copyIn = (worker: string, path: string, entries: readonly TarEntry[]): Promise<void> =>
    harness.provider.copyIn({ id: worker }, { path, tar: tarStream(entries) }, callOf())
  const copyOut = async (worker: string, path: string): Promise<Map<string, Buffer>> => {
    const files = new Map<string, Buffer>()
    const extract = tar.extract()
    const read = (async () => {
      for await (const entry of extract)
        files.set(entry.header.name, Buffer.concat(await Array.fromAsync(entry as AsyncIterable<Buffer>)))
    })()
    for await (const chunk of harness.provider.copyOut({ id: worker }, path, callOf())) extract.write(chunk)
    extract.end(undefined)
    await read
    return files
  }
  const file = (path: string, content: string | Buffer, mode = 0o644): TarEntry => ({
    kind: 'file',
    path,
    content,
    mode,
    uid: 12_345,
    gid: 12_345,
  })

  test('what comes in belongs to the worker, whoever packed it; folders are made', async () => {
    await copyIn(id, '/data/new/place', [
      { kind: 'folder', path: 'sub', mode: 0o700, uid: 12_345 },
      file('sub/run', '#!/bin/sh\necho ran\n', 0o755),
      { kind: 'link', path: 'link', target: 'sub/run' },
    ])
    const script = 'cd /data/new/place; stat -c "%a %u %n" . sub sub/run; ./link; : >sub/mine'
    const { stdout, stderr } = await harness.exec(id, ['sh', '-c', script])
    expect({ stdout, stderr }).toEqual({ stdout: '755 1000 .\n700 1000 sub\n755 1000 sub/run\nran\n', stderr: '' })
  })

  test('a path is relative to the working directory, and rights of what is there stay', async () => {
    await copyIn(id, 'here', [file('a', 'x')])
    await copyIn(id, '/tmp', [file('b', 'y')])
    expect((await harness.exec(id, ['sh', '-c', 'cat here/a /tmp/b; stat -c "%a %u" /tmp'])).stdout).toBe('xy1777 0\n')
  })

  test('a copy beyond the limits ends with its reason; what came before stays', async () => {
    const bounded = await createHarness(docker.socket, { copies: { size: '1MiB', entries: 3 } })
    try {
      const spec = bounded.hold({ workdir: '/work' })
      await bounded.provider.launch(spec, callOf())
      const put = (path: string, entries: readonly TarEntry[]): Promise<void> =>
        bounded.provider.copyIn({ id: spec.id }, { path, tar: tarStream(entries) }, callOf())
      const half = file('half', Buffer.alloc(600_000))
      const tooLarge = { code: 'invalid-spec', path: 'tar', message: 'the copy holds more than 1048576 bytes' }
      const tooMany = { ...tooLarge, message: 'the copy has more than 3 files, folders and links' }
      await put('/work', [half, file('b', '')])
      await expect(put('/new/deep/er', [half, { ...half, path: 'other' }])).rejects.toMatchObject({
        ...tooLarge,
        effect: 'possible',
      })
      await expect(
        put(
          '/many',
          ['a', 'b', 'c', 'd'].map((name) => file(name, '')),
        ),
      ).rejects.toMatchObject(tooMany)
      expect((await bounded.exec(spec.id, ['sh', '-c', 'ls /work; [ -e /new/deep/er/other ] || echo none'])).stdout).toBe(
        'b\nhalf\nnone\n',
      )
      const out = (path: string): Promise<unknown> => Array.fromAsync(bounded.provider.copyOut({ id: spec.id }, path, callOf()))
      await out('/work')
      await bounded.exec(spec.id, ['sh', '-c', 'mkdir few large; touch few/1 few/2 few/3; cat half half >large/one'])
      await expect(out('/work/large')).rejects.toMatchObject({ ...tooLarge, effect: 'none' })
      await expect(out('/work/few')).rejects.toMatchObject(tooMany)
    } finally {
      await bounded.clean()
    }
  })

  test('30 MB of random bytes go in and come out the same', async () => {
    const bytes = randomBytes(30_000_000)
    await copyIn(id, '/work', [file('big', bytes)])
    const sum = createHash('sha256').update(bytes).digest('hex')
    expect((await harness.exec(id, ['sha256sum', 'big'])).stdout).toBe(`${sum}  big\n`)
    const out = await copyOut(id, '/work/big')
    expect([...out.keys()]).toEqual(['big'])
    expect(createHash('sha256').update(out.get('big')!).digest('hex')).toBe(sum)
  })

  test('a folder comes out as one tree under its last part', async () => {
    await copyIn(id, '/work/tree', [file('one', '1'), { kind: 'folder', path: 'two' }, file('two/three', '3')])
    const out = await copyOut(id, 'tree')
    expect([...out.keys()].toSorted()).toEqual(['tree/', 'tree/one', 'tree/two/', 'tree/two/three'])
    expect(out.get('tree/two/three')!.toString()).toBe('3')
  })

  test('before the start of a command, and after its end', async () => {
    const spec = harness.command('sh', '-c', 'echo result >/result; exit 4')
    await harness.provider.launch(spec, callOf())
    expect(await harness.exit(spec.id)).toMatchObject({ code: 4 })
    expect((await copyOut(spec.id, '/result')).get('result')!.toString()).toBe('result\n')
    await copyIn(spec.id, '/late', [file('in', 'late')])
    expect((await copyOut(spec.id, '/late/in')).get('in')!.toString()).toBe('late')
  })

  test('what cannot be', async () => {
    await expect(copyOut(id, '/not/there')).rejects.toMatchObject({ code: 'not-found', path: '/not/there', effect: 'none' })
    await expect(copyOut(harness.hold().id, '/')).rejects.toMatchObject({ code: 'not-found', effect: 'none' })
    await expect(copyIn(id, '/etc/passwd', [file('x', 'x')])).rejects.toMatchObject({ code: 'invalid-spec', path: '/etc/passwd' })
    const broken = harness.provider.copyIn({ id }, { path: '/work', tar: chunks([Buffer.alloc(600, 'no tar')]) }, callOf())
    await expect(broken).rejects.toMatchObject({ code: 'invalid-spec', path: 'tar' })
    const failing = harness.provider.copyIn({ id }, { path: '/work', tar: failsAfter(file('x', randomBytes(100_000))) }, callOf())
    await expect(failing).rejects.toThrow('the source broke')
    const readOnly = harness.hold({ security: { readOnlyRoot: true } })
    await harness.provider.launch(readOnly, callOf())
    await expect(copyIn(readOnly.id, '/x', [file('x', 'x')])).rejects.toMatchObject({
      code: 'unsupported',
      path: 'security.readOnlyRoot',
    })
  })

  test('an abort ends a copy in either direction', async () => {
    const abort = new AbortController()
    const stuck = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(0)
      abort.abort()
      await new Promise(() => {})
    }
    const coming = harness.provider.copyIn({ id }, { path: '/work', tar: stuck() }, callOf({ signal: abort.signal }))
    await expect(coming).rejects.toMatchObject({ code: 'cancelled' })
    const other = new AbortController()
    const going = (async () => {
      for await (const _ of harness.provider.copyOut({ id }, '/work/big', callOf({ signal: other.signal }))) other.abort()
    })()
    await expect(going).rejects.toMatchObject({ code: 'cancelled', effect: 'none' })
  })
})

async function* chunks(list: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* list
}

async function* failsAfter(entry: TarEntry): AsyncGenerator<Uint8Array> {
  let sent = 0
  for await (const chunk of tarStream([entry])) {
    if (sent > 20_000) throw new Error('the source broke')
    sent += (chunk as Buffer).length
    yield (chunk as Buffer).subarray(0, 30_000)
  }
}
