import { describe, expect, it } from 'vitest'
import type { FaultAction } from './config.ts'
import { callOf, faultOf, holding, openRig, query } from './rig.test.helper.ts'

const force = { graceMs: 0, force: true, reason: 'test' }

describe('the fault script', () => {
  it('fails a call before it does anything, or after it has done all', async () => {
    const { control, provider } = openRig()
    const options = { code: 'throttled', retryAfterMs: 5, scope: 'launch', hint: 'wait', quota: 'q', path: 'p' } as const
    control.faults([faultOf('launch', { kind: 'fail', effect: 'none', message: 'told', ...options })])
    const first = holding()
    await expect(provider.launch(first, callOf())).rejects.toMatchObject({ ...options, message: 'told', effect: 'none' })
    expect(control.count('create', first.id)).toBe(0)
    control.faults([faultOf('launch', { kind: 'fail', code: 'transient', when: 'after' })])
    const second = holding()
    await expect(provider.launch(second, callOf())).rejects.toMatchObject({ code: 'transient', effect: 'possible' })
    expect(control.count('create', second.id)).toBe(1)
  })

  it('counts uses over processes, after those to skip, and for one worker', async () => {
    const { control, provider, another } = openRig()
    const spec = holding()
    const action: FaultAction = { kind: 'fail', code: 'internal' }
    control.faults([faultOf('inspect', action, { skip: 1, times: 2 }), faultOf('launch', action, { worker: spec.id, times: 1 })])
    const looks = [provider, another(), provider, another()]
    const outcomes: string[] = []
    for (const one of looks)
      outcomes.push(
        await one.inspect([], callOf()).then(
          () => 'well',
          () => 'failed',
        ),
      )
    expect(outcomes).toEqual(['well', 'failed', 'failed', 'well'])
    await provider.launch(holding(), callOf())
    await expect(provider.launch(spec, callOf())).rejects.toMatchObject({ code: 'internal' })
    await another().launch(spec, callOf())
    control.forgetUses()
    await expect(provider.launch(spec, callOf())).rejects.toMatchObject({ code: 'internal' })
  })

  it('takes faults of the configuration, too, and of all methods', async () => {
    const { provider } = openRig({ faults: [faultOf('*', { kind: 'fail', code: 'quota' })] })
    await expect(provider.probe(callOf())).rejects.toMatchObject({ code: 'quota' })
    await expect(provider.headroom(callOf())).rejects.toMatchObject({ code: 'quota' })
    await expect(provider.watch(query, callOf())[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'quota' })
  })

  it('delays, hangs until the signal, loses the answer, or is deaf', async () => {
    const { control, provider } = openRig()
    control.faults([faultOf('probe', { kind: 'delay', ms: 5 })])
    await expect(provider.probe(callOf())).resolves.toMatchObject({ state: 'ready' })
    for (const when of ['before', 'after'] as const) {
      control.faults([faultOf('launch', { kind: 'hang', when })])
      const [spec, leaving] = [holding(), new AbortController()]
      const launching = provider.launch(spec, callOf({ signal: leaving.signal }))
      leaving.abort(new Error('left'))
      await expect(launching).rejects.toThrow('left')
      expect(control.count('create', spec.id)).toBe(when === 'after' ? 1 : 0)
    }
    control.faults([faultOf('probe', { kind: 'deaf' }), faultOf('list', { kind: 'deaf', when: 'after' })])
    const call = callOf({ signal: AbortSignal.abort() })
    const deaf = [provider.probe(call), provider.list(query, call)].map((one) =>
      one.then(
        () => 'settled',
        () => 'settled',
      ),
    )
    await expect(Promise.race([...deaf, new Promise((resolve) => setImmediate(resolve, 'silent'))])).resolves.toBe('silent')
  })

  it('doubles a launch, or lets it fail late', async () => {
    const { control, provider } = openRig()
    control.faults([faultOf('launch', { kind: 'double' }, { times: 1 })])
    const first = holding()
    await provider.launch(first, callOf())
    const { workers } = await provider.list(query, callOf())
    expect(workers).toHaveLength(2)
    expect(workers.every(({ tags }) => tags['muster-pool'] === 'x')).toBe(true)
    control.faults([faultOf('launch', { kind: 'late', code: 'capacity', final: false })])
    const second = holding()
    await provider.launch(second, callOf())
    const [seen] = await provider.inspect([{ id: second.id }], callOf())
    expect(seen).toMatchObject({ phase: 'provisioning', ready: false, problem: { code: 'capacity', final: false } })
  })

  it.each<[FaultAction, (ids: string[], answer: { ids: string[]; next: unknown; blind: unknown; owners: string[] }) => void]>([
    [{ kind: 'hide' }, (_ids, { ids }) => expect(ids).toEqual([])],
    [{ kind: 'short', workers: 1 }, (all, { ids, next }) => expect([ids, next]).toEqual([[all[0]], undefined])],
    [{ kind: 'blind', parts: ['a'] }, (_ids, { ids, blind }) => expect([ids, blind]).toEqual([[], ['a']])],
    [{ kind: 'wrong-id' }, (all, { ids }) => expect(ids.filter((id) => all.includes(id))).toEqual([])],
    [{ kind: 'wrong-tags', tags: { 'muster-owner': 'x' } }, (_ids, { owners }) => expect(owners).toEqual(['x', 'x'])],
    [{ kind: 'extra', workers: 3 }, (_ids, { ids }) => expect(new Set(ids).size).toBe(5)],
    [{ kind: 'flood', times: 3 }, (all, { ids }) => expect(ids).toEqual(all)],
  ])('lies in a list: $kind', async (action, check) => {
    const { control, provider } = openRig()
    const specs = [holding(), holding()]
    for (const spec of specs) await provider.launch(spec, callOf())
    control.faults([faultOf('list', action)])
    const { workers, next, blind } = await provider.list(query, callOf())
    const owners = workers.map(({ tags }) => tags['muster-owner'])
    check(specs.map(({ id }) => id).sort(), { ids: workers.map(({ id }) => id), next, blind, owners })
  })

  it('hides a worker from inspect and watch, and floods a watch', async () => {
    const { control, provider } = openRig()
    const [hidden, shown] = [holding(), holding()]
    const hide: FaultAction = { kind: 'hide' }
    control.faults([
      faultOf('inspect', hide, { worker: hidden.id }),
      faultOf('watch', hide, { worker: hidden.id }),
      faultOf('watch', { kind: 'flood', times: 2 }, { id: 'flood' }),
    ])
    const watch = provider.watch(query, callOf())[Symbol.asyncIterator]()
    const first = watch.next()
    for (const spec of [hidden, shown]) await provider.launch(spec, callOf())
    const seen = [await first, await watch.next()].map(({ value }) => (value as { id: string }).id)
    expect(seen).toEqual([shown.id, shown.id])
    await watch.return?.()
    expect((await provider.inspect([hidden, shown], callOf())).map(({ id }) => id)).toEqual([shown.id])
  })

  it('refuses secrets that are too old', async () => {
    const { control, provider } = openRig({ secret: 'token' })
    let version = 1
    const call = callOf({
      secret: (_name, { refused } = {}) => {
        if (refused !== undefined) version = 2
        return Promise.resolve({ value: 'v', version: String(version) })
      },
    })
    control.faults([faultOf('probe', { kind: 'auth', until: 2 })])
    await expect(provider.probe(call)).resolves.toMatchObject({ state: 'ready' })
    await expect(provider.probe(call)).resolves.toMatchObject({ state: 'ready' })
    control.faults([faultOf('probe', { kind: 'auth', until: 3 })])
    await expect(provider.probe(call)).rejects.toMatchObject({ code: 'auth', effect: 'none' })
    const without = openRig()
    without.control.faults([faultOf('probe', { kind: 'auth', until: 1 })])
    await expect(without.provider.probe(call)).rejects.toMatchObject({ code: 'auth' })
  })
})

