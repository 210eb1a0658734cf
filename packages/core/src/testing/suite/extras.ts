/** Ports, suspension, figures, pools. */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import type { ProviderPhase } from '../../phase.ts'
import { type PoolRef, suspendKeeps, type WorkerStats, type WorkerTarget } from '../../provider.ts'
import { newWorkerId } from '../ids.ts'
import { awaited, commandOf, fails, force, inspected, launched, run, statsQueryOf, whenGone } from './help.ts'
import type { Session } from './session.ts'
import type { SuiteTest } from './test.ts'
import type { Bench } from './bench.ts'

/** How long a worker is suspended. */
const STOOD_MS = 4_000

/** Bytes now, and the end only when it is released: so that the other side has answered before. */
function heldOpen(first: Uint8Array): { input: AsyncIterable<Uint8Array>; release(): void } {
  const released = Promise.withResolvers<void>()
  async function* input(): AsyncGenerator<Uint8Array> {
    yield first
    await released.promise
  }
  return { input: input(), release: () => released.resolve() }
}

function poolOf(bench: Bench, pool: string): PoolRef {
  return { pool, tags: { 'muster-owner': bench.owner, 'muster-provider': bench.provider, 'muster-pool': pool } }
}

interface Samples {
  /** The last sample, once it is so. */
  until(isSo: (seen: { last: WorkerStats; times: Samples['times'] }) => boolean): Promise<WorkerStats>
  /** Samples of this worker so far, of different times. */
  times(worker: WorkerTarget): number
  stop(): Promise<void>
}

function sampling(bench: Bench, session: Session): Samples {
  // Some vendors sample once in five seconds.
  const items = session.with({ deadlineMs: 4 * bench.patienceMs }).stats(statsQueryOf(bench))
  const stream = items[Symbol.asyncIterator]()
  const seen = new Map<string, Set<string>>()
  const times: Samples['times'] = ({ id }) => seen.get(id)?.size ?? 0
  return {
    times,
    async until(isSo) {
      for (;;) {
        const { done, value: last } = await stream.next()
        assert.ok(done !== true, 'the stream ended before its deadline')
        seen.set(last.id, (seen.get(last.id) ?? new Set()).add(last.at))
        if (isSo({ last, times })) return last
      }
    },
    async stop() {
      await stream.return?.()
    },
  }
}

async function becomes(bench: Bench, session: Session, how: { target: WorkerTarget; phase: ProviderPhase }): Promise<void> {
  await bench.until(`it is ${how.phase}`, async () =>
    (await inspected(session, how.target))?.phase === how.phase ? true : undefined,
  )
}

