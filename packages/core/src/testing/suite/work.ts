/** What workers do: exits told as they are, holding, readiness, lifetime, problems, fencing. */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import type { LaunchSpec } from '../../spec.ts'
import type { Bench } from './bench.ts'
import { commandOf, endedBy, fails, force, inspected, launched, listed, run, whenExited } from './help.ts'
import type { SuiteTest } from './test.ts'

const modes: Record<'command' | 'hold' | 'agent', LaunchSpec['work']> = {
  command: { mode: 'command', command: ['true'] },
  hold: { mode: 'hold' },
  agent: { mode: 'agent', ticket: { $secret: 'a-ticket' }, url: 'http://127.0.0.1:9' },
}

function undeclaredModes(bench: Bench): LaunchSpec['work'][] {
  return Object.entries(modes).flatMap(([mode, work]) => (bench.declares(`work:${mode}`) ? [] : [work]))
}

export const workTests: readonly SuiteTest[] = [
  {
    name: 'a work mode that is not declared is refused by its path',
    async run(bench) {
      const session = await bench.session()
      for (const work of undeclaredModes(bench)) {
        const spec = bench.spec(work)
        await fails(`mode ${work.mode}`, session.launch(spec), { code: 'unsupported', effect: 'none', path: 'work.mode' })
        assert.equal(await inspected(session, { id: spec.id }), undefined, 'a worker after the refusal')
      }
    },
  },
  {
    name: 'exit codes 0, 1, 137 and 143 of a command are told as they are',
    needs: ['work:command', 'exitCode'],
    async run(bench) {
      const session = await bench.session()
      const codes = [0, 1, 137, 143]
      const specs = codes.map((code) => bench.command(`exit ${code}`))
      await Promise.all(specs.map((spec) => session.launch(spec)))
      const exits = await Promise.all(specs.map(({ id }) => whenExited(bench, session, { id })))
      assert.deepEqual(
        exits.map(({ code, oomKilled }) => ({ code, oomKilled: oomKilled === true })),
        codes.map((code) => ({ code, oomKilled: false })),
      )
    },
  },
  {
    name: 'a signal that ends a command is told',
    needs: ['work:command', 'exitCode', 'unless:signal'],
    async run(bench) {
      const session = await bench.session()
      const target = await launched(bench, session, bench.command('kill -KILL $$'))
      const exit = await whenExited(bench, session, target)
      assert.ok(endedBy(exit, 'SIGKILL'), JSON.stringify(exit))
    },
  },
  {
    name: 'a command that runs out of memory is told from one that is killed',
    needs: ['work:command', 'script:oom'],
    async run(bench) {
      const session = await bench.session()
      const { script = '', spec } = bench.setup.scripts?.oom ?? {}
      const [starved, killed] = [bench.command(script, spec), bench.command('exit 137', spec)]
      await Promise.all([session.launch(starved), session.launch(killed)])
      const exits = await Promise.all([starved, killed].map(({ id }) => whenExited(bench, session, { id })))
      assert.deepEqual(
        exits.map(({ oomKilled }) => oomKilled === true),
        [true, false],
      )
    },
  },
  {
    name: 'an exited worker stays, with its exit, until it is terminated',
    needs: ['work:command', 'exitCode'],
    async run(bench) {
      const session = await bench.session()
      const target = await launched(bench, session, bench.command('exit 9'))
      await whenExited(bench, session, target)
      await bench.until('it is listed', async () => ((await listed(bench, session, [target.id])).length === 1 ? true : undefined))
      // As long as it is declared, and no longer than it is worth.
      const stayMs = Math.min(bench.capabilities.exitRetentionMs ?? 200, 2000)
      for (let look = 0; look < 4; look++) {
        const [[shown], seen] = [await listed(bench, session, [target.id]), await inspected(session, target)]
        assert.deepEqual([shown?.phase, seen?.phase, seen?.exit?.code], ['exited', 'exited', 9])
        await delay(stayMs / 4)
      }
      await session.terminate(target, force)
    },
  },
  {
    name: 'a held worker becomes ready and runs until it is terminated',
    needs: ['work:hold'],
    async run(bench) {
      const session = await bench.session()
      const target = await launched(bench, session, bench.hold())
      const ready = await bench.until('it is ready', async () => {
        const found = await inspected(session, target)
        return found?.ready === true ? found : undefined
      })
      assert.deepEqual({ phase: ready.phase, exit: ready.exit }, { phase: 'running', exit: undefined })
      await delay(100)
      const later = await inspected(session, target)
      assert.deepEqual({ phase: later?.phase, exit: later?.exit }, { phase: 'running', exit: undefined })
    },
  },
  {
    name: 'ready follows the readiness check',
    needs: ['work:hold', 'field:readiness', 'exec'],
    async run(bench) {
      const session = await bench.session()
      const check = { kind: 'exec' as const, command: bench.shell('test -f is-ready') }
      const target = await launched(
        bench,
        session,
        bench.hold({ readiness: { check, intervalMs: 50, timeoutMs: 2000, failures: 1 } }),
      )
      assert.equal((await inspected(session, target))?.ready, false, 'before the check can pass')
      await run(session, target, commandOf(bench, ': >is-ready'))
      await bench.until('it is ready', async () => ((await inspected(session, target))?.ready === true ? true : undefined))
    },
  },
  {
    name: 'a worker ends at its lifetime',
    needs: ['field:lifetimeMs', 'lifetime:provider'],
    async run(bench) {
      const session = await bench.session()
      const spec = bench.lasting({ lifetimeMs: 1000 })
      await session.launch(spec)
      await bench.until('its lifetime is over', async () => {
        const found = await inspected(session, { id: spec.id })
        return found === undefined || ['stopping', 'exited', 'lost'].includes(found.phase) ? true : undefined
      })
    },
  },
  {
    name: 'a problem that comes after acceptance is shown',
    needs: ['hook:lateProblem'],
    alone: true,
    async run(bench) {
      const session = await bench.session()
      const late = await bench.setup.hooks?.lateProblem?.(bench)
      assert.ok(late !== undefined)
      await session.launch(late.spec)
      const problem = await bench.until(
        'the problem shows',
        async () => (await inspected(session, { id: late.spec.id }))?.problem,
      )
      assert.deepEqual({ code: problem.code, final: problem.final }, { code: late.code, final: true })
    },
  },
  {
    name: 'a call of a term that is over changes nothing',
    needs: ['fencing:vendor'],
    async run(bench) {
      const names = { owner: `${bench.owner}f` }
      const session = await bench.session(names)
      const [kept, refused] = [
        bench.lasting({ tags: { 'muster-owner': names.owner } }),
        bench.lasting({ tags: { 'muster-owner': names.owner } }),
      ]
      const { handle } = await session.with({ epoch: 8 }).launch(kept)
      const target = { id: kept.id, handle }
      const stale = session.with({ epoch: 7 })
      await fails('launch', stale.launch(refused), { code: 'conflict', effect: 'none' })
      await fails('terminate', stale.terminate(target, force), { code: 'conflict', effect: 'none' })
      assert.deepEqual(
        (await session.inspect([{ id: kept.id }, { id: refused.id }])).map(({ id }) => id),
        [kept.id],
      )
      await session.with({ epoch: 8 }).terminate(target, force)
    },
  },
]
