/** Commands with a terminal: its size, what is typed, and that it ends with whoever holds it. */
import assert from 'node:assert/strict'
import type { WorkerTarget } from '../../provider.ts'
import type { Bench } from './bench.ts'
import { awaited, commandOf, fails, run } from './help.ts'
import type { Calls } from './session.ts'
import type { SuiteTest } from './test.ts'

const needs = ['work:hold', 'exec', 'exec.tty'] as const
const size = { columns: 91, rows: 23 }

interface Terminal {
  /** All that it has shown so far. */
  text(): string
  type(text: string): void
  /** The input has an end. */
  close(): void
  /** Waits until it has shown this. */
  shows(text: string): Promise<unknown>
  exit: Promise<{ code?: number; signal?: string }>
  resize(columns: number, rows: number): Promise<void>
  again(): Promise<unknown>
}

/** Somebody at a terminal in the worker. */
async function sitAt(bench: Bench, session: Calls, at: { target: WorkerTarget; script: string }): Promise<Terminal> {
  const { target, script } = at
  const typed: Uint8Array[] = []
  let ended = false
  let wake: () => void = () => undefined
  async function* input(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const next = typed.shift()
      if (next !== undefined) yield next
      else if (ended) return
      else await new Promise<void>((resolve) => (wake = resolve))
    }
  }
  const command = { ...commandOf(bench, script), tty: size, stdin: true }
  const { output, exit } = await session.exec(target, { ...command, input: input() })
  exit.catch(() => undefined)
  let text = ''
  const shown = awaited(
    (async () => {
      for await (const { stream, data } of output)
        text += `${stream === 'stdout' ? '' : 'stderr: '}${Buffer.from(data).toString()}`
    })(),
  )
  return {
    text: () => text,
    type(some) {
      typed.push(Buffer.from(some))
      wake()
    },
    close() {
      ended = true
      wake()
    },
    shows: (some) => bench.until(`the terminal shows ${some}`, async () => (text.includes(some) ? true : undefined)),
    exit: awaited(shown.then(() => exit)),
    resize: (columns, rows) => session.execResize(target, { id: command.id, columns, rows }),
    again: () => session.exec(target, command),
  }
}

export const terminalTests: readonly SuiteTest[] = [
  {
    name: 'exec gives a terminal or refuses it',
    needs: ['work:hold', 'exec'],
    async run(bench) {
      const command = commandOf(bench, 'test -t 0 && test -t 1 && test -t 2 && echo terminal; exit 3', { tty: size })
      const [session, target] = [await bench.session(), await bench.shared()]
      if (!bench.declares('exec.tty'))
        return void (await fails('a terminal', session.exec(target, command), {
          code: 'unsupported',
          effect: 'none',
          path: 'tty',
        }))
      const { stdout, exit } = await run(session, target, command)
      assert.deepEqual([stdout.toString(), exit.code], ['terminal\r\n', 3])
    },
  },
  {
    name: 'a terminal has the size that was asked for, and the command hears of another one',
    needs,
    async run(bench) {
      const first = `${size.rows} ${size.columns}`
      // Who sets rows and columns one after the other has a size between the two, and is heard twice.
      const wait = `i=0; while [ "$(stty size)" != '43 132' ] && [ $i -lt 200 ]; do i=$((i+1)); sleep 0.05; done`
      const script = `trap 'echo told' WINCH; stty size; ${wait}; stty size`
      const terminal = await sitAt(bench, await bench.session(), { target: await bench.shared(), script })
      await terminal.shows('\n')
      assert.equal(terminal.text(), `${first}\r\n`)
      await terminal.resize(132, 43)
      await terminal.exit
      assert.deepEqual([...new Set(terminal.text().split('\r\n'))].toSorted(), ['', first, '43 132', 'told'].toSorted())
      // Of a terminal that has ended nobody hears.
      await terminal.resize(80, 24)
    },
  },
  {
    name: 'what is typed at a terminal goes to what runs there: Ctrl-C as an interrupt, the end of the input as its end',
    needs,
    async run(bench) {
      const script = `trap 'echo interrupted' INT; echo ready; cat; echo goes on; cat; echo over; exit 7`
      const terminal = await sitAt(bench, await bench.session(), { target: await bench.shared(), script })
      await terminal.shows('ready')
      await fails('a second one of its id', terminal.again(), { code: 'conflict', effect: 'none' })
      terminal.type('\u0003')
      await terminal.shows('goes on')
      assert.match(terminal.text(), /interrupted/)
      terminal.type('some words\r')
      // Once by the terminal, and once by the command.
      await terminal.shows('some words\r\nsome words\r\n')
      terminal.close()
      assert.equal((await terminal.exit).code, 7)
      assert.match(terminal.text(), /over\r\n$/)
    },
  },
  {
    name: 'a terminal that nobody holds any more hangs up',
    needs,
    async run(bench) {
      const [session, target] = [await bench.session(), await bench.shared()]
      const leaving = new AbortController()
      // So long that nobody else sleeps for it.
      const nap = 1_000_000 + Math.trunc(Math.random() * 8_000_000)
      const terminal = await sitAt(bench, session.with({ signal: leaving.signal }), {
        target,
        script: `echo ready; sleep ${nap}`,
      })
      await terminal.shows('ready')
      leaving.abort()
      await fails('the aborted call', terminal.exit, { code: 'cancelled' })
      await bench.until('nothing runs in it', async () => {
        const looking = `for one in /proc/[0-9]*; do tr '\\0' ' ' <$one/cmdline; echo; done 2>/dev/null | grep -c '[s]leep ${nap}'`
        return (await run(session, target, commandOf(bench, looking))).stdout.toString().trim() === '0' ? true : undefined
      })
    },
  },
]
