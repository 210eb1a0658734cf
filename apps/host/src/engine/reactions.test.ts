/** The table of a provider's error codes, row by row: what the host does about each, shown; and the reference that is made from it. */
import { ProviderError, type ProviderErrorCode, providerErrorCodes, reactions } from '@muster/core'
import { afterEach, expect, test } from 'vitest'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'
import type { Fault } from './testing/vendor.ts'

interface Row {
  /** What whoever asked for a worker, and whoever looks after the host, notices. */
  seen: string
  /** What helps. */
  mend: string
  show(): Promise<void>
}

let h: Harness
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

interface Failing {
  error: ProviderError
  method?: string
  times?: number
  /** The vendor does the work all the same. */
  effect?: boolean
}

/** Provider `one` fails so; `two`, where the pool has it, is well. */
async function open(
  { error, method = 'launch', times = Infinity, effect = false }: Failing,
  placement = ['one', 'two'],
): Promise<void> {
  let left = times
  const fault = (asked: string): Fault | undefined => (asked === method && left-- > 0 ? { error, effect } : undefined)
  h = await openHarness({ pools: [poolConfig({ placement })], providers: [{ name: 'one', fault }, { name: 'two' }] })
}

async function ask(ms = 100): Promise<string> {
  const { id } = await h.engine.leases.request(leaseRequest())
  await h.pass(ms)
  return id
}

const none = { effect: 'none' as const }
const calls = (method: string, name = 'one'): { id?: string; attempt?: number }[] =>
  h.provider(name).vendor.calls.filter((call) => call.method === method)
const idsOf = (method: string): Set<string | undefined> => new Set(calls(method).map((call) => call.id))
const providerOf = (lease: string): string | undefined =>
  h.engine.workers.get(h.engine.leases.get(lease)?.worker_id ?? '')?.provider
const phases = (): string[] => [...h.engine.workers.live()].map((worker) => worker.phase)
const conditions = (): string[] => h.engine.conditions.list().map(({ scope, name, type }) => `${scope} ${name} ${type}`)

