/** List, inspect and watch: what exists, all of it, and nobody else's. */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import type { WorkerObservation, WorkerPage } from '../../provider.ts'
import type { LaunchSpec, WorkerId } from '../../spec.ts'
import { newWorkerId } from '../ids.ts'
import type { Bench } from './bench.ts'
import { awaited, force, inspected, launched, listed, pages, queryOf, whenExited, whenGone } from './help.ts'
import type { Session } from './session.ts'
import type { SuiteTest } from './test.ts'

/** Workers of an owner of their own, so that nobody else's come and go between. */
async function apart(
  bench: Bench,
  owner: string,
  count: number,
): Promise<{ session: Session; specs: LaunchSpec[]; query: ReturnType<typeof queryOf> }> {
  const session = await bench.session({ owner })
  const specs = Array.from({ length: count }, () => bench.lasting({ tags: { 'muster-owner': owner } }))
  // Not more at once than a vendor takes kindly.
  const crowd = bench.setup.crowd ?? 20
  for (let at = 0; at < count; at += crowd) await Promise.all(specs.slice(at, at + crowd).map((spec) => session.launch(spec)))
  return { session, specs, query: queryOf(bench, { tags: { 'muster-owner': owner, 'muster-provider': bench.provider } }) }
}

const idsOf = (found: readonly WorkerPage[]): WorkerId[] => found.flatMap(({ workers }) => workers.map(({ id }) => id))

function assertEachOnce(seen: readonly WorkerId[], specs: readonly LaunchSpec[]): void {
  const own = seen.filter((id) => specs.some((spec) => spec.id === id))
  assert.deepEqual(own.toSorted(), specs.map(({ id }) => id).toSorted())
}

/** All pages, once the declared lag has passed and every launched worker is there. */
async function settled(
  bench: Bench,
  session: Session,
  at: { query: ReturnType<typeof queryOf>; specs: readonly LaunchSpec[] },
): Promise<WorkerPage[]> {
  return await bench.until('all launched workers are listed', async () => {
    const found = await pages(session, at.query)
    const seen = new Set(idsOf(found))
    return at.specs.every(({ id }) => seen.has(id)) ? found : undefined
  })
}

/** Is a worker of this other owner or provider hidden from ours, and ours from them? */
async function assertHidden(bench: Bench, names: { owner?: string; provider?: string }): Promise<void> {
  const ours = await bench.session()
  const theirs = await bench.session(names)
  const tags = { 'muster-owner': names.owner ?? bench.owner, 'muster-provider': names.provider ?? bench.provider }
  const spec = bench.lasting({ tags })
  await launched(bench, theirs, spec)
  const own = await launched(bench, ours, bench.lasting())
  const theirQuery = queryOf(bench, { tags })
  await bench.until('each sees its own', async () => {
    const mine = await listed(bench, ours, [own.id])
    return mine.length === 1 && idsOf(await pages(theirs, theirQuery)).includes(spec.id) ? true : undefined
  })
  assert.deepEqual(await listed(bench, ours, [spec.id]), [], 'theirs, in our list')
  assert.ok(!idsOf(await pages(theirs, theirQuery)).includes(own.id), 'ours, in their list')
}

/** What stays the same between two looks at one worker. */
function lasting({ id, handle, tags, phase, part, exit, problem }: WorkerObservation): object {
  return { id, handle, tags, phase, part, exit, problem }
}

