/** Commands in a running worker: started once, every byte once, whoever is killed meanwhile. */
import assert from 'node:assert/strict'
import type { ExecChunk, ExecInput, WorkerExit, WorkerTarget } from '../../provider.ts'
import { newWorkerId } from '../ids.ts'
import type { Bench } from './bench.ts'
import { awaited, bytes, commandOf, endedBy, fails, launched, type Ran, run } from './help.ts'
import type { Calls, Session } from './session.ts'
import type { SuiteTest } from './test.ts'

const needs = ['work:hold', 'exec'] as const
const reattach = [...needs, 'exec.reattach'] as const

async function ran(bench: Bench, script: string, over: Partial<ExecInput> = {}): Promise<Ran> {
  return await run(await bench.session(), await bench.shared(), commandOf(bench, script, over))
}

/** Reads until `enough`, then leaves the rest. */
async function readSome(output: AsyncIterable<ExecChunk>, enough: (text: string) => boolean): Promise<string> {
  let text = ''
  for await (const { stream, data } of output) {
    if (stream === 'stdout') text += Buffer.from(data).toString('latin1')
    if (enough(text)) break
  }
  return text
}

/** Waits for a mark the command makes in its directory. */
async function whenMarked(bench: Bench, session: Calls, at: { target: WorkerTarget; name: string }): Promise<void> {
  await bench.until(`the command made ${at.name}`, async () => {
    const { exit } = await run(session, at.target, commandOf(bench, `test -e ${at.name}`))
    return exit.code === 0 ? true : undefined
  })
}

function numbers(from: number, to: number): string {
  return Array.from({ length: to - from + 1 }, (_one, index) => `${from + index}\n`).join('')
}

/** Counts to 400, waits for a mark, counts to 800, ends with 6. */
const inTwoParts = (mark: string): string =>
  `i=0; while [ $i -lt 800 ]; do i=$((i+1)); echo $i; if [ $i -eq 400 ]; then while ! test -e ${mark}; do sleep 0.05; done; fi; done; exit 6`

