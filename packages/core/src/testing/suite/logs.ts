/** Output of workers in command mode: whole, apart, resumable, and never more than the reader takes. */
import assert from 'node:assert/strict'
import type { LogChunk, LogOptions, WorkerTarget } from '../../provider.ts'
import { streamWindowBytes } from '../../wire/limits.ts'
import type { Bench } from './bench.ts'
import { all, launched, logsOf, type Output, whenExited } from './help.ts'
import type { Calls } from './session.ts'
import type { SuiteTest } from './test.ts'

/** Prints every byte value but NUL: shells cannot hold that one. */
const everyByte = `i=1; while [ $i -lt 256 ]; do printf "\\\\$(printf %03o $i)"; i=$((i+1)); done`
const allBytes = Buffer.from(Array.from({ length: 255 }, (_one, index) => index + 1))

/** So many lines of 64 bytes, numbered. */
function numbered(lines: number): string {
  return `i=0; while [ $i -lt ${lines} ]; do printf '%063d\\n' $i; i=$((i+1)); done`
}

function numberedText(lines: number): string {
  return Array.from({ length: lines }, (_one, index) => `${String(index).padStart(63, '0')}\n`).join('')
}

async function finished(bench: Bench, session: Calls, script: string): Promise<WorkerTarget> {
  const spec = bench.command(script)
  const { handle } = await session.launch(spec)
  const target = { id: spec.id, handle }
  await whenExited(bench, session, target)
  return target
}

/** Logs that may come late at this vendor: asked until they are as they should be. */
async function eventually(bench: Bench, read: () => Promise<Output>, good: (output: Output) => boolean): Promise<Output> {
  if ((bench.capabilities.logs?.delayMs ?? 0) === 0) return await read()
  return await bench.until('the logs are there', async () => {
    const output = await read()
    return good(output) ? output : undefined
  })
}

function textOf(chunks: readonly LogChunk[]): string {
  return Buffer.concat(chunks.map(({ data }) => data)).toString('latin1')
}

/** `true`: nothing but what the other text began with was lost or doubled. */
function firstDifference(seen: string, wanted: string): string {
  if (seen === wanted) return ''
  const at = Array.from({ length: Math.min(seen.length, wanted.length) }, (_one, index) => index).find(
    (index) => seen[index] !== wanted[index],
  )
  return `${seen.length} bytes instead of ${wanted.length}; they differ at ${at ?? Math.min(seen.length, wanted.length)}`
}

/** Reads once whole, then from every cursor on: what follows it must be what followed it before. */
async function assertResumable(chunks: readonly LogChunk[], read: (options: LogOptions) => Promise<LogChunk[]>): Promise<void> {
  for (const [index, { cursor }] of chunks.entries()) {
    const rest = await read({ cursor, follow: true })
    for (const stream of ['stdout', 'stderr'] as const) {
      const wanted = textOf(chunks.slice(index + 1).filter((chunk) => chunk.stream === stream))
      const seen = textOf(rest.filter((chunk) => chunk.stream === stream))
      assert.equal(firstDifference(seen, wanted), '', `${stream} after chunk ${index + 1} of ${chunks.length}`)
    }
  }
}

const bothStreams = `${numbered(3000)}; ${numbered(1500)} >&2; ${numbered(1500)}`

