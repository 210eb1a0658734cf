/** Launch: once and only once, whatever is repeated, crowded or killed. */
import assert from 'node:assert/strict'
import type { LaunchedWorker } from '../../provider.ts'
import type { LaunchSpec, Resources } from '../../spec.ts'
import type { Bench } from './bench.ts'
import { fails, force, inspected, launched, listed, logsOf, whenExited, whenRunning } from './help.ts'
import { sweepKills } from './kills.ts'
import type { Calls } from './session.ts'
import type { SuiteTest } from './test.ts'

/** A worker that shows how often it was started, where the provider has commands and logs; else one that only holds. */
function countable(bench: Bench): LaunchSpec {
  return bench.declares('work:command') ? bench.command('echo ran; exit 3') : bench.hold()
}

async function assertOne(bench: Bench, session: Calls, spec: LaunchSpec): Promise<void> {
  const found = await whenRunning(bench, session, { id: spec.id })
  const shown = await bench.until('it is listed', async () => {
    const seen = await listed(bench, session, [spec.id])
    return seen.length === 0 ? undefined : seen
  })
  assert.equal(shown.length, 1, 'workers with this id')
  if (spec.work.mode !== 'command') return assert.equal(found.phase, 'running')
  assert.equal((await whenExited(bench, session, { id: spec.id })).code, 3)
  if (!bench.declares('logs')) return
  const { stdout } = await logsOf(session, { id: spec.id })
  assert.equal(stdout.toString(), 'ran\n', 'what a command that ran once prints')
}

/** Handles of one worker, however often it was launched. */
function assertSame(answers: readonly LaunchedWorker[]): void {
  for (const { handle } of answers) assert.deepEqual(handle, answers[0]?.handle)
}

export const launchTests: readonly SuiteTest[] = [
  {
    name: 'launching twice makes one worker',
    async run(bench) {
      const session = await bench.session()
      const spec = countable(bench)
      const key = { idempotencyKey: `launch ${spec.id}` }
      const first = await session.with(key).launch(spec)
      await whenRunning(bench, session, { id: spec.id })
      assertSame([first, await session.with({ ...key, attempt: 2 }).launch(spec)])
      await assertOne(bench, session, spec)
    },
  },
  {
    name: 'many launches of one id at once make one worker',
    async run(bench) {
      const session = await bench.session()
      const spec = countable(bench)
      assertSame(await Promise.all(Array.from({ length: bench.setup.crowd ?? 20 }, () => session.launch(spec))))
      await assertOne(bench, session, spec)
    },
  },
  {
    name: 'launches of one id from two plugin processes make one worker',
    async run(bench) {
      const sessions = [await bench.open(), await bench.open()]
      const spec = countable(bench)
      assertSame(await Promise.all(sessions.map((session) => session.launch(spec))))
      await assertOne(bench, await bench.session(), spec)
    },
  },
  {
    name: 'the same id with another spec is a conflict and changes nothing',
    async run(bench) {
      const session = await bench.session()
      const spec = bench.lasting()
      await session.launch(spec)
      const other: LaunchSpec = { ...spec, tags: { ...spec.tags, 'muster-pool': 'other' } }
      await fails('the other spec', session.launch(other), { code: 'conflict', effect: 'none' })
      assert.deepEqual((await inspected(session, { id: spec.id }))?.tags, spec.tags)
    },
  },
  {
    name: 'a worker carries the tags it was launched with',
    async run(bench) {
      const session = await bench.session()
      const spec = bench.lasting({ tags: { 'muster-pool': 'a-pool-with-0123456789-and-some-more-1', 'muster-epoch': '42' } })
      const target = await launched(bench, session, spec)
      assert.deepEqual((await inspected(session, target))?.tags, spec.tags)
    },
  },
  {
    name: 'a worker whose plugin is killed right after acceptance runs on to its right exit',
    needs: ['work:command', 'exitCode'],
    async run(bench) {
      const session = await bench.open()
      const spec = bench.command('sleep 1; exit 7')
      await session.launch(spec)
      await session.kill()
      const { code } = await whenExited(bench, await bench.session(), { id: spec.id })
      assert.equal(code, 7)
    },
  },
  {
    name: 'after SIGKILL at any frame of launch, a repeat makes one worker',
    async run(bench) {
      await sweepKills(bench, {
        prepare: () => Promise.resolve(countable(bench)),
        act: (session, spec) => session.launch(spec),
        async judge(spec, when) {
          const session = await bench.session()
          try {
            await session.with({ attempt: 2 }).launch(spec)
            await assertOne(bench, session, spec)
          } catch (error) {
            throw new Error(when, { cause: error })
          }
        },
      })
    },
  },
  {
    name: 'after SIGKILL at any frame of launch, nothing is there that the list does not show, and terminate takes it away',
    async run(bench) {
      await sweepKills(bench, {
        prepare: () => Promise.resolve(countable(bench)),
        act: (session, spec) => session.launch(spec),
        async judge(spec, when) {
          const session = await bench.session()
          const target = { id: spec.id }
          // A vendor may still be at what the dead plugin began: what is seen late counts as seen.
          await bench.until(`${when}: what is there is listed`, async () => {
            const there = await bench.setup.leftovers([spec.id])
            const shown = await listed(bench, session, [spec.id])
            return there.length === 0 || shown.length === 1 ? true : undefined
          })
          await bench.until(`${when}: nothing is left after terminate`, async () => {
            await session.terminate(target, force)
            return (await bench.setup.leftovers([spec.id])).length === 0 ? true : undefined
          })
        },
      })
    },
  },
  {
    name: 'a handle is of the first declared version, and no call needs one',
    async run(bench) {
      const session = await bench.session()
      const spec = bench.lasting()
      const { handle } = await session.launch(spec)
      assert.equal(handle.v, bench.capabilities.handles[0])
      const seen = await whenRunning(bench, session, { id: spec.id })
      assert.deepEqual(seen.handle, handle, 'the observed handle')
    },
  },
  {
    name: 'handles of older versions are read',
    needs: ['handles:older', 'hook:oldHandles'],
    async run(bench) {
      const session = await bench.session()
      const target = await launched(bench, session, bench.lasting())
      const observation = await whenRunning(bench, session, target)
      const old = bench.setup.hooks?.oldHandles?.(observation) ?? []
      const declared = bench.capabilities.handles.slice(1).toSorted((a, b) => a - b)
      assert.deepEqual(
        [...new Set(old.map(({ v }) => v))].toSorted((a, b) => a - b),
        declared,
        'versions the setup has handles of',
      )
      for (const handle of old) assert.equal((await inspected(session, { id: target.id, handle }))?.id, target.id)
    },
  },
  {
    name: 'what is granted is no less than what was asked',
    async run(bench) {
      const asked: Resources = { cpu: 0.3, memoryBytes: 67_108_865, diskBytes: 1_000_001 }
      const declared = Object.entries(asked).filter(([name]) => bench.declares(`field:resources.${name}`))
      const session = await bench.session()
      const spec = bench.lasting({ resources: { ...bench.setup.spec?.resources, ...Object.fromEntries(declared) } })
      const { granted } = await session.launch(spec)
      for (const [name, value] of Object.entries(granted ?? {}))
        assert.ok(value >= (spec.resources?.[name as keyof Resources] ?? 0), `${name}: ${value} granted`)
    },
  },
]
