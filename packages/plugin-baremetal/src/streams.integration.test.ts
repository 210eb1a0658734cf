/** What flows in and out of workers: output, files, connections. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { LogChunk, WorkerProvider } from '@muster/core'
import { pack } from 'tar-stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { waitFor } from '@muster/test/systems/wait'
import {
  callOf,
  execOf,
  exited,
  gone,
  hold,
  must,
  openRig,
  readExec,
  readLogs,
  type Rig,
  runToEnd,
  specOf,
} from './rig.test.helper.ts'

const run = promisify(execFile)
const MIB = 2 ** 20

let rig: Rig
let provider: WorkerProvider

beforeEach(async () => {
  rig = await openRig()
  provider = rig.provider
})

afterEach(async () => {
  await rig.close()
})

describe('output of a command', () => {
  test('100 MB, every byte once', async () => {
    const spec = specOf('head -c 104857600 /dev/zero | tr "\\0" "x"; echo end >&2')
    await provider.launch(spec, callOf())
    const hash = createHash('sha256')
    let bytes = 0
    for await (const { stream, data } of must(provider.logs)({ id: spec.id }, { follow: true }, callOf())) {
      expect(data.length).toBeLessThanOrEqual(65_536)
      if (stream !== 'stdout') continue
      bytes += data.length
      hash.update(data)
    }
    const expected = createHash('sha256')
    for (let block = 0; block < 100; block++) expected.update(Buffer.alloc(MIB, 'x'))
    expect({ bytes, sha256: hash.digest('hex') }).toEqual({ bytes: 100 * MIB, sha256: expected.digest('hex') })
    expect(await exited(provider, spec.id)).toMatchObject({ code: 0 })
  })

  test('lines of 1 MB and bytes that are no text', async () => {
    const { stdout } = await runToEnd(
      provider,
      specOf('for i in 1 2 3; do head -c 1048576 /dev/zero | tr "\\0" "$i"; echo; done'),
    )
    expect(stdout).toBe([1, 2, 3].map((digit) => `${String(digit).repeat(MIB)}\n`).join(''))
    const spec = specOf("printf '\\000\\377\\200\\n\\r\\033'")
    await provider.launch(spec, callOf())
    const parts: Uint8Array[] = []
    for await (const { data } of must(provider.logs)({ id: spec.id }, { follow: true }, callOf())) parts.push(data)
    expect([...Buffer.concat(parts)]).toEqual([0, 255, 128, 10, 13, 27])
  })

  test('is there while it is written, and goes on at any cursor', async () => {
    const spec = specOf(
      'i=0; while [ $i -lt 200 ]; do echo line $i; echo err $i >&2; i=$((i+1)); [ $((i % 20)) != 0 ] || sleep 0.02; done',
    )
    await provider.launch(spec, callOf())
    const parts = { stdout: '', stderr: '' }
    let cursor: string | undefined
    for (let round = 0; ; round++) {
      let taken = 0
      let last: LogChunk | undefined
      for await (const chunk of must(provider.logs)(
        { id: spec.id },
        { follow: true, ...(cursor === undefined ? {} : { cursor }) },
        callOf(),
      )) {
        parts[chunk.stream] += Buffer.from(chunk.data).toString()
        cursor = chunk.cursor
        last = chunk
        if (++taken === 3) break
      }
      if (last === undefined) break
    }
    const lines = (word: string): string => Array.from({ length: 200 }, (_, index) => `${word} ${index}\n`).join('')
    expect(parts).toEqual({ stdout: lines('line'), stderr: lines('err') })
  })

  test('is read to its end although the worker is removed meanwhile', async () => {
    const spec = specOf('head -c 1000000 /dev/zero')
    await provider.launch(spec, callOf())
    await exited(provider, spec.id)
    let bytes = 0
    for await (const { data } of must(provider.logs)({ id: spec.id }, { follow: true }, callOf())) {
      if (bytes === 0) await gone(provider, spec.id)
      bytes += data.length
    }
    expect(bytes).toBe(1_000_000)
  })

  test('a cursor of somebody else is refused, an abort ends a follow', async () => {
    const spec = specOf('exec sleep 1000')
    await provider.launch(spec, callOf())
    await expect(readLogs(must(provider.logs)({ id: spec.id }, { follow: false, cursor: '5' }, callOf()))).rejects.toMatchObject({
      code: 'invalid-spec',
      path: 'cursor',
    })
    const stop = new AbortController()
    const reading = readLogs(must(provider.logs)({ id: spec.id }, { follow: true }, callOf({ signal: stop.signal })))
    stop.abort()
    await expect(reading).rejects.toThrow()
  })

  test('writing to /dev/stdout and /dev/stderr by name cuts nothing short', async () => {
    const { stdout, stderr } = await runToEnd(
      provider,
      specOf('echo 1; echo 2 > /dev/stdout; echo 3; echo a >&2; echo b > /dev/stderr; echo c >&2'),
    )
    expect({ stdout, stderr }).toEqual({ stdout: '1\n2\n3\n', stderr: 'a\nb\nc\n' })
  })

  test('a command that is not there, one that may not be run', async () => {
    const absent = await runToEnd(provider, specOf({ mode: 'command', command: ['no-such-program-here'] }))
    expect(absent).toMatchObject({ stderr: 'muster: no-such-program-here: not found\n', exit: { code: 127 } })
    const folder = await runToEnd(provider, specOf({ mode: 'command', command: ['/etc'] }))
    expect(folder.exit).toMatchObject({ code: 126 })
  })
})

describe('what the spec gives', () => {
  test('env, workdir and files are as asked for', async () => {
    const env = {
      SIMPLE: 'a',
      QUOTES: `'"\\$(x)\``,
      LINES: 'a\n\nb\n',
      EMPTY: '',
      HOME: '/elsewhere',
      w: '1',
      verb: '2',
      PATH: '/usr/bin:/bin',
    }
    const spec = specOf(
      'pwd; for n in SIMPLE QUOTES LINES EMPTY HOME w verb PATH; do eval "printf \'%s|\' \\"\\$$n\\""; done; cat note bin/tool; ls -l bin/tool | cut -c1-10; cat ../top',
      {
        env,
        workdir: 'a/b',
        files: [
          { path: 'note', base64: btoa('n') },
          { path: 'bin/tool', base64: btoa('t'), mode: 0o755 },
          { path: '../top', base64: btoa('p') },
        ],
      },
    )
    const { stdout, stderr } = await runToEnd(provider, spec)
    const workspace = join(rig.root, 'workers', spec.id, 'workspace')
    expect(stderr).toBe('')
    expect(stdout).toBe(`${workspace}/a/b\n${Object.values(env).join('|')}|nt-rwxr-xr-x\np`)
  })

  test('a command of a worker that lives does not leave its folder by a relative working folder', async () => {
    const spec = specOf(hold)
    await provider.launch(spec, callOf())
    const run = (workdir: string) => must(provider.exec)({ id: spec.id }, execOf('pwd', { workdir }), callOf())
    await expect(run('../../..')).rejects.toMatchObject({ code: 'invalid-spec', effect: 'none', path: 'workdir' })
    expect((await readExec(await run('/'))).stdout).toBe('/\n')
  })

  test('a large environment and a large command', async () => {
    const env = Object.fromEntries(Array.from({ length: 10 }, (_, index) => [`BIG_${index}`, 'x'.repeat(13_000)]))
    const word = 'y'.repeat(130_000)
    const spec = specOf(
      { mode: 'command', command: ['/bin/sh', '-c', 'echo ${#BIG_9} $(printf %s "$1" | wc -c)', 'sh', word] },
      { env },
    )
    expect((await runToEnd(provider, spec)).stdout).toBe('13000 130000\n')
  })
})

describe('copies', () => {
  async function held(): Promise<string> {
    const spec = specOf(hold)
    await provider.launch(spec, callOf())
    return spec.id
  }
  async function say(id: string, script: string): Promise<string> {
    const { stdout, stderr } = await readExec(await must(provider.exec)({ id }, execOf(script), callOf()))
    return stdout + stderr
  }

  test('a tree goes in and comes out the same', async () => {
    const id = await held()
    const from = join(rig.dir, 'from')
    await mkdir(join(from, 'deep/er'), { recursive: true })
    await writeFile(join(from, 'deep/er/data'), Buffer.alloc(3 * MIB, 7))
    await writeFile(join(from, 'run'), '#!/bin/sh\necho ran\n', { mode: 0o755 })
    await run('ln', ['-s', 'run', join(from, 'link')])
    await run('ln', [join(from, 'run'), join(from, 'hard')])
    const { stdout } = await run('tar', ['-cf', '-', '-C', from, '.'], { encoding: 'buffer', maxBuffer: 16 * MIB })
    await must(provider.copyIn)({ id }, { path: 'into/it', tar: slices(stdout) }, callOf())
    expect(await say(id, 'cd into/it; ./run; ./link; ./hard; find . -user $(id -u) | wc -l; wc -c < deep/er/data')).toBe(
      'ran\nran\nran\n7\n3145728\n',
    )
    const out = join(rig.dir, 'out.tar')
    await writeFile(out, must(provider.copyOut)({ id }, 'into/it', callOf()))
    await run('tar', ['-xf', out, '-C', rig.dir])
    expect(await readFile(join(rig.dir, 'it/deep/er/data'))).toEqual(Buffer.alloc(3 * MIB, 7))
    expect((await run('find', [join(rig.dir, 'it'), '-type', 'l'])).stdout.trim()).toBe(join(rig.dir, 'it/link'))
  })

  test('a path that is not there is named', async () => {
    const id = await held()
    const reading = (async () => {
      for await (const _chunk of must(provider.copyOut)({ id }, 'absent/file', callOf()));
    })()
    await expect(reading).rejects.toMatchObject({ code: 'not-found', path: 'absent/file', effect: 'none' })
  })

  test.each([
    ['a path upwards', [{ name: '../muster-evil' }]],
    ['an absolute path', [{ name: '/tmp/muster-evil' }]],
    ['a path in the middle', [{ name: 'a/../../muster-evil' }]],
    ['a way through a link of its own', [{ name: 'd', type: 'symlink', linkname: '/tmp' }, { name: 'd/muster-evil' }]],
    ['a way through a link further down', [{ name: 'a/d', type: 'symlink', linkname: '..' }, { name: './a//d/muster-evil' }]],
    ['a link to a file that it did not bring', [{ name: 'h', type: 'link', linkname: '/etc/passwd' }]],
    ['a link out of the folder', [{ name: 'h', type: 'link', linkname: '../x' }]],
    ['a device', [{ name: 'dev', type: 'character-device' }]],
    ['a pipe', [{ name: 'p', type: 'fifo' }]],
  ] as const)('%s is refused, and nothing of the entry is unpacked', async (_what, entries) => {
    const id = await held()
    const archive = pack()
    for (const entry of entries) {
      if ('type' in entry) archive.entry({ ...entry }, () => undefined)
      else archive.entry({ ...entry }, 'evil')
    }
    archive.finalize()
    const copying = must(provider.copyIn)({ id }, { path: 'in', tar: archive as unknown as AsyncIterable<Uint8Array> }, callOf())
    await expect(copying).rejects.toMatchObject({ code: 'invalid-spec', path: 'tar' })
    expect(
      await say(
        id,
        'find "$HOME" "$HOME/.." /tmp /var/tmp -maxdepth 3 -name "muster-evil*" 2>/dev/null; ls in 2>/dev/null | grep -v "^[ad]$"; true',
      ),
    ).toBe('')
  })

  test('a folder that cannot be made is told, however much is still on its way', async () => {
    const id = await held()
    const archive = pack()
    archive.entry({ name: 'large' }, Buffer.alloc(32 * MIB, 1))
    archive.finalize()
    const whole = Buffer.concat(await Array.fromAsync(archive as unknown as AsyncIterable<Uint8Array>))
    let ended = 0
    async function* slowly(): AsyncGenerator<Uint8Array> {
      try {
        for await (const slice of slices(whole)) {
          yield slice
          await new Promise((resolve) => setImmediate(resolve))
        }
      } finally {
        ended += 1
      }
    }
    for (let time = 1; time <= 3; time += 1) {
      await expect(must(provider.copyIn)({ id }, { path: '/proc/none', tar: slowly() }, callOf())).rejects.toMatchObject({
        message: expect.stringContaining('cannot unpack the tar in /proc/none: ') as string,
      })
      await waitFor('the source to be let go', async () => ended === time)
    }
  })

  test('what is no tar is said so', async () => {
    const id = await held()
    const copying = must(provider.copyIn)({ id }, { path: 'in', tar: slices(Buffer.alloc(5000, 'no tar')) }, callOf())
    await expect(copying).rejects.toMatchObject({ code: 'invalid-spec', path: 'tar' })
  })
})

describe('forward', () => {
  test('a stream goes both ways to a port of the worker', async () => {
    const spec = specOf(hold, { network: { egress: 'full', ports: [freePort] } })
    await provider.launch(spec, callOf())
    const server = `require('node:net').createServer({ allowHalfOpen: true }, (s) => s.pipe(s)).listen(${freePort}, '127.0.0.1', () => console.log('listening'))`
    const stop = new AbortController()
    const session = await must(provider.exec)(
      { id: spec.id },
      { ...execOf(''), command: ['node', '-e', server] },
      callOf({ signal: stop.signal }),
    )
    for await (const { data } of session.output) if (Buffer.from(data).includes('listening')) break
    const sent = Buffer.alloc(2 * MIB, 'forward')
    const parts: Uint8Array[] = []
    for await (const part of must(provider.forward)({ id: spec.id }, { port: freePort, input: slices(sent) }, callOf()))
      parts.push(part)
    expect(Buffer.concat(parts).equals(sent)).toBe(true)
    await expect(
      first(must(provider.forward)({ id: spec.id }, { port: 1, input: slices(sent) }, callOf())),
    ).rejects.toMatchObject({ code: 'invalid-spec', path: 'port' })
    stop.abort()
  })

  test('nobody listens: transient', async () => {
    const spec = specOf(hold)
    await provider.launch(spec, callOf())
    await expect(
      first(must(provider.forward)({ id: spec.id }, { port: freePort, input: slices(Buffer.alloc(0)) }, callOf())),
    ).rejects.toMatchObject({ code: 'transient' })
  })
})

/** Above the ports that the kernel hands out by itself. */
const freePort = 61_000 + (process.pid % 4000)

async function first<T>(items: AsyncIterable<T>): Promise<T | undefined> {
  for await (const item of items) return item
  return undefined
}

async function* slices(buffer: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < buffer.length; at += 50_000) yield buffer.subarray(at, at + 50_000)
}

test('many small writes by several processes', async () => {
  const { stdout } = await runToEnd(
    provider,
    specOf('for p in 1 2 3 4; do (i=0; while [ $i -lt 5000 ]; do echo "$p $i"; i=$((i+1)); done) & done; wait'),
  )
  const lines = [1, 2, 3, 4].flatMap((p) => Array.from({ length: 5000 }, (_, i) => `${p} ${i}`))
  expect(stdout.trim().split('\n').sort()).toEqual(lines.sort())
})