const rows: Record<ProviderErrorCode, Row> = {
  capacity: {
    seen: 'The worker comes from the next provider. When none has room the lease stays queued, and the pool says for whom it waits.',
    mend: 'Nothing, or add a provider to the placement.',
    async show() {
      await open({ error: new ProviderError('capacity', 'none left', none) })
      const [first, second] = [await ask(), await ask()]
      expect([providerOf(first), providerOf(second)]).toEqual(['two', 'two'])
      // Remembered for that size, and forgotten after a while.
      expect(calls('launch')).toHaveLength(1)
      await h.pass(60_000)
      await ask()
      expect(calls('launch')).toHaveLength(2)
      expect(conditions()).toEqual([])
    },
  },
  quota: {
    seen: 'As capacity; the condition `quota:PROVIDER` of the pool names the quota until a launch succeeds there.',
    mend: 'Raise the quota at the vendor, or lower `scale.max` of the pool.',
    async show() {
      await open({ error: new ProviderError('quota', 'no more', { ...none, quota: 'vcpus' }), times: 1 })
      expect(providerOf(await ask())).toBe('two')
      expect(h.engine.conditions.list()).toMatchObject([
        { scope: 'pool', name: 'ci', type: 'quota:one', message: expect.stringContaining('vcpus') },
      ])
      await h.pass(60_000)
      expect(providerOf(await ask())).toBe('one')
      expect(conditions()).toEqual([])
    },
  },
  throttled: {
    seen: 'The lease waits; calls of another kind go on.',
    mend: 'Nothing, or ask the vendor for a higher rate.',
    async show() {
      await open({ error: new ProviderError('throttled', 'slow down', { ...none, retryAfterMs: 4000 }), times: 1 }, ['one'])
      const [first, second] = [await ask(), await ask()]
      expect(calls('launch')).toHaveLength(1)
      const lists = calls('list').length
      await h.engine.reconcile('one')
      expect(calls('list').length).toBeGreaterThan(lists)
      await h.pass(10_000)
      expect([first, second].map((id) => h.engine.leases.get(id))).toMatchObject([
        { state: 'active', tries: 0 },
        { state: 'active', tries: 0 },
      ])
      expect(idsOf('launch').size).toBe(2)
    },
  },
  auth: {
    seen: 'The worker comes from the next provider; launches at this one are held, longer each time, under the condition `auth` of the provider, which is `degraded` until its probe succeeds.',
    mend: 'Renew the secret or the rights; the next try succeeds without a restart.',
    async show() {
      await open({ error: new ProviderError('auth', 'who are you', none), times: 2 }, ['one'])
      const id = await ask()
      expect(conditions()).toEqual(['provider one auth'])
      await h.pass(3000)
      expect(calls('launch')).toHaveLength(1)
      await h.pass(60_000)
      expect(calls('launch')).toHaveLength(3)
      expect(h.engine.leases.get(id)?.state).toBe('active')
      expect(conditions()).toEqual([])
      await h.close()
      await open({ error: new ProviderError('auth', 'who are you', none) })
      expect(providerOf(await ask())).toBe('two')
    },
  },
  'invalid-spec': {
    seen: 'The lease or run fails at once, and its reason names the field.',
    mend: 'Mend that field of the request or of the pool.',
    async show() {
      await open({ error: new ProviderError('invalid-spec', 'too many', { ...none, path: 'resources.cpu' }) })
      const id = await ask(60_000)
      expect(await h.engine.leases.find(id)).toMatchObject({
        end: 'failed',
        end_reason: 'invalid-spec at resources.cpu: too many',
      })
      expect([calls('launch').length, calls('launch', 'two').length]).toEqual([1, 0])
    },
  },
  unsupported: {
    seen: 'The worker comes from the next provider, and where there is none the lease fails at once; this one is asked for such a worker again after 5 seconds, then ever more rarely, at most every 5 minutes. Where it says when to try again, its state alone is in the way: leases wait, and the pool has the condition `refused:PROVIDER`.',
    mend: 'Leave out what the provider cannot do, or place the pool on one that can. Mend what the condition names; `muster providers reconcile PROVIDER` tries at once.',
    async show() {
      await open({ error: new ProviderError('unsupported', 'no services here', { ...none, path: 'services' }) })
      expect(providerOf(await ask())).toBe('two')
      expect(providerOf(await ask())).toBe('two')
      expect(calls('launch')).toHaveLength(1)
      await h.pass(5000)
      expect(providerOf(await ask())).toBe('two')
      expect(calls('launch')).toHaveLength(2)
      await h.close()
      await open({ error: new ProviderError('unsupported', 'no such image', { ...none, retryAfterMs: 1000 }), times: 1 }, ['one'])
      const id = await ask()
      expect(conditions()).toEqual(['pool ci refused:one'])
      await h.engine.reconcile('one')
      await h.pass(100)
      expect(providerOf(id)).toBe('one')
      expect(conditions()).toEqual([])
    },
  },
  'not-found': {
    seen: 'A worker that is gone ends as lost or terminated; one that only seemed so goes on. At a launch the request fails: what it names, as an image, does not exist.',
    mend: 'At a launch: name what exists. Else nothing.',
    async show() {
      await open({ error: new ProviderError('not-found', 'never heard of it', none), method: 'terminate' }, ['one'])
      const id = await ask()
      const { vendor } = h.provider('one')
      await h.engine.leases.release(id, { reason: 'done' })
      await h.pass(20_000)
      // It is still there, whatever terminate says.
      expect(calls('inspect').length).toBeGreaterThan(0)
      expect(phases()).toEqual(['terminating'])
      vendor.workers.clear()
      await h.pass(60_000)
      expect(phases()).toEqual([])
    },
  },
  conflict: {
    seen: 'The lease waits a moment; when it stays so, it gets a worker of another id.',
    mend: 'When it comes again: look for a second deployment with the same owner.',
    async show() {
      await open({ error: new ProviderError('conflict', 'somebody is at it', none), times: 1 })
      const lists = calls('list').length
      const id = await ask(10_000)
      expect(calls('list').length).toBeGreaterThan(lists)
      expect(h.engine.leases.get(id)).toMatchObject({ state: 'active', tries: 0 })
      expect([calls('launch').length, idsOf('launch').size, calls('launch', 'two').length]).toEqual([2, 1, 0])
    },
  },
  transient: {
    seen: 'The lease waits while the call is made again; then the worker comes from the next provider. `muster why` shows each try.',
    mend: 'Nothing; when it lasts, look at the vendor.',
    async show() {
      await open({ error: new ProviderError('transient', 'reset'), times: 2, effect: true })
      const id = await ask(20_000)
      expect(h.engine.leases.get(id)).toMatchObject({ state: 'active', tries: 0 })
      expect(calls('launch').map((call) => call.attempt)).toEqual([1, 2, 3])
      expect([idsOf('launch').size, h.provider('one').vendor.made.length]).toEqual([1, 1])
      await h.close()
      await open({ error: new ProviderError('transient', 'reset', none) })
      expect(providerOf(await ask(90_000))).toBe('two')
      expect(idsOf('launch').size).toBe(1)
    },
  },
  deadline: {
    seen: 'As transient. What the call may have made counts against the limits until it is confirmed gone.',
    mend: 'Nothing; when it lasts, look at the vendor.',
    async show() {
      await open({ error: new ProviderError('deadline', 'no answer'), effect: true })
      const id = await ask(90_000)
      const [made] = idsOf('launch')
      expect(providerOf(id)).toBe('two')
      expect(idsOf('terminate')).toEqual(new Set([made]))
      expect(h.provider('one').vendor.workers.size).toBe(0)
      expect(await h.engine.workers.find(made ?? '')).toMatchObject({ phase: 'failed' })
    },
  },
  cancelled: {
    seen: 'Nothing of the worker stays; the lease goes on to the next placement. A call that was never made is made again.',
    mend: 'Nothing.',
    async show() {
      await open({ error: new ProviderError('cancelled', 'given up'), times: 1, effect: true })
      expect(providerOf(await ask(10_000))).toBe('two')
      expect(idsOf('terminate')).toEqual(idsOf('launch'))
      expect(h.provider('one').vendor.workers.size).toBe(0)
      await h.close()
      await open({ error: new ProviderError('cancelled', 'not sent', none), times: 1 })
      expect(providerOf(await ask(10_000))).toBe('one')
      expect([calls('launch').length, idsOf('launch').size, idsOf('terminate').size]).toEqual([2, 1, 0])
    },
  },
  internal: {
    seen: 'As transient. After several in a row the breaker opens: calls fail at once, with no effect, until the plugin answers again. `muster providers crash PROVIDER` shows the crash bundle.',
    mend: 'Give the crash bundle to the author of the plugin, or go back to the version before.',
    async show() {
      await open({ error: new ProviderError('internal', 'undefined is not a function', none), times: 1 })
      expect(providerOf(await ask(10_000))).toBe('one')
      expect([calls('launch').length, idsOf('launch').size]).toEqual([2, 1])
      await h.close()
      await open({ error: new ProviderError('internal', 'undefined is not a function', none) })
      expect(providerOf(await ask(90_000))).toBe('two')
      expect(idsOf('launch').size).toBe(1)
    },
  },
}