export const execTests: readonly SuiteTest[] = [
  {
    name: 'exec tells exit codes 0, 1, 137 and 143 as they are',
    needs: [...needs, 'exec.exitCode'],
    async run(bench) {
      const codes = [0, 1, 137, 143]
      const exits = await Promise.all(codes.map(async (code) => (await ran(bench, `exit ${code}`)).exit))
      assert.deepEqual(
        exits.map(({ code, oomKilled }) => ({ code, oomKilled: oomKilled === true })),
        codes.map((code) => ({ code, oomKilled: false })),
      )
    },
  },
  {
    name: 'exec keeps stdout and stderr apart, whole and byte for byte',
    needs,
    async run(bench) {
      const script = `printf 'a\\001\\377\\r\\nb'; printf 'c\\300\\n' >&2; head -c 300000 /dev/zero | tr '\\0' y; printf end; printf end >&2`
      const { stdout, stderr } = await ran(bench, script)
      assert.equal(stdout.toString('latin1').replace(/y{300000}/, '<300000 y>'), 'a\u0001\u00ff\r\nb<300000 y>end')
      assert.equal(stderr.toString('latin1'), 'c\u00c0\nend')
    },
  },
  {
    name: 'exec passes standard input whole, and its end',
    needs: [...needs, 'exec.stdin'],
    async run(bench) {
      const parts = Array.from({ length: 40 }, (_one, index) => Buffer.alloc(20_000 + index, 65 + (index % 26)))
      const { stdout } = await ran(bench, 'cat; echo over', { stdin: true, input: bytes(...parts) })
      const wanted = Buffer.concat([...parts, Buffer.from('over\n')])
      assert.ok(stdout.equals(wanted), `${stdout.length} bytes instead of ${wanted.length}, or other ones`)
    },
  },
  {
    name: 'a command without standard input reads its end at once',
    needs,
    async run(bench) {
      const { stdout } = await ran(bench, 'cat; echo over')
      assert.equal(stdout.toString(), 'over\n')
    },
  },
  {
    name: 'exec gives the command its env and its workdir',
    needs,
    async run(bench) {
      await ran(bench, 'mkdir -p sub/dir')
      const { stdout } = await ran(bench, `pwd; printf '%s' "$OWN_VALUE"`, {
        env: { OWN_VALUE: `it's\n"so" $HOME` },
        workdir: bench.inside('sub/dir'),
      })
      const [directory, ...rest] = stdout.toString().split('\n')
      assert.match(directory ?? '', /\/sub\/dir$/)
      assert.equal(rest.join('\n'), `it's\n"so" $HOME`)
    },
  },
  {
    name: 'exec runs the command as the user that was asked for',
    needs: [...needs, 'script:user'],
    async run(bench) {
      const { script = '', user = '', expect = '' } = bench.setup.scripts?.user ?? {}
      const { stdout } = await ran(bench, script, { user })
      assert.equal(stdout.toString().trim(), expect)
    },
  },
  {
    name: 'twenty commands run in one worker at once',
    needs,
    async run(bench) {
      const session = await bench.session()
      const target = await launched(bench, session, bench.hold())
      const script = (index: number): string =>
        `: >mark.${index}; while [ $(ls mark.* | wc -l) -lt 20 ]; do sleep 0.1; done; echo ${index}`
      const all = Array.from({ length: 20 }, (_one, index) => run(session, target, commandOf(bench, script(index))))
      assert.deepEqual(
        (await Promise.all(all)).map(({ stdout }) => Number(stdout.toString())),
        all.map((_one, index) => index),
      )
    },
  },
  {
    name: 'the same command id attaches and never starts twice',
    needs: reattach,
    async run(bench) {
      const [session, target] = [await bench.session(), await bench.shared()]
      const mark = bench.newExecId()
      const command = commandOf(bench, `echo once >>${mark}; while ! test -e ${mark}.go; do sleep 0.05; done; wc -l <${mark}`)
      const first = awaited(run(session, target, command))
      await whenMarked(bench, session, { target, name: mark })
      const second = awaited(run(session, target, command))
      await ran(bench, `: >${mark}.go`)
      const [one, other] = await Promise.all([first, second])
      const later = await run(session, target, command)
      assert.deepEqual(
        [one, other, later].map(({ stdout, exit }) => [stdout.toString().trim(), exit.code]),
        Array.from({ length: 3 }, () => ['1', 0]),
      )
    },
  },
  {
    name: 'exec goes on from any offset without a byte lost or doubled',
    needs: reattach,
    async run(bench) {
      const [session, target] = [await bench.session(), await bench.shared()]
      const command = commandOf(bench, `i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; echo e$i >&2; done`)
      const whole = await run(session, target, command)
      assert.equal(whole.stdout.toString(), numbers(1, 3000))
      for (const stdout of [0, 1, 4095, 4096, whole.stdout.length - 1, whole.stdout.length]) {
        const from = { stdout, stderr: Math.min(stdout * 2, whole.stderr.length) }
        const rest = await run(session, target, { ...command, from })
        assert.equal(rest.stdout.toString(), whole.stdout.subarray(from.stdout).toString(), `stdout from ${from.stdout}`)
        assert.equal(rest.stderr.toString(), whole.stderr.subarray(from.stderr).toString(), `stderr from ${from.stderr}`)
      }
    },
  },
  {
    name: 'a command survives SIGKILL of the plugin: the rest of its output and its exit are right',
    needs: reattach,
    async run(bench) {
      const target = await bench.shared()
      const session = await bench.open()
      const mark = bench.newExecId()
      const command = commandOf(bench, inTwoParts(mark))
      const { output, exit } = await session.exec(target, command)
      exit.catch(() => undefined)
      const before = await readSome(output, (text) => text.endsWith('\n400\n'))
      await session.kill()
      await ran(bench, `: >${mark}`)
      const after = await run(await bench.open(), target, { ...command, from: { stdout: before.length, stderr: 0 } })
      assert.equal(before + after.stdout.toString(), numbers(1, 800))
      assert.equal(after.exit.code, 6)
    },
  },
  {
    name: 'a command goes on when nobody listens any more',
    needs: reattach,
    async run(bench) {
      const [session, target] = [await bench.session(), await bench.shared()]
      const mark = bench.newExecId()
      const command = commandOf(bench, inTwoParts(mark))
      const leaving = new AbortController()
      const { output, exit } = await session.with({ signal: leaving.signal }).exec(target, command)
      const gone = awaited(fails('the aborted call', exit, { code: 'cancelled' }))
      const before = await readSome(output, (text) => text.includes('\n400\n'))
      leaving.abort()
      await gone
      await ran(bench, `: >${mark}`)
      const after = await run(session, target, { ...command, from: { stdout: before.length, stderr: 0 } })
      assert.deepEqual([before + after.stdout.toString(), after.exit.code], [numbers(1, 800), 6])
    },
  },
  {
    name: 'the state of a command is running, then exited with its exit; of an unknown one unknown',
    needs,
    async run(bench) {
      const [session, target] = [await bench.session(), await bench.shared()]
      const mark = bench.newExecId()
      const command = commandOf(bench, `: >${mark}; while ! test -e ${mark}.go; do sleep 0.05; done; exit 4`)
      const running = awaited(run(session, target, command))
      await whenMarked(bench, session, { target, name: mark })
      assert.deepEqual(await session.execState(target, command.id), { state: 'running' })
      await ran(bench, `: >${mark}.go`)
      await running
      const ended = await session.execState(target, command.id)
      assert.deepEqual([ended.state, (ended as { exit?: WorkerExit }).exit?.code], ['exited', 4])
      assert.deepEqual(await session.execState(target, bench.newExecId()), { state: 'unknown' })
    },
  },
  {
    name: 'a command is ended by the signal that was asked for, its children too',
    needs,
    async run(bench) {
      const [session, target] = [await bench.session(), await bench.shared()]
      for (const signal of ['SIGTERM', 'SIGKILL', 'SIGINT'] as const) {
        const mark = bench.newExecId()
        // So long that nobody else sleeps for it.
        const nap = 1_000_000 + Math.trunc(Math.random() * 8_000_000)
        const command = commandOf(bench, `: >${mark}; sleep ${nap}; exit 0`)
        const ending = awaited(run(session, target, command))
        await whenMarked(bench, session, { target, name: mark })
        await session.execKill(target, { id: command.id, signal })
        const { exit } = await ending
        assert.ok(endedBy(exit, signal), `${signal}: ${JSON.stringify(exit)}`)
        await bench.until(`no child outlives ${signal}`, async () => {
          const looking = `for one in /proc/[0-9]*; do tr '\\0' ' ' <$one/cmdline; echo; done 2>/dev/null | grep -c '[s]leep ${nap}'`
          return (await ran(bench, looking)).stdout.toString().trim() === '0' ? true : undefined
        })
      }
      await session.execKill(target, { id: bench.newExecId(), signal: 'SIGTERM' })
    },
  },
  {
    name: 'exec in a worker that is not there is not-found',
    needs,
    async run(bench) {
      const session: Session = await bench.session()
      await fails('exec', session.exec({ id: newWorkerId() }, commandOf(bench, 'exit 0')), { code: 'not-found', effect: 'none' })
      const gone = await launched(bench, session, bench.hold())
      await session.terminate(gone, { graceMs: 0, force: true, reason: 'conformance' })
      await bench.until('exec in a worker that is gone is not-found', async () => {
        const error: unknown = await session.exec(gone, commandOf(bench, 'exit 0')).catch((reason: unknown) => reason)
        return (error as { code?: string }).code === 'not-found' ? true : undefined
      })
    },
  },
]
