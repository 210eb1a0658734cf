/** Defects of ports, suspension, figures, pools, of how calls end, and of secrets. */
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { isProviderError, ProviderError } from '../../errors.ts'
import type { Call, WorkerStats } from '../../provider.ts'
import { processesOf, signalQuietly } from '../fake/cell.ts'
import { type Defect, hearingOnly, littered, observing, recordOf, whole } from './defect.test.helper.ts'

export const extraDefects: readonly Defect[] = [
  {
    name: 'a forwarded connection ends after 100 kB',
    caughtBy: 'forward carries bytes both ways, to the end of either side',
    wrap: (provider) => ({
      async *forward(target, input, call) {
        let left = 100_000
        for await (const part of whole(provider).forward(target, input, call)) {
          yield part
          if ((left -= part.length) <= 0) return
        }
      },
    }),
  },
  {
    name: 'a suspended worker is said to run',
    caughtBy: 'a suspended worker stands still, and goes on where it was',
    wrap: (provider) => observing(provider, (one) => (one.phase === 'suspended' ? { ...one, phase: 'running' } : one)),
  },
  {
    name: 'processes of a suspended worker run on',
    caughtBy: 'a command of a suspended worker stands still, and goes on where it was',
    wrap: (provider, { control }) => ({
      async suspend(target, how, call) {
        await whole(provider).suspend(target, how, call)
        for (const pid of processesOf(join(control.dir, 'workers', target.id))) signalQuietly(pid, 'SIGCONT')
      },
    }),
  },
  {
    name: 'what runs in a worker is frozen, though it is suspended to disk',
    caughtBy: 'what ran in a worker that is suspended to disk has ended, and does not begin again',
    wrap: (provider, { control: { dir } }) => ({
      async suspend(target, how, call) {
        const mark = join(dir, 'workers', target.id, 'suspended')
        if (how.keeps !== 'disk' || existsSync(mark) || recordOf(dir, target.id)?.command !== undefined)
          return whole(provider).suspend(target, how, call)
        await whole(provider).suspend(target, { keeps: 'memory' }, call)
        writeFileSync(mark, how.keeps)
      },
    }),
  },
  {
    name: 'a worker that is its command is suspended to disk as if it were to memory',
    caughtBy: 'a worker that is its command is not suspended to disk',
    wrap: (provider) => ({
      suspend: (target, how, call) =>
        whole(provider)
          .suspend(target, how, call)
          .catch((error: unknown) => {
            if (!(isProviderError(error) && error.code === 'conflict')) throw error
          }),
    }),
  },
  {
    name: 'it fails to be told of a worker that is gone',
    caughtBy: 'who holds a worker is taken as often as it is said, and is no more than a hint',
    wrap: (provider, { control: { dir } }) => ({
      async mark(target, mark, call) {
        if (recordOf(dir, target.id) === undefined) throw new ProviderError('not-found', 'no such worker', { effect: 'none' })
        await whole(provider).mark(target, mark, call)
      },
    }),
  },
  {
    name: 'processor time is told in milliseconds',
    caughtBy: 'stats tell what a worker uses',
    wrap: (provider) => ({
      async *stats(query, call) {
        for await (const one of whole(provider).stats(query, call)) yield { ...one, cpuSeconds: one.cpuSeconds * 10_000 }
      },
    }),
  },
  {
    name: 'a worker that is gone is sampled on',
    caughtBy: 'stats come again and again, of our own running workers alone',
    wrap: (provider) => ({
      async *stats(query, call) {
        const known = new Map<string, WorkerStats>()
        for await (const one of whole(provider).stats(query, call)) {
          known.set(one.id, one)
          for (const last of known.values()) yield { ...last, at: one.at }
        }
      },
    }),
  },
  {
    name: 'workers of every owner are sampled',
    caughtBy: 'stats come again and again, of our own running workers alone',
    wrap: (provider, { control }) => ({
      async *stats(query, call) {
        for await (const one of whole(provider).stats(query, call)) {
          yield one
          for (const id of readdirSync(join(control.dir, 'workers')))
            if (recordOf(control.dir, id)?.command === undefined) yield { ...one, id }
        }
      },
    }),
  },
  {
    name: 'more slots are free than there are',
    caughtBy: 'headroom never has more free than there is',
    wrap: (provider) => ({
      async headroom(call) {
        const { slots = { free: 0, total: 0 } } = await whole(provider).headroom(call)
        return { slots: { ...slots, free: slots.total + 1 } }
      },
    }),
  },
  {
    name: 'a pool is prepared anew each time',
    caughtBy: 'a pool is prepared once, however often it is asked for',
    wrap: (provider) => ({
      async preparePool(pool, call) {
        const prepared = await whole(provider).preparePool(pool, call)
        return { ...prepared, digest: randomBytes(6).toString('hex') }
      },
    }),
  },
  {
    name: 'a pool goes away under its workers',
    caughtBy: 'a pool is not taken away under its live workers',
    wrap: (provider) => ({
      unpreparePool: (target, call) =>
        whole(provider)
          .unpreparePool(target, call)
          .catch((error: unknown) => {
            if (!(isProviderError(error) && error.code === 'conflict')) throw error
          }),
    }),
  },
]