describe('the vendor', () => {
  it('has lags, slots and slow stops, as configured', async () => {
    const { control, provider, time } = openRig({ launchMs: 50, goneMs: 70, slots: 1 })
    const spec = holding()
    await provider.launch(spec, callOf())
    await expect(provider.launch(holding(), callOf())).rejects.toMatchObject({ code: 'capacity', effect: 'none' })
    const ids = async (): Promise<string[]> => (await provider.list(query, callOf())).workers.map(({ id }) => id)
    expect(await ids()).toEqual([])
    time.now += 51
    expect(await ids()).toEqual([spec.id])
    await provider.terminate(spec, force, callOf())
    expect(await provider.inspect([spec], callOf())).toEqual([])
    expect(await ids()).toEqual([spec.id])
    time.now += 71
    expect(await ids()).toEqual([])
    expect(control.leftovers([spec.id])).toEqual([])
    const slow = openRig({ stopMs: 100 })
    await slow.provider.launch(spec, callOf())
    const how = { ...force, force: false }
    const by = new Date(slow.time.now + 100).toISOString()
    expect(await slow.provider.terminate(spec, how, callOf())).toEqual({ state: 'terminating', by })
    expect(await slow.provider.inspect([spec], callOf())).toMatchObject([{ phase: 'stopping' }])
    slow.time.now += 101
    expect(await slow.provider.inspect([spec], callOf())).toEqual([])
  })

  it('loses workers and parts when it is told to', async () => {
    const { control, provider } = openRig()
    const [lost, absent] = [holding(), holding()]
    for (const spec of [lost, absent]) await provider.launch(spec, callOf())
    await control.lose(lost.id)
    await control.lose(absent.id, 'absent')
    expect(await provider.inspect([lost, absent], callOf())).toMatchObject([{ id: lost.id, phase: 'lost', ready: false }])
    const restore = control.outage('a')
    await expect(provider.inspect([lost], callOf())).rejects.toMatchObject({ code: 'transient', effect: 'none' })
    await expect(provider.launch(holding(), callOf())).rejects.toMatchObject({ code: 'transient', effect: 'none' })
    expect(await provider.list(query, callOf())).toMatchObject({ workers: [], blind: ['a'] })
    restore()
    expect(control.leftovers()).toEqual([`worker ${lost.id}`])
    expect(control.workers().map(({ id }) => id)).toEqual([lost.id])
  })

  it('notes who did what, in which term and attempt', async () => {
    const { control, provider } = openRig()
    const spec = holding()
    await provider.launch(spec, callOf({ epoch: 3, attempt: 2, idempotencyKey: 'k' }))
    await provider.launch(spec, callOf({ epoch: 3, attempt: 3, idempotencyKey: 'k' }))
    expect(control.events().filter(({ worker }) => worker === spec.id)).toMatchObject([
      { kind: 'call', op: 'launch', epoch: 3, attempt: 2, key: 'k' },
      { kind: 'effect', op: 'create', epoch: 3, attempt: 2, pid: process.pid },
      { kind: 'call', op: 'launch', epoch: 3, attempt: 3 },
    ])
  })

  it('refuses a handle that is not of the worker', async () => {
    const { provider } = openRig()
    const spec = holding()
    const { handle } = await provider.launch(spec, callOf())
    const id = holding().id
    for (const wrong of [handle, { v: 1, data: 7 }, { v: 9, data: id }])
      await expect(provider.inspect([{ id, handle: wrong }], callOf())).rejects.toMatchObject({
        code: 'invalid-spec',
        path: 'handle',
      })
  })
})