export const listTests: readonly SuiteTest[] = [
  {
    name: 'pages of one walk over every worker once',
    async run(bench) {
      const { session, specs, query } = await apart(bench, `${bench.owner}one`, 4)
      await settled(bench, session, { query, specs })
      const found = await pages(session, { ...query, limit: 1 })
      assertEachOnce(idsOf(found), specs)
      for (const { workers } of found) assert.ok(workers.length <= 1, `${workers.length} workers in a page of 1`)
    },
  },
  {
    name: 'a long list comes in pages no longer than asked for',
    async run(bench) {
      const { session, specs, query } = await apart(bench, `${bench.owner}many`, bench.setup.many ?? 20)
      await settled(bench, session, { query, specs })
      for (const limit of [500, Math.min(499, Math.ceil(specs.length / 3))]) {
        const found = await pages(session, { ...query, limit })
        assertEachOnce(idsOf(found), specs)
        for (const { workers } of found) assert.ok(workers.length <= limit, `${workers.length} workers in a page of ${limit}`)
      }
    },
  },
  {
    name: 'a list goes on where it was, also when the last worker of a page goes meanwhile',
    async run(bench) {
      const { session, specs, query } = await apart(bench, `${bench.owner}gap`, 4)
      await settled(bench, session, { query, specs })
      const first = await session.list({ ...query, limit: 2 })
      const last = first.workers.at(-1)
      assert.ok(last !== undefined, 'a page of 2 has workers')
      await session.terminate({ id: last.id, handle: last.handle }, force)
      await whenGone(bench, session, { id: last.id })
      const rest = first.next === undefined ? [] : await pages(session, { ...query, limit: 2, cursor: first.next })
      assertEachOnce([...idsOf([first]), ...idsOf(rest)], specs)
    },
  },
  {
    name: "a foreign owner's workers are not listed",
    // One name begins with the other: a filter by prefix is none.
    run: (bench) => assertHidden(bench, { owner: `${bench.owner}x` }),
  },
  {
    name: "another provider's workers are not listed",
    run: (bench) => assertHidden(bench, { provider: `${bench.provider}x` }),
  },
  {
    name: 'a part that cannot be seen is named blind, and its workers are not called gone',
    needs: ['hook:outage'],
    alone: true,
    async run(bench) {
      const session = await bench.session()
      const target = await launched(bench, session, bench.lasting())
      const before = await inspected(session, target)
      assert.ok(before?.part !== undefined, 'the observation names its part')
      const restore = await bench.setup.hooks?.outage?.(before)
      try {
        const found = await pages(session, queryOf(bench))
        const blind = found.flatMap((page) => page.blind ?? [])
        assert.ok(blind.includes(before.part) || idsOf(found).includes(target.id), 'neither seen nor blind')
        const seen = await session.inspect([target]).catch(() => 'refused' as const)
        assert.ok(seen === 'refused' || seen.length === 1, 'inspect called a worker gone that it could not see')
      } finally {
        await restore?.()
      }
      await bench.until('it is seen again', async () =>
        (await listed(bench, session, [target.id])).length === 1 ? true : undefined,
      )
    },
  },
  {
    name: 'inspect agrees with list',
    async run(bench) {
      const session = await bench.session()
      const specs = [bench.lasting(), ...(bench.declares('work:command') ? [bench.command('exit 3')] : [])]
      for (const spec of specs) await launched(bench, session, spec)
      const ids = specs.map(({ id }) => id)
      const ended = specs[1]
      if (ended !== undefined) await whenExited(bench, session, { id: ended.id })
      await bench.until('they are listed', async () =>
        (await listed(bench, session, ids)).length === ids.length ? true : undefined,
      )
      const byList = (await listed(bench, session, ids)).map(lasting)
      const byInspect = (await session.inspect(ids.map((id) => ({ id })))).map(lasting)
      assert.deepEqual(new Set(byList), new Set(byInspect))
    },
  },
  {
    name: 'a worker that inspect leaves out is gone, and only such a one',
    async run(bench) {
      const session = await bench.session()
      const live = await launched(bench, session, bench.lasting())
      const ended = await launched(bench, session, bench.lasting())
      await session.terminate(ended, force)
      await whenGone(bench, session, ended)
      const seen = await session.inspect([{ id: newWorkerId() }, ended, live])
      assert.deepEqual(
        seen.map(({ id }) => id),
        [live.id],
      )
    },
  },
  {
    name: 'inspect answers for 100 workers at once',
    async run(bench) {
      const session = await bench.session()
      const live = await launched(bench, session, bench.lasting())
      const strangers = Array.from({ length: 99 }, () => ({ id: newWorkerId() }))
      const seen = await session.inspect([...strangers, { id: live.id }])
      assert.deepEqual(
        seen.map(({ id }) => id),
        [live.id],
      )
    },
  },
  {
    name: 'a new worker is listed within the declared lag',
    async run(bench) {
      const session = await bench.session()
      const spec = bench.lasting()
      await session.launch(spec)
      const { launchMs } = bench.capabilities.visibility
      assert.ok(
        await within(launchMs, async () => (await listed(bench, session, [spec.id])).length === 1),
        `not listed ${launchMs} ms after its launch`,
      )
    },
  },
  {
    name: 'a gone worker leaves the list within the declared lag',
    async run(bench) {
      const session = await bench.session()
      const target = await launched(bench, session, bench.lasting())
      await bench.until('terminate says gone', async () =>
        (await session.terminate(target, force)).state === 'gone' ? true : undefined,
      )
      const { goneMs } = bench.capabilities.visibility
      assert.ok(
        await within(goneMs, async () => (await listed(bench, session, [target.id])).length === 0),
        `still listed ${goneMs} ms after it was gone`,
      )
    },
  },
  {
    name: 'a page says when it was true',
    async run(bench) {
      const session = await bench.session()
      // The vendor's clock may differ by so much from ours.
      const skewMs = 5000
      const { launchMs, goneMs } = bench.capabilities.visibility
      const earliest = Date.now() - Math.max(launchMs, goneMs) - skewMs
      const asOf = Date.parse((await session.list(queryOf(bench))).asOf)
      assert.ok(asOf >= earliest && asOf <= Date.now() + skewMs, `asOf ${new Date(asOf).toISOString()}`)
    },
  },
  {
    name: 'watch tells of a launch and of an exit',
    needs: ['watch', 'work:command'],
    async run(bench) {
      const session = await bench.session()
      const own = new Set<WorkerId>()
      await watching(bench, session, {
        act() {
          const spec = bench.command('exit 5')
          own.add(spec.id)
          return session.launch(spec)
        },
        see: ({ id, phase, exit }) => own.has(id) && phase === 'exited' && exit?.code === 5,
      })
    },
  },
  {
    name: "watch tells of nobody else's workers",
    needs: ['watch'],
    async run(bench) {
      const names = { owner: `${bench.owner}y` }
      const [ours, theirs] = [await bench.session(), await bench.session(names)]
      const foreign = new Set<WorkerId>()
      const own = new Set<WorkerId>()
      await watching(bench, ours, {
        async act() {
          const [theirSpec, ourSpec] = [bench.lasting({ tags: { 'muster-owner': names.owner } }), bench.lasting()]
          foreign.add(theirSpec.id)
          own.add(ourSpec.id)
          await theirs.launch(theirSpec)
          await ours.launch(ourSpec)
        },
        see({ id }) {
          assert.ok(!foreign.has(id), 'a foreign worker')
          return own.has(id)
        },
      })
    },
  },
]

