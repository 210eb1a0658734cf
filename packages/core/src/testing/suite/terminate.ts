/** Terminate: whatever is there or not, afterwards it is gone. */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import type { WorkerId } from '../../spec.ts'
import { newWorkerId } from '../ids.ts'
import type { Bench } from './bench.ts'
import { force, grace, launched, listed, whenExited, whenGone } from './help.ts'
import { sweepKills } from './kills.ts'
import type { SuiteTest } from './test.ts'

/** Gone by every means: not inspected, not listed (within the declared lag), nothing left at the vendor. */
async function assertGone(bench: Bench, id: WorkerId): Promise<void> {
  const session = await bench.session()
  await whenGone(bench, session, { id })
  await bench.until(`${id} has left the list`, async () => ((await listed(bench, session, [id])).length === 0 ? true : undefined))
}

/** Some vendors take their time: nobody waits longer than patience for the last trace. */
async function assertNothingLeft(bench: Bench, id: WorkerId): Promise<void> {
  await assertGone(bench, id)
  await bench.until(`nothing of ${id} is left`, async () => ((await bench.setup.leftovers([id])).length === 0 ? true : undefined))
}

/** In this time a command has begun. */
const unheardMs = 500

export const terminateTests: readonly SuiteTest[] = [
  {
    name: 'terminating a worker that never was says gone',
    async run(bench) {
      const session = await bench.session()
      assert.deepEqual(await session.terminate({ id: newWorkerId() }, grace), { state: 'gone' })
    },
  },
  {
    name: 'terminating twice, one after the other and at once, is no error',
    async run(bench) {
      const session = await bench.session()
      const target = await launched(bench, session, bench.lasting())
      await Promise.all([session.terminate(target, force), session.terminate(target, force)])
      await assertGone(bench, target.id)
      assert.deepEqual(await session.terminate(target, force), { state: 'gone' })
    },
  },
  {
    name: 'terminating while launching leaves nothing',
    async run(bench) {
      const session = await bench.session()
      const spec = bench.declares('work:command') ? bench.command('sleep 1000') : bench.hold()
      const launching = session.launch(spec).catch(() => undefined)
      await session.terminate({ id: spec.id }, force)
      await launching
      // Whichever came first: a repeat ends it.
      await session.terminate({ id: spec.id }, force)
      await assertNothingLeft(bench, spec.id)
    },
  },
  {
    name: 'terminating after the exit takes the worker away',
    needs: ['work:command'],
    async run(bench) {
      const session = await bench.session()
      const target = await launched(bench, session, bench.command('exit 0'))
      await whenExited(bench, session, target)
      await session.terminate(target, grace)
      await assertGone(bench, target.id)
    },
  },
  {
    name: 'terminating without a handle takes the worker away',
    async run(bench) {
      const session = await bench.session()
      const { id } = await launched(bench, session, bench.lasting())
      await session.terminate({ id }, force)
      await assertGone(bench, id)
    },
  },
  {
    name: 'after SIGKILL at any frame of terminate, a repeat leaves nothing',
    async run(bench) {
      await sweepKills(bench, {
        async prepare(session) {
          const spec = bench.declares('work:command') ? bench.command('sleep 1000') : bench.hold()
          await session.launch(spec)
          return { id: spec.id }
        },
        act: (session, target) => session.terminate(target, force),
        async judge(target, when) {
          try {
            await (await bench.session()).with({ attempt: 2 }).terminate(target, force)
            await assertNothingLeft(bench, target.id)
          } catch (error) {
            throw new Error(when, { cause: error })
          }
        },
      })
    },
  },
  {
    name: 'a grace period is a SIGTERM and time; force cuts it short',
    needs: ['work:command', 'logs.live'],
    async run(bench) {
      const session = await bench.session()
      const script = `trap 'echo terminating' TERM; echo ready; while :; do sleep 0.1; echo tick; done`
      const target = await launched(bench, session, bench.command(script))
      let said = ''
      let ending: Promise<unknown> | undefined
      for await (const { data } of session.logs(target, { follow: true })) {
        said += Buffer.from(data).toString()
        if (said.includes('ready')) ending ??= session.terminate(target, { ...grace, graceMs: 600_000 })
        if (said.includes('terminating')) break
      }
      assert.match(said, /terminating/, 'what the command heard')
      await session.terminate(target, force)
      await ending
      await assertGone(bench, target.id)
    },
  },
  {
    name: 'terminate also ends what a command left running',
    needs: ['work:command'],
    async run(bench) {
      const session = await bench.session()
      // Twice forked, deaf to hints, and where that can be had in a session of their own.
      const daemon = `sh -c "trap '' TERM HUP; exec sleep 1000" </dev/null >/dev/null 2>&1 &`
      const script = `(${daemon}) ; if command -v setsid >/dev/null; then (setsid ${daemon}) ; fi; while :; do echo begun; sleep 1; done`
      const target = await launched(bench, session, bench.command(script))
      const logs = session.logs(target, { follow: true })[Symbol.asyncIterator]()
      if (bench.declares('logs.live')) await logs.next()
      // Nothing can be heard of it: a wait too short would make the test weaker, never wrong.
      else await delay(unheardMs)
      await logs.return?.()
      await session.terminate(target, { ...grace, graceMs: 100 })
      await assertNothingLeft(bench, target.id)
    },
  },
]
