/** Files in and out of a worker, by tar streams and, for commands, by reference. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Bench } from './bench.ts'
import { all, bytes, commandOf, fails, launched, run, whenExited } from './help.ts'
import { readTar, tarOf, type TarEntry } from './tar.ts'
import type { SuiteTest } from './test.ts'

const copyIn = ['work:hold', 'exec', 'copy.in'] as const
const copyOut = ['work:hold', 'exec', 'copy.out'] as const

const everyByte = Buffer.from(Array.from({ length: 70_000 }, (_one, index) => index % 256))
const longName = `${'d'.repeat(80)}/${'f'.repeat(80)}`

async function printed(bench: Bench, script: string): Promise<string> {
  const { stdout, stderr, exit } = await run(await bench.session(), await bench.shared(), commandOf(bench, script))
  assert.equal(exit.code, 0, `${script}: ${stderr.toString()}`)
  return stdout.toString()
}

async function unpacked(chunks: AsyncIterable<Uint8Array>): Promise<Map<string, TarEntry>> {
  return new Map(readTar(Buffer.concat(await all(chunks))).map((entry) => [entry.name, entry]))
}

/** What a server on this machine was given, by path; it gives `body` for every GET. */
async function webServer(bench: Bench, body: Buffer): Promise<{ url: string; given: Map<string, Buffer> }> {
  const given = new Map<string, Buffer>()
  const server = createServer((request, response) => {
    if (request.method === 'GET') return void response.end(body)
    void Array.fromAsync(request as AsyncIterable<Buffer>).then((parts) => {
      given.set(request.url ?? '', Buffer.concat(parts))
      response.end()
    })
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  bench.atEnd(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, given }
}

export const copyTests: readonly SuiteTest[] = [
  {
    name: 'copyIn unpacks a tree: contents, modes, links, long and empty names alike',
    needs: copyIn,
    async run(bench) {
      const [session, target, name] = [await bench.session(), await bench.shared(), bench.newExecId()]
      const tar = tarOf([
        { name: 'bin', kind: 'folder' },
        { name: 'bin/tool', mode: 0o755, content: Buffer.from('#!/bin/sh\necho tool\n') },
        { name: 'data', mode: 0o640, content: everyByte },
        { name: 'nothing', content: Buffer.alloc(0) },
        { name: 'link', kind: 'link', target: 'data' },
        { name: 'hollow', kind: 'folder' },
        { name: longName.split('/')[0] ?? '', kind: 'folder' },
        { name: longName, content: Buffer.from('long') },
      ])
      // In parts that fit no border of the archive.
      await session.copyIn(target, {
        path: bench.inside(name),
        tar: bytes(tar.subarray(0, 700), tar.subarray(700, 50_001), tar.subarray(50_001)),
      })
      const script = `cd ${name}; ./bin/tool; sha256sum <data | cut -c1-64; ls -l data | cut -c1-10; wc -c <nothing; cmp data link && echo same; ls -d hollow; cat ${longName}`
      const hash = createHash('sha256').update(everyByte).digest('hex')
      assert.deepEqual((await printed(bench, script)).trim().split(/\s+/), [
        'tool',
        hash,
        '-rw-r-----',
        '0',
        'same',
        'hollow',
        'long',
      ])
    },
  },
  {
    name: 'copyIn replaces a file with a file, and refuses a file for a folder and a folder for what is none',
    needs: copyIn,
    async run(bench) {
      const [session, target, name] = [await bench.session(), await bench.shared(), bench.newExecId()]
      await printed(bench, `mkdir -p ${name}/full ${name}/hollow; cd ${name}; echo kept >full/keep; echo old >file`)
      const path = bench.inside(name)
      const put = (...entries: Parameters<typeof tarOf>[0]): Promise<void> =>
        session.copyIn(target, { path, tar: bytes(tarOf(entries)) })
      await put({ name: 'full', kind: 'folder' }, { name: 'full/new', content: Buffer.from('beside\n') })
      await put({ name: 'file', content: Buffer.from('new\n') })
      await printed(bench, `ln -s full ${name}/link`)
      for (const folder of ['full', 'hollow'])
        await fails(`a file for ${folder}`, put({ name: folder, content: Buffer.from('file') }), { code: 'invalid-spec', path })
      for (const file of ['file', 'link'])
        await fails(`a folder for ${file}`, put({ name: file, kind: 'folder' }), { code: 'invalid-spec', path })
      const seen = `cd ${name}; cat full/keep full/new file; ls -d full/ hollow/; [ -h link ] && echo link`
      assert.deepEqual((await printed(bench, seen)).trim().split(/\s+/), ['kept', 'beside', 'new', 'full/', 'hollow/', 'link'])
    },
  },
  {
    name: 'copyOut gives one tree, named by the last part of its path',
    needs: copyOut,
    async run(bench) {
      const [session, target, name] = [await bench.session(), await bench.shared(), bench.newExecId()]
      await printed(
        bench,
        `mkdir -p ${name}/tree/sub; cd ${name}/tree; head -c 70000 /dev/zero | tr '\\0' z >sub/data; echo run >tool; chmod 750 tool; : >nothing`,
      )
      const tree = await unpacked(session.copyOut(target, bench.inside(`${name}/tree`)))
      assert.deepEqual([...tree.keys()].toSorted(), ['tree', 'tree/nothing', 'tree/sub', 'tree/sub/data', 'tree/tool'])
      assert.equal(tree.get('tree/sub/data')?.content.toString(), 'z'.repeat(70_000))
      assert.equal(tree.get('tree/tool')?.mode, 0o750)
      const file = await unpacked(session.copyOut(target, bench.inside(`${name}/tree/tool`)))
      assert.deepEqual(
        [...file.values()].map((entry) => [entry.name, entry.content.toString()]),
        [['tool', 'run\n']],
      )
    },
  },
  {
    name: 'copyOut of a path that is not there is not-found, with the path',
    needs: copyOut,
    async run(bench) {
      const path = bench.inside(`${bench.newExecId()}/none`)
      const [session, target] = [await bench.session(), await bench.shared()]
      await fails('copyOut', all(session.copyOut(target, path)), { code: 'not-found', path })
    },
  },
  {
    name: 'inputs are there before a command, outputs after it, also when it fails',
    needs: ['work:hold', 'exec', 'copy.in', 'copy.out'],
    async run(bench) {
      const [session, name] = [await bench.session(), bench.newExecId()]
      const target = await launched(bench, session, bench.hold())
      await session.copyIn(target, {
        path: bench.inside(name),
        tar: bytes(tarOf([{ name: 'in', content: Buffer.from('input') }])),
      })
      const { exit } = await run(session, target, commandOf(bench, `tr a-z A-Z <${name}/in >${name}/out; exit 3`))
      assert.equal(exit.code, 3)
      const out = await unpacked(session.copyOut(target, bench.inside(`${name}/out`)))
      assert.equal(out.get('out')?.content.toString(), 'INPUT')
    },
  },
  {
    name: 'copyOut still works when the worker has exited',
    needs: ['work:command', 'copy.out', 'copy.afterExit'],
    async run(bench) {
      const [session, name] = [await bench.session(), bench.newExecId()]
      const target = await launched(bench, session, bench.command(`echo late >${name}; exit 1`))
      await whenExited(bench, session, target)
      const out = await unpacked(session.copyOut(target, bench.inside(name)))
      assert.equal(out.get(name)?.content.toString(), 'late\n')
    },
  },
  {
    name: 'a command fetches its inputs and hands back its outputs, also when it fails',
    needs: ['work:command', 'field:work.inputs', 'field:work.outputs', 'exitCode'],
    async run(bench) {
      const session = await bench.session()
      const tar = tarOf([{ name: 'word', content: Buffer.from('fetched') }])
      const { url, given } = await webServer(bench, tar)
      const sha256 = createHash('sha256').update(tar).digest('hex')
      const spec = bench.spec({
        mode: 'command',
        command: bench.shell('tr a-z A-Z <from/word >result; exit 5'),
        inputs: [{ name: 'in', path: bench.inside('from'), url: `${url}/in`, sha256, bytes: tar.length }],
        outputs: [{ name: 'out', path: bench.inside('result'), url: `${url}/out`, maxBytes: 100_000 }],
      })
      await session.launch(spec)
      assert.equal((await whenExited(bench, session, { id: spec.id })).code, 5)
      const [result] = readTar(given.get('/out') ?? Buffer.alloc(0))
      assert.deepEqual([result?.name, result?.content.toString()], ['result', 'FETCHED'])
    },
  },
]