/** Takes its time to answer; meanwhile nobody may wait any more. */
async function slowly<T>(answer: Promise<T>, call: Call): Promise<T> {
  const value = await answer
  await delay(30)
  if (call.signal.aborted) throw new ProviderError('cancelled', 'aborted', { effect: 'none' })
  return value
}

export const callDefects: readonly Defect[] = [
  {
    name: 'logs do not hear an abort',
    caughtBy: 'an aborted stream or command settles at once',
    wrap: (provider) => ({
      logs: (target, options, call) => whole(provider).logs(target, options, hearingOnly(call, 'TimeoutError')),
    }),
  },
  {
    name: 'logs do not hear a deadline',
    caughtBy: 'a stream or command past its deadline settles at once',
    wrap: (provider) => ({
      logs: (target, options, call) => whole(provider).logs(target, options, hearingOnly(call, 'AbortError')),
    }),
  },
  {
    name: 'a list hears nothing while the vendor is silent',
    caughtBy: 'a call settles at its abort and at its deadline while the vendor is silent',
    wrap: (provider) => ({ list: (query, call) => provider.list(query, hearingOnly(call, 'nothing')) }),
  },
  {
    name: 'an aborted launch claims to have done nothing',
    caughtBy: 'an aborted launch that claims no effect has none',
    wrap: (provider) => ({ launch: (spec, call) => slowly(provider.launch(spec, call), call) }),
  },
  {
    name: 'an unknown profile is a fault of the plugin',
    caughtBy: 'every row of the error table is told as it should be',
    wrap: (provider) => ({
      launch: (spec, call) =>
        provider.launch(spec, call).catch((error: unknown) => {
          if (isProviderError(error) && error.path === 'profile') throw new Error('undefined is not a profile')
          throw error
        }),
    }),
  },
]

/** Calls that never have a refused secret renewed. */
function stubborn(call: Call): Call {
  return { ...call, secret: (name) => call.secret(name) }
}

export const secretDefects: readonly Defect[] = [
  {
    name: 'env is told as a problem of the worker',
    caughtBy: 'values of env and of files show nowhere',
    wrap: (provider, { control }) =>
      observing(provider, (one) => {
        const env = recordOf(control.dir, one.id)?.env ?? {}
        if (!('HIDDEN' in env)) return one
        return { ...one, problem: { code: 'transient', message: `started with ${JSON.stringify(env)}`, final: false } }
      }),
  },
  {
    name: 'the probe tells the secret',
    caughtBy: 'a secret of the host shows nowhere',
    wrap: (provider) => ({
      probe: async (call) => ({ ...(await provider.probe(call)), facts: { token: (await call.secret('token')).value } }),
    }),
  },
  {
    name: 'inspect never has a refused secret renewed',
    caughtBy: 'a secret that the vendor refuses is asked anew, without a restart',
    wrap: (provider) => ({ inspect: (targets, call) => provider.inspect(targets, stubborn(call)) }),
  },
  {
    name: 'a watch keeps the secret it began with',
    caughtBy: 'a secret can change while a stream runs',
    wrap: (provider) => ({
      watch(query, call) {
        let first: ReturnType<Call['secret']> | undefined
        return whole(provider).watch(query, { ...call, secret: (name) => (first ??= call.secret(name)) })
      },
    }),
  },
  {
    name: 'a refused secret is taken for a passing trouble',
    caughtBy: 'a secret that stays refused is auth, without effect',
    wrap: (provider) => ({
      launch: (spec, call) =>
        provider.launch(spec, call).catch((error: unknown) => {
          if (isProviderError(error) && error.message === 'the vendor refused the secret')
            throw new ProviderError('transient', 'try again', { effect: 'none' })
          throw error
        }),
    }),
  },
]

export const lastDefects: readonly Defect[] = [
  {
    name: 'a volume is made for workers with labels, and never taken away',
    caughtBy: 'nothing is left of any worker of the suite',
    wrap: (provider, { side }) => ({
      async launch(spec, call) {
        const launched = await provider.launch(spec, call)
        if (spec.labels !== undefined) side(littered).add(spec.id)
        return launched
      },
    }),
  },
]