export const logTests: readonly SuiteTest[] = [
  {
    name: 'logs are whole to the last line, each stream apart',
    needs: ['work:command', 'logs', 'unless:lines'],
    async run(bench) {
      const session = await bench.session()
      const target = await finished(
        bench,
        session,
        `echo first; echo problem >&2; ${everyByte}; printf 'no line end'; printf 'nor here' >&2`,
      )
      const stdout = Buffer.concat([Buffer.from('first\n'), allBytes, Buffer.from('no line end')])
      const stderr = Buffer.from('problem\nnor here')
      const split = bench.capabilities.logs?.split === true
      const good = (seen: Output): boolean => seen.stdout.length + seen.stderr.length === stdout.length + stderr.length
      const seen = await eventually(bench, () => logsOf(session, target), good)
      if (!split) return assert.equal(seen.stdout.length, stdout.length + stderr.length)
      assert.deepEqual([seen.stdout.toString('latin1'), seen.stderr.toString()], [stdout.toString('latin1'), stderr.toString()])
    },
  },
  {
    name: 'logs resume after every chunk without loss or doubling',
    needs: ['work:command', 'logs'],
    async run(bench) {
      const session = await bench.session()
      const target = await finished(bench, session, bothStreams)
      const chunks = await all(session.logs(target, { follow: true }))
      assert.ok(chunks.length > 1, 'more than one chunk')
      await assertResumable(chunks, (options) => all(session.logs(target, options)))
    },
  },
  {
    name: 'logs that follow end after the exit, with all there is',
    needs: ['work:command', 'logs'],
    async run(bench) {
      const session = await bench.session()
      const lines = 20_000
      const script = `${numbered(10)}; head -c ${(lines - 10) * 64} /dev/zero | tr '\\0' x`
      const wanted = numberedText(10) + 'x'.repeat((lines - 10) * 64)
      const target = await launched(bench, session, bench.command(script))
      const good = ({ stdout }: Output): boolean => stdout.length === wanted.length
      const { stdout } = await eventually(bench, () => logsOf(session, target), good)
      assert.equal(firstDifference(stdout.toString(), wanted), '')
    },
  },
  {
    name: 'logs show output while the command runs',
    needs: ['work:command', 'logs.live'],
    async run(bench) {
      const session = await bench.session()
      const target = await launched(bench, session, bench.command('echo early; sleep 1000'))
      const logs = session.logs(target, { follow: true })[Symbol.asyncIterator]()
      const { value } = await logs.next()
      await logs.return?.()
      assert.equal(Buffer.from(value?.data ?? []).toString(), 'early\n')
    },
  },
  {
    name: 'logs that do not follow end at what is there',
    needs: ['work:command', 'logs.live'],
    async run(bench) {
      const session = await bench.session()
      const target = await launched(bench, session, bench.command('echo so far; sleep 1000'))
      await bench.until('what there is so far', async () => {
        const { stdout } = await logsOf(session, target, { follow: false })
        return stdout.toString() === 'so far\n' ? true : undefined
      })
    },
  },
  {
    name: 'logs resume in another plugin process',
    needs: ['work:command', 'logs'],
    async run(bench) {
      const first = await bench.open()
      const target = await finished(bench, first, bothStreams)
      const chunks = await all(first.logs(target, { follow: true }))
      await first.kill()
      const second = await bench.open()
      // The cursor alone must be enough: this process has never read the logs.
      await assertResumable(chunks.slice(-2), (options) => all(second.logs(target, options)))
    },
  },
  {
    name: 'a slow reader bounds the memory of the plugin',
    needs: ['work:command', 'logs'],
    async run(bench) {
      const session = await bench.open()
      const { floodBytes = 128 * 1024 * 1024, slowReaderBytes = 64 * 1024 * 1024 } = bench.setup
      const target = await finished(bench, session, `head -c ${floodBytes} /dev/zero | tr '\\0' x`)
      const before = session.link.memory?.() ?? 0
      const logs = session.logs(target, { follow: true })[Symbol.asyncIterator]()
      // Little is taken at a time: a plugin that reads ahead does so now.
      for (let taken = 0; taken < 200; taken++) {
        if ((await logs.next()).done === true) break
        const { receivedBytes } = session.connection.stats()
        assert.ok(receivedBytes <= streamWindowBytes, `${receivedBytes} bytes sent ahead of the reader`)
        const added = (session.link.memory?.() ?? before) - before
        assert.ok(added <= slowReaderBytes, `${added} bytes of memory more after ${taken} chunks`)
      }
      await logs.return?.()
    },
  },
]
