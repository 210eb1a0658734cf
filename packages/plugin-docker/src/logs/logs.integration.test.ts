import { createHash } from 'node:crypto'
import type { LogChunk, WorkerExit } from '@muster/core'
import { findDocker } from '@muster/test/systems/docker'
import { engineJson } from '@muster/test/systems/engine'
import { ensureImage } from '@muster/test/systems/images'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type ContainerInspect, createEngine } from '../client.ts'
import { callOf, createHarness, type Harness, readAll } from '../testing/harness.test.helper.ts'
import { readLogs } from './logs.ts'

suiteWith(await findDocker(), 'the log of a worker on a real engine', (docker) => {
  let harness: Harness
  beforeAll(async () => {
    harness = await createHarness(docker.socket)
  })
  afterAll(() => harness.clean())

  const sha = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex')
  /** A worker with Node that runs a script. */
  const script = async (source: string): ReturnType<Harness['run']> => {
    const image = await ensureImage(docker.socket, 'node')
    return harness.run(harness.spec({ image, work: { mode: 'command', command: ['node', '-e', source] } }))
  }

  test.each([
    ['sh -c "exit 0"', ['sh', '-c', 'exit 0'], { code: 0 }],
    ['exit 3', ['sh', '-c', 'exit 3'], { code: 3 }],
    ['exit 137 of its own', ['sh', '-c', 'exit 137'], { code: 137 }],
    ['exit 143 of its own', ['sh', '-c', 'exit 143'], { code: 143 }],
    ['SIGKILL', ['sh', '-c', 'kill -9 $$'], { code: 137 }],
    ['SIGTERM', ['sh', '-c', 'kill -15 $$'], { code: 143 }],
    ['a program that is not there', ['no-such-program'], { code: 127 }],
  ])('exit of %s', async (_name, command, expected) => {
    const { exit } = await harness.run(harness.command(...command))
    expect(exit).toMatchObject(expected)
    expect(exit.oomKilled).toBeUndefined()
    expect(exit.signal).toBeUndefined()
  })

  test('a worker that the kernel kills for memory says so', async () => {
    const ends = async (): Promise<WorkerExit> => {
      const work = { mode: 'command' as const, command: ['tail', '/dev/zero'] }
      return (await harness.run(harness.spec({ work, resources: { memoryBytes: 16 * 1024 * 1024 } }))).exit
    }
    // An engine drops the kernel's word when the container's group is gone before it looks, as on a machine without a core to spare: then nobody
    // has it any more, and nothing is claimed. It does not happen three times.
    let exit = await ends()
    for (let left = 2; exit.oomKilled !== true && left > 0; left--) {
      expect(exit).toMatchObject({ code: 137, reason: 'exited with code 137' })
      exit = await ends()
    }
    expect(exit).toMatchObject({
      code: 137,
      oomKilled: true,
      signal: 'SIGKILL',
      reason: expect.stringMatching(/^out of memory: it reached its limit of \d+ bytes$/) as string,
    })
  })

  test('stdout and stderr are apart and whole to the last line without newline', async () => {
    const { stdout, stderr } = await harness.run(
      harness.command('sh', '-c', 'echo one; echo two >&2; printf three; printf four >&2'),
    )
    expect(stdout.toString()).toBe('one\nthree')
    expect(stderr.toString()).toBe('two\nfour')
  })

  test('binary output comes out as it went in', async () => {
    const make = (bytes: Buffer): Buffer => {
      for (let index = 0, x = 12345; index < bytes.length; index++) {
        x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff
        bytes[index] = x >> 16
      }
      return bytes
    }
    const { exit, stdout } = await script(`process.stdout.write((${make.toString()})(Buffer.alloc(3_000_000)))`)
    const made = make(Buffer.alloc(3_000_000))
    expect(exit.code).toBe(0)
    expect(stdout.length).toBe(3_000_000)
    expect(sha(stdout)).toBe(sha(made))
  })

  test('lines of 1 MB, and of lengths around the 16 KiB at which an engine cuts', async () => {
    const lengths = [1_000_000, 16_383, 16_384, 16_385, 32_767, 32_768, 1_000_000, 0, 5]
    const source = `for (const n of ${JSON.stringify(lengths)}) process.stdout.write('x'.repeat(n) + '\\n')`
    const { stdout } = await script(source)
    expect(
      stdout
        .toString()
        .split('\n')
        .map((line) => line.length),
    ).toEqual([...lengths, 0])
  })

  test('a long last line comes without an invented byte', async () => {
    const { stdout } = await script(`process.stdout.write('x'.repeat(100_000))`)
    expect(stdout.length).toBe(100_000)
    // With a newline: engines before 23 drop that one, and nothing of theirs shows whether it was there.
    const { stdout: ended } = await script(`process.stdout.write('x'.repeat(100_000) + '\\n')`)
    expect([100_000, 100_001]).toContain(ended.length)
  })

  test('a slow long line is whole, though its parts come late', async () => {
    const { stdout } = await harness.run(
      harness.command(
        'sh',
        '-c',
        'head -c 20000 /dev/zero | tr "\\0" a; sleep 2; head -c 20000 /dev/zero | tr "\\0" b; echo; echo end',
      ),
    )
    expect(stdout.toString()).toBe(`${'a'.repeat(20_000)}${'b'.repeat(20_000)}\nend\n`)
  })

  test('100 MB come whole, and a slow reader holds nothing back in memory', async () => {
    const line = 'x'.repeat(999)
    const spec = harness.command('sh', '-c', `yes ${line} | head -c 100000000`)
    await harness.provider.launch(spec, callOf())
    const hash = createHash('sha256')
    let bytes = 0
    let chunks = 0
    let most = 0
    const before = process.memoryUsage.rss()
    for await (const { data } of harness.provider.logs({ id: spec.id }, { follow: true }, callOf({ timeoutMs: 170_000 }))) {
      if (bytes < 1_000_000 && bytes + data.length >= 1_000_000) {
        // The reader stands still until the worker, which nobody drains but the engine's file, has ended.
        await harness.exit(spec.id)
        most = process.memoryUsage.rss() - before
      }
      hash.update(data)
      bytes += data.length
      chunks++
    }
    // Each line is one that the engine sends by itself.
    expect(chunks).toBeLessThan(100_000 / 2)
    expect(bytes).toBe(100_000_000)
    expect(hash.digest('hex')).toBe(sha(Buffer.from(`${line}\n`.repeat(100_000))))
    // One socket's buffers and a chunk; the rest of the 100 MB stays with the engine.
    expect(most).toBeLessThan(50_000_000)
  })

  test('every cursor resumes without gap or overlap', async () => {
    const spec = harness.command(
      'sh',
      '-c',
      'i=0; while [ $i -lt 300 ]; do echo out $i; [ $((i % 3)) = 0 ] && echo err $i >&2; i=$((i+1)); done; printf end',
    )
    await harness.provider.launch(spec, callOf())
    await harness.exit(spec.id)
    const whole = await readAll(harness.provider, spec.id)
    const other = harness.another()
    expect(whole.stdout.toString().split('\n')).toHaveLength(301)
    for (const [index, { cursor }] of whole.chunks.entries()) {
      const rest = await readAll(other, spec.id, { cursor })
      const seen = (stream: string): Buffer =>
        Buffer.concat(
          whole.chunks
            .slice(0, index + 1)
            .filter((chunk) => chunk.stream === stream)
            .map(({ data }) => data),
        )
      expect(Buffer.concat([seen('stdout'), rest.stdout]).equals(whole.stdout)).toBe(true)
      expect(Buffer.concat([seen('stderr'), rest.stderr]).equals(whole.stderr)).toBe(true)
    }
  })

  test('a follower that is cut again and again loses and doubles nothing', async () => {
    const spec = harness.command(
      'sh',
      '-c',
      'i=0; while [ $i -lt 2000 ]; do echo $i; [ $((i % 100)) = 0 ] && sleep 0.05; i=$((i+1)); done',
    )
    await harness.provider.launch(spec, callOf())
    let stdout = ''
    let cursor: string | undefined
    let cuts = 0
    for (let done = false; !done; cuts++) {
      const reader = harness.another()
      const options = cursor === undefined ? { follow: true } : { follow: true, cursor }
      let chunks = 0
      done = true
      for await (const chunk of reader.logs({ id: spec.id }, options, callOf())) {
        stdout += Buffer.from(chunk.data).toString()
        cursor = chunk.cursor
        // However slow the machine, each pause of the worker ends a chunk.
        if (++chunks < 2) continue
        done = false
        break
      }
    }
    expect(stdout).toBe(Array.from({ length: 2000 }, (_, index) => `${index}\n`).join(''))
    expect(cuts).toBeGreaterThan(3)
  })

  test.each([
    ['local', 25_000],
    ['json-file', 25_000],
    ['local', Infinity],
  ])(
    'a log of driver %s that goes on in the next file, read by who is cut every %d bytes: each line once',
    async (Type, cutAt) => {
      const script = 'i=0; while [ $i -lt 6000 ]; do echo $i some words; [ $((i % 100)) = 0 ] && sleep 0.02; i=$((i+1)); done'
      const name = `rotating-${harness.owner}`
      const path = `/containers/${name}`
      const Config = { 'max-size': '50k', 'max-file': '20', ...(Type === 'local' ? { compress: 'false' } : {}) }
      const body = {
        Image: harness.spec().image,
        Cmd: ['sh', '-c', script],
        Labels: { 'muster-owner': harness.owner },
        HostConfig: { LogConfig: { Type, Config } },
      }
      await engineJson(docker.socket, { method: 'POST', path: '/containers/create', query: { name }, body })
      await engineJson(docker.socket, { method: 'POST', path: `${path}/start` })
      const engine = createEngine({ socketPath: docker.socket })
      const { signal } = callOf()
      const inspect = () => engine.json<ContainerInspect>({ method: 'GET', path: `${path}/json`, signal })
      let gaps = 0
      const others = { endOf: () => Promise.resolve(undefined), onAgain: () => () => undefined, onGap: () => void gaps++ }
      let stdout = ''
      let cursor: string | undefined
      for (let done = false; !done;) {
        const options = cursor === undefined ? { follow: true } : { follow: true, cursor }
        let bytes = 0
        done = true
        for await (const chunk of readLogs({ engine, path, inspect, ...others, signal }, options)) {
          stdout += Buffer.from(chunk.data).toString()
          cursor = chunk.cursor
          bytes += chunk.data.length
          if (bytes < cutAt) continue
          done = false
          break
        }
      }
      engine.close()
      await engineJson(docker.socket, { method: 'DELETE', path, query: { force: '1' } })
      expect(gaps).toBe(0)
      expect(stdout).toBe(Array.from({ length: 6000 }, (_, index) => `${index} some words\n`).join(''))
    },
  )

  test('without follow it ends at the end of what is there', async () => {
    const spec = harness.command('sh', '-c', 'echo first; read _ </dev/zero')
    await harness.provider.launch(spec, callOf())
    const { stdout, chunks } = await waitFor('the first line', () => readAll(harness.provider, spec.id, { follow: false }), {
      until: ({ stdout: seen }) => seen.length > 0,
    })
    expect(stdout.toString()).toBe('first\n')
    const again = await readAll(harness.provider, spec.id, { follow: false, cursor: chunks.at(-1)!.cursor })
    expect(again.chunks).toEqual([])
  })

  test('a worker that vanishes under its reader is an error, not an end', async () => {
    const spec = harness.command('sh', '-c', 'echo first; exec sleep 1000')
    await harness.provider.launch(spec, callOf())
    const read: LogChunk[] = []
    const reading = (async () => {
      for await (const chunk of harness.provider.logs({ id: spec.id }, { follow: true }, callOf())) {
        read.push(chunk)
        await engineJson(docker.socket, { method: 'DELETE', path: `/containers/muster-${spec.id}`, query: { force: '1' } })
      }
    })()
    await expect(reading).rejects.toMatchObject({ code: 'not-found', effect: 'none' })
    expect(read).toHaveLength(1)
  })

  test('a cursor of somebody else is refused', async () => {
    const spec = harness.command('true')
    await harness.provider.launch(spec, callOf())
    await expect(readAll(harness.provider, spec.id, { cursor: 'x' })).rejects.toMatchObject({
      code: 'invalid-spec',
      path: 'cursor',
    })
  })

  test('an abort ends a quiet follower', async () => {
    const spec = harness.command('sleep', '1000')
    await harness.provider.launch(spec, callOf())
    const abort = new AbortController()
    const reading = (async () => {
      for await (const _ of harness.provider.logs({ id: spec.id }, { follow: true }, callOf({ signal: abort.signal })))
        expect.unreachable()
    })()
    setTimeout(() => abort.abort(), 200)
    await expect(reading).rejects.toMatchObject({ code: 'cancelled', effect: 'none' })
  })
})
