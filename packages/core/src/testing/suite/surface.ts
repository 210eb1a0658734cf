/** The plugin's own words: manifest, methods, probe. */
import assert from 'node:assert/strict'
import { isProviderError } from '../../errors.ts'
import type { WorkerMethod } from '../../provider.ts'
import { newWorkerId } from '../ids.ts'
import type { Bench } from './bench.ts'
import { all, bytes, commandOf, force, pages, queryOf, statsQueryOf } from './help.ts'
import type { Session } from './session.ts'
import { declares, type Need } from './setup.ts'
import type { SuiteTest } from './test.ts'

/** The capability that each optional method goes with. */
const optional: Partial<Record<WorkerMethod, Need>> = {
  preparePool: 'preparePool',
  unpreparePool: 'preparePool',
  watch: 'watch',
  logs: 'logs',
  exec: 'exec',
  execState: 'exec',
  execKill: 'exec',
  execResize: 'exec.tty',
  copyIn: 'copy.in',
  copyOut: 'copy.out',
  forward: 'forward',
  suspend: 'suspend',
  resume: 'suspend',
  mark: 'mark',
  stats: 'stats',
  headroom: 'headroom',
  quote: 'quote',
}

/** Calls the method in a way that can do no harm; whether it does its work is for other tests. */
function touch(bench: Bench, session: Session, method: WorkerMethod): Promise<unknown> {
  const target = { id: newWorkerId() }
  const tags = { 'muster-owner': bench.owner, 'muster-provider': bench.provider, 'muster-pool': 'none' }
  switch (method) {
    case 'preparePool':
      return session.preparePool({ pool: 'none', tags })
    case 'unpreparePool':
      return session.unpreparePool({ pool: { pool: 'none', tags }, handle: { v: bench.capabilities.handles[0] ?? 1, data: {} } })
    case 'watch':
      return session.with({ deadlineMs: 50 }).watch(queryOf(bench))[Symbol.asyncIterator]().next()
    case 'logs':
      return all(session.logs(target, { follow: false }))
    case 'exec':
      return session.exec(target, commandOf(bench, 'exit 0'))
    case 'execState':
      return session.execState(target, bench.newExecId())
    case 'execKill':
      return session.execKill(target, { id: bench.newExecId(), signal: 'SIGTERM' })
    case 'execResize':
      return session.execResize(target, { id: bench.newExecId(), columns: 80, rows: 24 })
    case 'copyIn':
      return session.copyIn(target, { path: bench.inside('none'), tar: bytes() })
    case 'copyOut':
      return all(session.copyOut(target, bench.inside('none')))
    case 'forward':
      return all(session.forward(target, { port: 1, input: bytes() }))
    case 'suspend':
      return session.suspend(target, { keeps: bench.capabilities.suspend?.keeps[0] ?? 'memory' })
    case 'resume':
      return session[method](target)
    case 'mark':
      return session.mark(target, { leased: true })
    case 'stats':
      return session.with({ deadlineMs: 50 }).stats(statsQueryOf(bench))[Symbol.asyncIterator]().next()
    case 'headroom':
      return session.headroom()
    case 'quote':
      return session.quote({})
    case 'probe':
    case 'launch':
    case 'terminate':
    case 'list':
    case 'inspect':
      return session.terminate(target, force)
  }
}

/** Is there an author's method behind the wire? */
async function isThere(bench: Bench, method: WorkerMethod): Promise<boolean> {
  const error: unknown = await touch(bench, await bench.session(), method).then(
    () => undefined,
    (reason: unknown) => reason,
  )
  return !(isProviderError(error) && error.code === 'unsupported' && error.message.endsWith(` has no ${method}`))
}

async function present(bench: Bench, wanted: boolean): Promise<string[]> {
  const methods = Object.entries(optional) as [WorkerMethod, Need][]
  const asked = methods.filter(([, need]) => declares(bench.capabilities, need) === wanted).map(([method]) => method)
  const there = await Promise.all(asked.map((method) => isThere(bench, method)))
  return asked.filter((_method, index) => there[index] !== wanted)
}

export const surfaceTests: readonly SuiteTest[] = [
  {
    name: 'the running plugin describes itself as its manifest does',
    async run(bench) {
      assert.deepEqual((await bench.session()).described, bench.setup.manifest)
    },
  },
  {
    name: 'every method of a declared capability is there',
    async run(bench) {
      assert.deepEqual(await present(bench, true), [], 'declared, and not there')
    },
  },
  {
    name: 'no method of an undeclared capability is there',
    async run(bench) {
      assert.deepEqual(await present(bench, false), [], 'there, and not declared')
    },
  },
  {
    name: 'the probe says ready and changes nothing',
    async run(bench) {
      const owner = { owner: `${bench.owner}p` }
      const session = await bench.session(owner)
      const query = queryOf(bench, { tags: { 'muster-owner': owner.owner, 'muster-provider': bench.provider } })
      const probes = [await session.probe(), await session.probe()]
      assert.deepEqual(
        probes.map(({ state, message }) => message ?? state),
        ['ready', 'ready'],
      )
      assert.deepEqual(
        (await pages(session, query)).flatMap(({ workers }) => workers),
        [],
        'workers after a probe',
      )
    },
  },
]