/** Asks until it is so, at the last after the whole lag. */
async function within(lagMs: number, isSo: () => Promise<boolean>): Promise<boolean> {
  const end = Date.now() + lagMs
  for (;;) {
    const began = Date.now()
    if (await isSo()) return true
    if (began >= end) return false
    await delay(Math.min(50, end - began))
  }
}

/** Nobody waits longer for a hint before it is given another occasion: hints can be lost, and a watch begins in its own time. */
const occasionMs = 500

/** Watches, while something happens again and again, until enough is seen. */
async function watching(
  bench: Bench,
  session: Session,
  on: { act(): Promise<unknown>; see(observation: WorkerObservation): boolean },
): Promise<void> {
  const end = Date.now() + bench.patienceMs
  const hints = session.with({ deadlineMs: 2 * bench.patienceMs }).watch(queryOf(bench))
  const observations = hints[Symbol.asyncIterator]()
  try {
    for (let next = awaited(observations.next()); ;) {
      await on.act()
      for (;;) {
        const result = await Promise.race([next, delay(occasionMs, undefined)])
        if (result === undefined) break
        assert.ok(result.done !== true, 'the watch ended before its deadline')
        if (on.see(result.value)) return
        next = awaited(observations.next())
      }
      assert.ok(Date.now() < end, `no hint within ${bench.patienceMs} ms`)
    }
  } finally {
    await observations.return?.()
  }
}
