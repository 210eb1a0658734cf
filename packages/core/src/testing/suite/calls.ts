/** How calls end: aborted, late, refused, fenced off from a silent vendor. */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { isProviderError, type ProviderErrorCode } from '../../errors.ts'
import { overstayed } from '../../wire/serve-call.ts'
import type { Bench } from './bench.ts'
import { all, bytes, commandOf, force, inspected, launched, queryOf, statsQueryOf } from './help.ts'
import type { Calls, Session } from './session.ts'
import type { SuiteTest } from './test.ts'

/** The contract gives a call one second; on a busy machine nothing is timed closer than this. */
const generousMs = 5000

/** Calls that do not end by themselves. */
async function endless(bench: Bench, session: Session): Promise<Record<string, (calls: Calls) => Promise<unknown>>> {
  const found: Record<string, (calls: Calls) => Promise<unknown>> = {}
  if (bench.declares('logs.live') && bench.declares('work:command')) {
    const silent = await launched(bench, session, bench.command('sleep 1000'))
    found['logs'] = (calls) => all(calls.logs(silent, { follow: true }))
  }
  if (bench.declares('watch')) {
    // Of an owner of whom nothing is ever heard.
    const query = queryOf(bench, { tags: { 'muster-owner': `${bench.owner}z`, 'muster-provider': bench.provider } })
    found['watch'] = (calls) => all(calls.watch(query))
  }
  if (bench.declares('stats')) {
    const tags = { 'muster-owner': `${bench.owner}z`, 'muster-provider': bench.provider }
    found['stats'] = (calls) => all(calls.stats({ ...statsQueryOf(bench), tags }))
  }
  if (bench.declares('exec') && bench.declares('work:hold')) {
    const target = await launched(bench, session, bench.hold())
    found['exec'] = async (calls) => {
      const { output, exit } = await calls.exec(target, commandOf(bench, 'sleep 1000'))
      exit.catch(() => undefined)
      await all(output)
      return await exit
    }
  }
  return found
}

/** Calls that a vendor has to answer. */
function answered(bench: Bench): Record<string, (calls: Calls) => Promise<unknown>> {
  const target = { id: bench.lasting().id }
  return {
    probe: (calls) => calls.probe(),
    launch: (calls) => calls.launch(bench.lasting()),
    terminate: (calls) => calls.terminate(target, force),
    list: (calls) => calls.list(queryOf(bench)),
    inspect: (calls) => calls.inspect([target]),
    ...(bench.declares('copy.in') && {
      copyIn: (calls: Calls) => calls.copyIn(target, { path: bench.inside('x'), tar: bytes() }),
    }),
    ...(bench.declares('headroom') && { headroom: (calls: Calls) => calls.headroom() }),
  }
}

interface End {
  code: ProviderErrorCode
  /** Makes the call end: gives the calls to use. */
  calls(session: Session): { calls: Calls; end(): void }
}

const aborted: End = {
  code: 'cancelled',
  calls(session) {
    const leaving = new AbortController()
    return { calls: session.with({ signal: leaving.signal }), end: () => leaving.abort() }
  },
}

const late: End = {
  code: 'deadline',
  calls: (session) => ({ calls: session.with({ deadlineMs: 300 }), end: () => undefined }),
}

/** Each call ends with the code, soon, and because the plugin's author saw the signal: not because the wire gave up on it. */
async function assertSettles(
  session: Session,
  end: End,
  kinds: Record<string, (calls: Calls) => Promise<unknown>>,
): Promise<void> {
  const ends = await Promise.all(
    Object.entries(kinds).map(async ([name, call]) => {
      const way = end.calls(session)
      const outcome = call(way.calls).then(
        () => 'no failure',
        (error: unknown) => (isProviderError(error) ? error.code : String(error)),
      )
      // Under way at the plugin, whatever it does there.
      await delay(100)
      way.end()
      return [name, await Promise.race([outcome, delay(generousMs, `nothing within ${generousMs} ms`)])]
    }),
  )
  assert.deepEqual(Object.fromEntries(ends), Object.fromEntries(Object.keys(kinds).map((name) => [name, end.code])))
  const overstays = session.link
    .words()
    .split('\n')
    .filter((line) => line.includes(overstayed))
  assert.deepEqual(overstays, [], 'the signal was not heeded')
}

export const callTests: readonly SuiteTest[] = [
  {
    name: 'an aborted stream or command settles at once',
    // A busy suite could keep the plugin from hearing in time.
    alone: true,
    async run(bench) {
      const session = await bench.open()
      await assertSettles(session, aborted, await endless(bench, session))
    },
  },
  {
    name: 'a stream or command past its deadline settles at once',
    alone: true,
    async run(bench) {
      const session = await bench.open()
      await assertSettles(session, late, await endless(bench, session))
    },
  },
  {
    name: 'a call settles at its abort and at its deadline while the vendor is silent',
    needs: ['hook:stall'],
    alone: true,
    async run(bench) {
      const session = await bench.open()
      const release = await bench.setup.hooks?.stall?.()
      try {
        await assertSettles(session, aborted, answered(bench))
        await assertSettles(session, late, answered(bench))
      } finally {
        await release?.()
      }
    },
  },
  {
    name: 'an aborted launch that claims no effect has none',
    async run(bench) {
      const session = await bench.session()
      for (const afterMs of [0, 0, 1, 2, 5, 10, 20]) {
        const spec = bench.lasting()
        const leaving = new AbortController()
        const launching = session.with({ signal: leaving.signal }).launch(spec)
        await Promise.race([launching.catch(() => undefined), delay(afterMs)])
        leaving.abort()
        const claim = await launching.then(
          () => 'launched' as const,
          (error: unknown) => (isProviderError(error) ? error.effect : 'possible'),
        )
        const seen = await inspected(session, { id: spec.id })
        if (claim === 'none') assert.equal(seen, undefined, `aborted after ${afterMs} ms: effect none, and a worker`)
        if (claim === 'launched') assert.notEqual(seen, undefined, 'launched, and no worker')
      }
    },
  },
  {
    name: 'every row of the error table is told as it should be',
    needs: ['hook:errorCases'],
    alone: true,
    async run(bench) {
      const faults: string[] = []
      for (const { name, code, effect, path, provoke } of bench.setup.hooks?.errorCases ?? []) {
        const error: unknown = await provoke(bench).then(
          () => undefined,
          (reason: unknown) => reason,
        )
        const seen = isProviderError(error)
          ? { code: error.code, effect: error.effect, path: error.path }
          : { code: String(error) }
        const wanted = { code, effect, path }
        if (JSON.stringify(seen) !== JSON.stringify(wanted))
          faults.push(`${name}: ${JSON.stringify(seen)}, not ${JSON.stringify(wanted)}`)
      }
      assert.deepEqual(faults, [], faults.join('\n'))
    },
  },
]
