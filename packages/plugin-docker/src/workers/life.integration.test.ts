import type { LaunchSpec, ListQuery, WorkerObservation } from '@muster/core'
import { findDocker } from '@muster/test/systems/docker'
import { engineJson } from '@muster/test/systems/engine'
import { ensureImage } from '@muster/test/systems/images'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { busybox, callOf, createHarness, type Harness, readAll } from '../testing/harness.test.helper.ts'
import { dockerProvider } from '../provider.ts'

suiteWith(await findDocker(), 'the life of workers on a real engine', (docker) => {
  let harness: Harness
  beforeAll(async () => {
    harness = await createHarness(docker.socket)
  })
  afterEach(() => harness.clean())
  afterAll(() => harness.clean())

  const launched = async (spec: LaunchSpec = harness.hold()): Promise<LaunchSpec> => {
    await harness.provider.launch(spec, callOf())
    return spec
  }
  const terminate = (id: string, graceMs: number, force = false) =>
    harness.provider.terminate({ id }, { graceMs, force, reason: 'test' }, callOf())
  const listed = async (query: Partial<ListQuery> = {}): Promise<WorkerObservation[]> => {
    const tags = { 'muster-owner': harness.owner, 'muster-provider': 'docker' }
    const workers: WorkerObservation[] = []
    let cursor: string | undefined
    do {
      const page = await harness.provider.list(
        { tags, limit: 500, ...query, ...(cursor === undefined ? {} : { cursor }) },
        callOf(),
      )
      workers.push(...page.workers)
      cursor = page.next
    } while (cursor !== undefined)
    return workers
  }

  describe('terminate', () => {
    test('unknown, twice, after exit, while another is at it', async () => {
      expect(await terminate(harness.hold().id, 1_000)).toEqual({ state: 'gone' })
      const exited = await launched(harness.command('true'))
      await harness.exit(exited.id)
      expect(await terminate(exited.id, 10_000)).toEqual({ state: 'gone' })
      const spec = await launched()
      const answers = await Promise.all([
        terminate(spec.id, 0),
        terminate(spec.id, 0),
        harness.another().terminate({ id: spec.id }, { graceMs: 0, force: true, reason: 'test' }, callOf()),
      ])
      expect(answers.map(({ state }) => state)).toContain('gone')
      expect(await terminate(spec.id, 0)).toEqual({ state: 'gone' })
      expect(await harness.left()).toEqual([])
    })

    test('a worker that heeds the signal is gone at once, within its grace', async () => {
      const spec = await launched(harness.command('sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.05; done'))
      // Longer than this test may take.
      await harness.gone(spec.id, 600_000)
      expect(await harness.left()).toEqual([])
    })

    test('one that does not is `terminating` with its time, then gone by force', async () => {
      const spec = await launched(harness.command('sh', '-c', 'trap "" TERM; while :; do sleep 0.1; done'))
      const before = Date.now()
      const first = await terminate(spec.id, 5_000)
      expect(first).toMatchObject({ state: 'terminating' })
      const by = Date.parse((first as { by: string }).by)
      expect(by).toBeGreaterThanOrEqual(before + 5_000)
      expect(by).toBeLessThan(Date.now() + 6_500)
      expect(await harness.phase(spec.id)).toBe('stopping')
      await waitFor('the force after the grace', () => harness.left(), { until: (left) => left.length === 0 })
      expect(Date.now()).toBeGreaterThanOrEqual(before + 5_000)
      expect(await terminate(spec.id, 5_000)).toEqual({ state: 'gone' })
    })

    test('a shorter grace and force cut a long one short', async () => {
      const stubborn = ['sh', '-c', 'trap "" TERM; while :; do sleep 0.1; done']
      const [first, second] = [await launched(harness.command(...stubborn)), await launched(harness.command(...stubborn))]
      const states = await Promise.all([terminate(first.id, 600_000), terminate(second.id, 600_000)])
      expect(states.map(({ state }) => state)).toEqual(['terminating', 'terminating'])
      await harness.gone(first.id, 200)
      expect(await terminate(second.id, 600_000, true)).toEqual({ state: 'gone' })
    })

    test('a grace that another process began goes on with the next call', async () => {
      const spec = await launched(harness.command('sh', '-c', 'trap "" TERM; while :; do sleep 0.1; done'))
      expect(
        await harness.another().terminate({ id: spec.id }, { graceMs: 600_000, force: false, reason: 'test' }, callOf()),
      ).toMatchObject({ state: 'terminating' })
      await harness.gone(spec.id, 300)
    })

    test('its volumes go too', async () => {
      const volumes = async (): Promise<string[]> => {
        const { Mounts } = await engineJson<{ Mounts: { Name?: string }[] }>(docker.socket, {
          path: `/containers/muster-${spec.id}/json`,
        })
        return Mounts.map(({ Name }) => Name ?? '')
      }
      const spec = await launched(harness.hold({ security: { readOnlyRoot: true } }))
      const [name = ''] = await volumes()
      expect(name).toMatch(/^[0-9a-f]{64}$/)
      await terminate(spec.id, 0)
      await expect(engineJson(docker.socket, { path: `/volumes/${name}` })).rejects.toThrow(/404/)
    })

    test('a suspended worker too, with grace and without', async () => {
      const [first, second] = [await launched(), await launched()]
      for (const { id } of [first, second]) await harness.provider.suspend({ id }, { keeps: 'memory' }, callOf())
      await harness.gone(first.id, 600_000)
      expect(await terminate(second.id, 0)).toEqual({ state: 'gone' })
    })

    test('a worker is gone in whole: a child that left its session as well', async () => {
      const spec = await launched(
        harness.command('sh', '-c', 'setsid sh -c "trap \\"\\" TERM; exec sleep 98765" & exec sleep 98764'),
      )
      const { Processes } = await waitFor(
        'the child',
        () => engineJson<{ Processes: string[][] }>(docker.socket, { path: `/containers/muster-${spec.id}/top` }),
        {
          until: ({ Processes: seen }) => seen.some((fields) => fields.at(-1)?.includes('98765') === true),
        },
      )
      const pids = Processes.map((fields) => Number(fields[1]))
      await harness.gone(spec.id, 500)
      for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow('ESRCH')
    })
  })

  describe('list and inspect', () => {
    test('pages of 1 and of 500 give each worker once, in one order, as inspect sees them', async () => {
      const specs = [await launched(harness.command('sh', '-c', 'exit 3')), await launched(), await launched()]
      await harness.exit(specs[0]!.id)
      await harness.provider.suspend({ id: specs[1]!.id }, { keeps: 'memory' }, callOf())
      const whole = await listed()
      expect(whole.map(({ id }) => id)).toEqual(specs.map(({ id }) => id).toSorted())
      expect(await listed({ limit: 1 })).toEqual(whole)
      const targets = whole.map(({ id }) => ({ id }))
      expect(await harness.provider.inspect([...targets, { id: harness.hold().id }], callOf())).toEqual(whole)
      expect(whole.find(({ id }) => id === specs[0]!.id)).toMatchObject({ phase: 'exited', ready: false, exit: { code: 3 } })
      expect(whole.find(({ id }) => id === specs[1]!.id)).toMatchObject({ phase: 'suspended', ready: false })
      expect(whole.find(({ id }) => id === specs[2]!.id)).toMatchObject({ phase: 'running', ready: true, tags: specs[2]!.tags })
    })

    test('asOf is not later than the question', async () => {
      const before = Date.now()
      const { asOf } = await harness.provider.list(
        { tags: { 'muster-owner': harness.owner, 'muster-provider': 'docker' }, limit: 1 },
        callOf(),
      )
      expect(Date.parse(asOf)).toBeGreaterThanOrEqual(before)
      expect(Date.parse(asOf)).toBeLessThanOrEqual(Date.now())
    })

    test('a foreign owner, another provider of the same owner, and copied labels are not seen', async () => {
      const stranger = await createHarness(docker.socket)
      const sibling = await createHarness(docker.socket, { provider: 'other' })
      try {
        const foreign = stranger.hold()
        await stranger.provider.launch(foreign, callOf())
        const next = sibling.hold()
        await sibling.provider.launch(next, callOf())
        const copied = harness.hold()
        await engineJson(docker.socket, {
          method: 'POST',
          path: '/containers/create',
          body: { Image: busybox, Labels: copied.tags },
        })
        expect(await listed()).toEqual([])
        expect(await harness.provider.inspect([{ id: foreign.id }, { id: next.id }, { id: copied.id }], callOf())).toEqual([])
        expect(await terminate(foreign.id, 0, true)).toEqual({ state: 'gone' })
        expect(await stranger.phase(foreign.id)).toBe('running')
      } finally {
        await stranger.clean()
        await sibling.clean()
      }
    })
  })

  test('a container that was renamed is still its worker; one made from an image of a worker is none', async () => {
    const engine = (method: 'GET' | 'POST' | 'DELETE', path: string, body?: object): Promise<unknown> =>
      engineJson(docker.socket, { method, path, ...(body === undefined ? {} : { body }) })
    const [listedOne, looked, ended] = [await launched(), await launched(), await launched()]
    for (const { id } of [listedOne, looked, ended]) await engine('POST', `/containers/muster-${id}/rename?name=elsewhere-${id}`)
    // A list has none that bears another name; whoever looks at one, or ends one, gives the name back.
    expect(await listed()).toEqual([])
    expect(await harness.observe(looked.id)).toMatchObject({ phase: 'running' })
    expect(await harness.observe(listedOne.id)).toMatchObject({ phase: 'running' })
    await harness.gone(ended.id, 0)
    expect((await listed()).map(({ id }) => id).toSorted()).toEqual([listedOne.id, looked.id].toSorted())
    expect((await harness.exec(looked.id, ['echo', 'there'])).stdout).toBe('there\n')
    const { Config } = (await engine('GET', `/containers/muster-${listedOne.id}/json`)) as {
      Config: { Image: string; Labels: object }
    }
    await harness.gone(listedOne.id, 0)
    // Made by hand with all that a worker has, after its end.
    const made = (await engine('POST', '/containers/create?name=by-hand', { ...Config, Cmd: ['true'] })) as { Id: string }
    expect([await listed(), await terminate(listedOne.id, 0, true)]).toMatchObject([[{ id: looked.id }], { state: 'gone' }])
    expect(await engine('GET', `/containers/${made.Id}/json`)).toMatchObject({ Name: '/by-hand' })
    await engine('DELETE', `/containers/${made.Id}?force=true`)

    const image = `muster-test/copy-${looked.id}`
    await engine('POST', `/commit?container=muster-${looked.id}&repo=${image}`)
    await harness.gone(looked.id, 0)
    const copy = `copy-${looked.id}`
    await engine('POST', `/containers/create?name=${copy}`, { Image: image, Cmd: ['true'] })
    try {
      expect(await listed()).toEqual([])
      expect(await harness.observe(looked.id)).toBeUndefined()
      await harness.gone(looked.id, 0)
      expect(await engine('GET', `/containers/${copy}/json`)).toMatchObject({ Name: `/${copy}` })
    } finally {
      await engine('DELETE', `/containers/${copy}?force=true`)
      await engine('DELETE', `/images/${image}?force=true`)
    }
  })

  test('suspend and resume keep memory, and may be repeated', async () => {
    const { id } = await launched(harness.command('sh', '-c', 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done'))
    await harness.provider.suspend({ id }, { keeps: 'memory' }, callOf())
    await harness.provider.suspend({ id }, { keeps: 'memory' }, callOf())
    expect(await harness.observe(id)).toMatchObject({ phase: 'suspended', ready: false })
    const lines = async (): Promise<number> => {
      let text = ''
      for await (const { data } of harness.provider.logs({ id }, { follow: false }, callOf()))
        text += Buffer.from(data).toString()
      return text.split('\n').length
    }
    const held = await lines()
    await harness.provider.resume({ id }, callOf())
    await harness.provider.resume({ id }, callOf())
    await waitFor('the count to go on', lines, { until: (count) => count > held })
    const ended = await launched(harness.command('true'))
    await harness.exit(ended.id)
    await expect(harness.provider.suspend({ id: ended.id }, { keeps: 'memory' }, callOf())).rejects.toMatchObject({
      code: 'conflict',
      effect: 'none',
    })
  })

  test('headroom counts what limits reserve, also for other owners', async () => {
    const free = async (): Promise<{ cpu: number; memory: number }> => {
      const { cpu, memoryBytes } = await harness.provider.headroom(callOf())
      return { cpu: cpu!.free, memory: memoryBytes!.free }
    }
    const stranger = await createHarness(docker.socket)
    try {
      const before = await free()
      await stranger.provider.launch(stranger.hold({ resources: { cpu: 0.25, memoryBytes: 50_000_000 } }), callOf())
      await waitFor('the reservation', free, {
        until: (now) => now.cpu <= before.cpu - 0.25 && now.memory <= before.memory - 50_000_000,
      })
    } finally {
      await stranger.clean()
    }
  })

  describe('forward', () => {
    test('a TCP stream in both directions, with half-close', async () => {
      const image = await ensureImage(docker.socket, 'node')
      const source =
        "require('net').createServer({ allowHalfOpen: true }, (s) => { let n = 0; s.on('data', (d) => { n += d.length; s.write(d) }); s.on('end', () => s.end('|' + n)) }).listen(8080, () => console.log('up'))"
      const spec = await launched(
        harness.spec({
          image,
          work: { mode: 'command', command: ['node', '-e', source] },
          network: { egress: 'full', ports: [8080] },
        }),
      )
      const text = 'x'.repeat(300_000)
      const talk = async (): Promise<string> => {
        const input = (async function* () {
          yield Buffer.from(text)
        })()
        let answer = ''
        for await (const chunk of harness.provider.forward({ id: spec.id }, { port: 8080, input }, callOf()))
          answer += Buffer.from(chunk).toString()
        return answer
      }
      expect(await waitFor('the server', talk)).toBe(`${text}|300000`)
      const refused = harness.provider.forward({ id: spec.id }, { port: 8081, input: nothing() }, callOf())
      await expect(refused[Symbol.asyncIterator]().next()).rejects.toMatchObject({
        code: 'invalid-spec',
        path: 'port',
        effect: 'none',
      })
    })

    test('a port where nobody listens, and a worker without network', async () => {
      const spec = await launched()
      const first = harness.provider.forward({ id: spec.id }, { port: 9, input: nothing() }, callOf())
      await expect(first[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'transient', effect: 'none' })
      const lonely = await launched(harness.hold({ network: { egress: 'none' } }))
      const second = harness.provider.forward({ id: lonely.id }, { port: 80, input: nothing() }, callOf())
      await expect(second[Symbol.asyncIterator]().next()).rejects.toMatchObject({
        code: 'unsupported',
        path: 'network.egress',
        effect: 'none',
      })
    })
  })

  describe('a container that somebody starts again', () => {
    const restart = (id: string): Promise<unknown> =>
      engineJson(docker.socket, { method: 'POST', path: `/containers/muster-${id}/restart`, query: { t: '5' } })
    const ended = {
      phase: 'exited',
      ready: false,
      exit: { reason: expect.stringContaining('started its container again') as string },
    }
    const inspected = async (id: string): Promise<WorkerObservation | undefined> =>
      (await harness.provider.inspect([{ id }], callOf()))[0]

    test('is no worker any more: that has ended, nobody knows how, and its log with it', async () => {
      const spec = await launched(harness.command('sh', '-c', 'echo "I run"; trap "exit 0" TERM; while :; do sleep 0.05; done'))
      const followed = readAll(harness.provider, spec.id)
      const written = (): Promise<string> =>
        readAll(harness.provider, spec.id, { follow: false }).then(({ stdout }) => stdout.toString())
      await waitFor('its words', async () => (await written()) !== '')
      await restart(spec.id)
      const seen = await inspected(spec.id)
      expect(seen).toMatchObject(ended)
      expect(seen?.exit).not.toHaveProperty('code')
      expect((await listed()).find(({ id }) => id === spec.id)).toEqual(seen)
      expect(await written()).toBe('I run\n')
      // Whoever followed it has heard what came until that was known.
      expect((await followed).stdout.toString()).toMatch(/^(?:I run\n){1,2}$/)
      // Whoever comes anew sees it too.
      const [again] = await harness.another().inspect([{ id: spec.id }], callOf())
      expect(again).toEqual(seen)
      await harness.gone(spec.id, 1_000)
      expect(await harness.left()).toEqual([])
    })

    test('and has ended again before anybody looks is told of by the engine', async () => {
      const tags = { 'muster-owner': harness.owner, 'muster-provider': 'docker' }
      const abort = new AbortController()
      const seen: string[] = []
      const watching = (async () => {
        for await (const { id, phase } of harness.provider.watch({ tags, limit: 500 }, callOf({ signal: abort.signal })))
          seen.push(`${id} ${phase}`)
      })()
      const marker = await launched()
      await waitFor('the watch', () => seen.includes(`${marker.id} running`))
      const spec = await launched(harness.command('sh', '-c', 'test -e /again && exit 0; touch /again; sleep 600'))
      await waitFor('it to run', () => seen.includes(`${spec.id} running`))
      await restart(spec.id)
      await waitFor('its end', () => seen.includes(`${spec.id} exited`))
      expect(await inspected(spec.id)).toMatchObject(ended)
      expect((await inspected(spec.id))?.exit).not.toHaveProperty('code')
      abort.abort()
      await expect(watching).rejects.toMatchObject({ code: 'cancelled' })
    })
  })

  test('watch tells what is there, then every change, and that a worker was lost', async () => {
    const tags = { 'muster-owner': harness.owner, 'muster-provider': 'docker' }
    const early = await launched()
    const abort = new AbortController()
    const seen: string[] = []
    const watching = (async () => {
      for await (const { id, phase, exit } of harness.provider.watch({ tags, limit: 500 }, callOf({ signal: abort.signal })))
        seen.push(`${id} ${phase}${exit?.code === undefined ? '' : ` ${exit.code}`}`)
    })()
    const told = (line: string): Promise<unknown> => waitFor(line, () => seen.includes(line))
    await told(`${early.id} running`)
    const late = await launched(harness.command('sh', '-c', 'sleep 0.3; exit 6'))
    await told(`${late.id} running`)
    await told(`${late.id} exited 6`)
    await harness.provider.suspend({ id: early.id }, { keeps: 'memory' }, callOf())
    await told(`${early.id} suspended`)
    await engineJson(docker.socket, { method: 'DELETE', path: `/containers/muster-${early.id}`, query: { force: '1' } })
    await told(`${early.id} lost`)
    // Our own removal is no loss.
    await terminate(late.id, 0)
    const marker = await launched()
    await told(`${marker.id} running`)
    expect(seen).not.toContain(`${late.id} lost`)
    abort.abort()
    await expect(watching).rejects.toMatchObject({ code: 'cancelled', effect: 'none' })
  })

  test('an engine that is not there: a passing trouble without effect, and a probe that says what to do', async () => {
    const provider = dockerProvider({
      endpoint: { socketPath: '/nonexistent/docker.sock' },
      context: { owner: harness.owner, provider: 'docker', now: () => Date.now() },
      fields: [],
    })
    expect(await provider.probe(callOf())).toMatchObject({
      state: 'failed',
      hint: expect.stringContaining('Start the Docker engine') as string,
    })
    await expect(provider.launch(harness.command('true'), callOf())).rejects.toMatchObject({ code: 'transient', effect: 'none' })
    await expect(
      provider.terminate({ id: harness.hold().id }, { graceMs: 0, force: true, reason: 'test' }, callOf()),
    ).rejects.toMatchObject({ code: 'transient', effect: 'none' })
  })
})

async function* nothing(): AsyncGenerator<Uint8Array> {}