test.each(providerErrorCodes)('%s', async (code) => expect(rows[code].show()).resolves.toBeUndefined())

const committed = new URL('../../../../docs/reference/errors.md', import.meta.url).pathname

test('the committed reference has every row (write it anew: `pnpm vitest run apps/host/src/engine/reactions.test.ts -u`)', async () => {
  await open({ error: new ProviderError('internal', 'not asked for') })
  const table = providerErrorCodes.map((code) => {
    const { retrySame, nextPlacement, text } = reactions[code]
    const { seen, mend } = rows[code]
    return `| \`${code}\` | ${text} | ${retrySame ? 'yes' : ''} | ${nextPlacement ? 'yes' : ''} | ${seen} | ${mend} |`
  })
  const text = [
    '# Errors of providers',
    '',
    'Every failure of a provider plugin has one of these codes, and an effect. `none`: the vendor is known to have done nothing. `possible`: it',
    'may have done something, and that is taken for granted unless the plugin says otherwise: a worker that may exist is terminated and confirmed',
    'gone before its record closes. Plugins choose the code from what the vendor says; the host reacts by this table, and `muster why` shows each',
    'reaction with its inputs.',
    '',
    'Same: the same worker is asked for again at this provider. Next: another worker is asked for at the next placement.',
    '',
    '| code | what the host does | same | next | what is seen | what helps |',
    '| --- | --- | --- | --- | --- | --- |',
    ...table,
    '',
  ].join('\n')
  await expect(text).toMatchFileSnapshot(committed)
})