export const extraTests: readonly SuiteTest[] = [
  {
    name: 'forward carries bytes both ways, to the end of either side',
    needs: ['work:hold', 'exec', 'forward', 'script:echoServer'],
    async run(bench) {
      const session = await bench.session()
      const { script = '', port = 0, spec } = bench.setup.scripts?.echoServer ?? {}
      const target = await launched(bench, session, bench.hold(spec))
      const { output } = await session.exec(target, commandOf(bench, script))
      let said = ''
      for await (const { data } of output) if ((said += Buffer.from(data).toString()).includes('listening')) break
      const sent = Buffer.from(Array.from({ length: 200_000 }, (_one, index) => index % 251))
      const { input, release } = heldOpen(sent)
      const parts: Uint8Array[] = []
      for await (const part of session.forward(target, { port, input })) {
        parts.push(part)
        if (Buffer.concat(parts).length === sent.length) release()
      }
      assert.ok(Buffer.concat(parts).equals(sent), `${Buffer.concat(parts).length} bytes back of ${sent.length}, or other ones`)
    },
  },
  {
    name: 'a suspended worker stands still, and goes on where it was',
    needs: ['work:hold', 'exec', 'suspend'],
    async run(bench) {
      const session = await bench.session()
      const declared = bench.capabilities.suspend?.keeps ?? []
      const target = await launched(bench, session, bench.hold())
      for (const keeps of declared) {
        await run(session, target, commandOf(bench, 'echo kept >kept'))
        await session.suspend(target, { keeps })
        await session.suspend(target, { keeps })
        await becomes(bench, session, { target, phase: 'suspended' })
        const [other] = declared.filter((one) => one !== keeps)
        const twice = { code: 'conflict', effect: 'none' } as const
        if (other !== undefined) await fails(`first ${keeps}, then ${other}`, session.suspend(target, { keeps: other }), twice)
        await session.resume(target)
        await session.resume(target)
        await becomes(bench, session, { target, phase: 'running' })
        const { stdout } = await run(session, target, commandOf(bench, 'cat kept 2>/dev/null || echo lost'))
        assert.equal(stdout.toString().trim(), keeps === 'nothing' ? 'lost' : 'kept', keeps)
      }
      const refused = { code: 'unsupported', effect: 'none', path: 'keeps' } as const
      for (const keeps of suspendKeeps.filter((one) => !declared.includes(one)))
        await fails(`suspended to ${keeps}`, session.suspend(target, { keeps }), refused)
    },
  },
  {
    name: 'who holds a worker is taken as often as it is said, and is no more than a hint',
    needs: ['work:hold', 'mark'],
    async run(bench) {
      const session = await bench.session()
      const target = await launched(bench, session, bench.hold())
      for (const leased of [true, false, false, true]) await session.mark(target, { leased })
      await session.mark({ id: target.id }, { leased: false })
      await becomes(bench, session, { target, phase: 'running' })
      await session.mark({ id: newWorkerId() }, { leased: false })
      await session.terminate(target, force)
      await session.mark(target, { leased: true })
    },
  },
  {
    name: 'what ran in a worker that is suspended to disk has ended, and does not begin again',
    needs: ['work:hold', 'exec', 'suspend.keeps:disk'],
    async run(bench) {
      const session = await bench.session()
      const target = await launched(bench, session, bench.hold())
      const command = commandOf(bench, 'echo >>began; echo begun; while :; do echo >>went; sleep 0.05; done')
      const { output, exit } = await session.exec(target, command)
      exit.catch(() => undefined)
      for await (const _chunk of output) break
      await session.suspend(target, { keeps: 'disk' })
      await becomes(bench, session, { target, phase: 'suspended' })
      await session.resume(target)
      await becomes(bench, session, { target, phase: 'running' })
      // Whoever watches over it may hear of its end a moment later.
      await bench.until('its end is known', async () =>
        (await session.execState(target, command.id)).state === 'running' ? undefined : true,
      )
      const look = 'wc -l <began; before=$(wc -l <went); sleep 1; test $before = $(wc -l <went) && echo ended'
      const { stdout } = await run(session, target, commandOf(bench, look))
      assert.deepEqual(stdout.toString().trim().split(/\s+/), ['1', 'ended'])
    },
  },
  {
    name: 'a worker that is its command is not suspended to disk',
    needs: ['work:command', 'suspend.keeps:disk'],
    async run(bench) {
      const session = await bench.session()
      const target = await launched(bench, session, bench.command('sleep 1000'))
      const refused = session.suspend(target, { keeps: 'disk' })
      await fails('a command that would begin again', refused, { code: 'conflict', effect: 'none' })
      assert.equal((await inspected(session, target))?.phase, 'running')
    },
  },
  {
    name: 'a command of a suspended worker stands still, and goes on where it was',
    needs: ['work:hold', 'exec', 'suspend.keeps:memory'],
    async run(bench) {
      const session = await bench.session()
      const target = await launched(bench, session, bench.hold())
      // Each line has the command's own clock: that of a process that runs on has no gap, however slow the machine is.
      const tick = 'i=$((i+1)); echo $i $(date +%s)'
      const { output, exit } = await session.exec(
        target,
        commandOf(bench, `i=0; while ! test -e go; do ${tick}; sleep 0.05; done; ${tick}`),
      )
      exit.catch(() => undefined)
      let text = ''
      const read = awaited(
        (async () => {
          for await (const { data } of output) text += Buffer.from(data).toString()
        })(),
      )
      await bench.until('it counts', async () => (text.includes('\n') ? true : undefined))
      await session.suspend(target, { keeps: 'memory' })
      await delay(STOOD_MS)
      await session.resume(target)
      await run(session, target, commandOf(bench, ': >go'))
      await read
      const lines = text
        .trim()
        .split('\n')
        .map((line) => line.split(' ').map(Number))
      assert.deepEqual(
        lines.map(([number]) => number),
        lines.map((_line, index) => index + 1),
      )
      const gaps = lines.slice(1).map(([, at = NaN], index) => at - (lines[index]?.[1] ?? NaN))
      // One second for a clock that is set meanwhile.
      assert.ok(Math.max(...gaps) >= STOOD_MS / 1000 - 1, `it goes on while it is suspended: ${text.slice(-1000)}`)
    },
  },
  {
    name: 'stats tell what a worker uses',
    needs: ['work:hold', 'exec', 'stats'],
    async run(bench) {
      const session = await bench.session()
      const target = await launched(bench, session, bench.hold())
      const burn = awaited(
        run(
          session,
          target,
          commandOf(bench, 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; while ! test -e go; do sleep 0.05; done'),
        ),
      )
      const samples = sampling(bench, session)
      const stats = await samples.until(({ last }) => last.id === target.id && last.cpuSeconds > 0.01)
      await samples.stop()
      await run(session, target, commandOf(bench, ': >go'))
      await burn
      // Seconds and bytes: not milliseconds, not kilobytes.
      assert.ok(stats.cpuSeconds < 60, `${stats.cpuSeconds} s of processor time`)
      assert.ok(stats.memoryBytes > 100_000, `${stats.memoryBytes} bytes of memory`)
      assert.ok(Math.abs(Date.parse(stats.at) - Date.now()) < 60_000, `at ${stats.at}`)
      assert.ok((stats.memoryPeakBytes ?? Infinity) >= stats.memoryBytes, `a peak of ${stats.memoryPeakBytes} bytes`)
    },
  },
  {
    name: 'stats come again and again, of our own running workers alone',
    needs: ['work:hold', 'stats'],
    async run(bench) {
      const names = { owner: `${bench.owner}v` }
      const [ours, theirs] = [await bench.session(), await bench.session(names)]
      const foreign = await launched(bench, theirs, bench.hold({ tags: { 'muster-owner': names.owner } }))
      const [staying, leaving] = [await launched(bench, ours, bench.hold()), await launched(bench, ours, bench.hold())]
      const samples = sampling(bench, ours)
      try {
        await samples.until(({ times }) => times(staying) >= 2 && times(leaving) >= 2)
        await ours.terminate(leaving, force)
        await whenGone(bench, ours, leaving)
        // What was under way may still come.
        const gone = samples.times(staying)
        await samples.until(({ times }) => times(staying) >= gone + 2)
        const last = samples.times(leaving)
        await samples.until(({ times }) => times(staying) >= gone + 4)
        assert.equal(samples.times(leaving), last, 'samples of a worker that is gone')
        assert.equal(samples.times(foreign), 0, 'a sample of a foreign worker')
      } finally {
        await samples.stop()
      }
    },
  },
  {
    name: 'headroom never has more free than there is',
    needs: ['headroom'],
    async run(bench) {
      const { slots, cpu, memoryBytes, quotas = [] } = await (await bench.session()).headroom()
      for (const one of [slots, cpu, memoryBytes])
        if (one !== undefined) assert.ok(one.free >= 0 && one.free <= one.total, JSON.stringify(one))
      for (const { name, used, limit } of quotas) assert.ok(used >= 0 && limit >= 0, name)
    },
  },
  {
    name: 'a pool is prepared once, however often it is asked for',
    needs: ['preparePool'],
    async run(bench) {
      const session = await bench.session()
      const pool = poolOf(bench, 'prepared')
      const request = { ...pool, ...(bench.setup.spec?.image !== undefined && { image: bench.setup.spec.image }) }
      const [first, second] = [await session.preparePool(request), await session.preparePool(request)]
      assert.deepEqual(second, first)
      await session.unpreparePool({ pool, handle: first.handle })
      await session.unpreparePool({ pool, handle: first.handle })
    },
  },
  {
    name: 'a pool is not taken away under its live workers',
    needs: ['preparePool', 'work:hold'],
    async run(bench) {
      const session = await bench.session()
      const pool = poolOf(bench, 'in-use')
      const { handle } = await session.preparePool({
        ...pool,
        ...(bench.setup.spec?.image !== undefined && { image: bench.setup.spec.image }),
      })
      const target = await launched(bench, session, bench.hold({ tags: { 'muster-pool': 'in-use' } }))
      await fails('with a live worker', session.unpreparePool({ pool, handle }), { code: 'conflict', effect: 'none' })
      await session.terminate(target, force)
      await bench.until('it goes with its last worker', async () => {
        const error: unknown = await session.unpreparePool({ pool, handle }).catch((reason: unknown) => reason)
        return error === undefined ? true : undefined
      })
    },
  },
]
