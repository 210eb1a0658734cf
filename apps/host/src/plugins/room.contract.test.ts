import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { GuardedProvider, ProviderStatus, WitnessedCall } from './api.ts'
import { checkPlugins } from './check.ts'
import type { PulseTimes } from './pulse.ts'
import { startPlugins } from './room.ts'
import { configureFixture, launchSpec as spec } from './testing/configure.ts'
import { fixtureManifest, packFixture } from './testing/package.ts'

let shared: string
beforeAll(async () => {
  shared = await mkdtemp(join(tmpdir(), 'muster-room-'))
  await packFixture(join(shared, 'good'))
  await packFixture(join(shared, 'liar'), {
    said: { ...fixtureManifest, capabilities: { ...fixtureManifest.capabilities, work: ['command', 'hold'] } },
  })
})
afterAll(() => rm(shared, { recursive: true, force: true }))

let data: string
let mayAct = true
const stops: (() => Promise<void>)[] = []
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'muster-room-data-'))
  mayAct = true
  witnessed.length = 0
})
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
  await rm(data, { recursive: true, force: true })
})

const context = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
const witnessed: (WitnessedCall & { code: string })[] = []
const lines: string[] = []
const log = {
  debug: (_: object, line: string) => void lines.push(line),
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
}

const configured = (knobs: object, { plugin = 'good', secrets = '' } = {}): ReturnType<typeof configureFixture> =>
  configureFixture({ data, folder: join(shared, plugin), providers: { p: { knobs, secrets } } })

interface Started {
  provider: GuardedProvider
  states: ProviderStatus[]
  /** Resolves with the first status, now or later, that fits. */
  until(fits: (status: ProviderStatus) => boolean): Promise<ProviderStatus>
}

async function start(knobs: object, options: { plugin?: string; secrets?: string; pulse?: PulseTimes } = {}): Promise<Started> {
  const room = startPlugins({
    ...(await configured(knobs, options)),
    owner: 'me',
    fence: { epoch: () => 3, mayAct: () => mayAct },
    log,
    random: () => 0.01,
    ...(options.pulse === undefined ? {} : { pulse: options.pulse }),
    witness: (call) => {
      const seen = { ...call, code: 'open' as string }
      witnessed.push(seen)
      return { traceparent: call.traceparent ?? context, end: (code) => void (seen.code = code) }
    },
  })
  stops.push(() => room.stop())
  const provider = room.provider('p')
  const states: ProviderStatus[] = []
  const waiting = new Set<() => void>()
  room.onChange((status) => {
    states.push(status)
    for (const look of waiting) look()
  })
  return {
    provider,
    states,
    until: (fits) =>
      new Promise((resolve) => {
        const look = (): void => {
          const status = provider.status()
          if (!fits(status)) return
          waiting.delete(look)
          resolve(status)
        }
        waiting.add(look)
        look()
      }),
  }
}

const key = { idempotencyKey: 'k' }
const ready = (status: ProviderStatus): boolean => status.state === 'ready'

describe('a provider process', () => {
  it('that fell says when to ask again, and who it is', async () => {
    const room = startPlugins({
      ...(await configured({ create: 'exit' })),
      ...{ owner: 'me', fence: { epoch: () => 3, mayAct: () => true }, log },
      // It stands still: what is left of the pause is all of it.
      now: () => 1_000_000,
      random: () => 0.5,
    })
    stops.push(() => room.stop())
    await room.settled()
    const provider = room.provider('p')
    await expect(provider.list({ limit: 1 })).rejects.toMatchObject({ code: 'transient', retryAfterMs: 200, effect: 'none' })
    expect([provider.manifest.name, provider.capabilities]).toEqual([fixtureManifest.name, fixtureManifest.capabilities])
    expect(room.clean('p', 'a b')).toBe('a b')
    expect(room.clean('none', 'a b')).toBe('a b')
    expect(room.find('none')).toBeUndefined()
    expect(() => room.provider('none')).toThrow("no provider is named 'none'")
    await room.drop('none')
  })

  it('tells whoever listens of each change, and nobody who has left', async () => {
    const room = startPlugins({ ...(await configured({})), owner: 'me', fence: { epoch: () => 3, mayAct: () => true }, log })
    stops.push(() => room.stop())
    const [heard, left]: string[][] = [[], []]
    room.onChange(({ state }) => void left?.push(state))()
    room.onChange(({ state }) => void heard?.push(state))
    await room.settled()
    await waitFor('it to be ready', () => heard?.includes('ready') === true)
    expect(left).toEqual([])
  })

  it('becomes ready, answers, shows notes and facts, and ends with the room', async () => {
    const { provider, until } = await start({})
    const status = await until(ready)
    expect(status).toMatchObject({
      alias: 'fix',
      plugin: { name: '@muster-test/fixture', contract: '1.0' },
      level: 'L2',
      notes: ['a note'],
      breaker: 'closed',
      restarts: 0,
    })
    expect(await provider.launch(spec, key)).toMatchObject({ handle: { v: 1 } })
    await stops.pop()?.()
    expect(provider.status().state).toBe('stopped')
    expect(() => process.kill(Number(status.facts['pid']), 0)).toThrow(/ESRCH/)
  })

  it('gets no environment but what its manifest names', async () => {
    process.env['MUSTER_FIXTURE_GIVEN'] = '1'
    const { provider, until } = await start({ launch: 'env' })
    await until(ready)
    const { data } = (await provider.launch(spec, key)).handle
    // Node itself hands this one to every child, so that its coverage counts.
    const names = (data as { env: string[] }).env.filter((name) => name !== 'NODE_V8_COVERAGE')
    expect(names).toEqual(['MUSTER_FIXTURE_GIVEN'])
  })

  it('is degraded while its probe fails and ready when it does not', async () => {
    const { until, states } = await start({ probes: ['initialising', 'initialising', 'ready'] })
    await until(ready)
    expect(states.map((one) => one.state)).toEqual(['ready'])
    const down = await start({ probes: ['failed'] })
    expect(await down.until((status) => status.state === 'degraded')).toMatchObject({
      reason: 'the engine is down',
      hint: 'start it',
    })
  })

  it('is started again after it fell, and the calls in between fail with no effect', async () => {
    const { provider, until, states } = await start({ launch: 'exit', starts: join(data, 'starts') })
    await until(ready)
    await expect(provider.launch(spec, key)).rejects.toMatchObject({ code: 'internal', effect: 'possible' })
    await until((status) => status.state === 'degraded')
    await expect(provider.list({ limit: 1 })).rejects.toMatchObject({ code: 'transient', effect: 'none' })
    await until((status) => ready(status) && status.restarts === 1)
    expect((await readFile(join(data, 'starts'), 'utf8')).trim().split('\n')).toHaveLength(2)
    const fallen = states.find((one) => one.state === 'degraded')
    expect(fallen?.reason).toMatch(/ended by itself \(exit 9\)/)
    expect(JSON.parse(await readFile(join(data, fallen?.crashBundle ?? ''), 'utf8'))).toMatchObject({
      provider: 'p',
      exit: { code: 9 },
    })
  })

  it('is quarantined when it breaks the protocol', async () => {
    const { provider, until } = await start({ launch: 'garbage' })
    await until(ready)
    await expect(provider.launch(spec, key)).rejects.toMatchObject({ code: 'internal' })
    const status = await until((one) => one.state === 'quarantined')
    expect(status.reason).toMatch(/broke the protocol/)
    expect(status.hint).toMatch(/tried again at/)
    await expect(provider.list({ limit: 1 })).rejects.toMatchObject({ code: 'transient', effect: 'none' })
  })

  it.each([
    {
      name: 'refuses its configuration',
      knobs: { create: 'refuse' },
      state: 'failed',
      reason: /configure: .*the zone does not exist/,
      hint: 'use zone a',
    },
    {
      name: 'throws at its start',
      knobs: { create: 'throw' },
      state: 'degraded',
      reason: /configure: .*out of luck/,
      hint: undefined,
    },
    {
      name: 'exits at its start',
      knobs: { create: 'exit' },
      state: 'degraded',
      reason: /ended by itself \(exit 7\)/,
      hint: undefined,
    },
  ] as const)('that $name is said to', async ({ knobs, state, reason, hint }) => {
    const { until } = await start(knobs)
    const status = await until((one) => one.state === state)
    expect(status.reason).toMatch(reason)
    if (hint !== undefined) expect(status.hint).toBe(hint)
  })

  it('that describes itself otherwise than its manifest is given up', async () => {
    const { until, provider } = await start({}, { plugin: 'liar' })
    expect((await until((one) => one.state === 'failed')).reason).toMatch(/'capabilities.work' differs/)
    await expect(provider.list({ limit: 1 })).rejects.toMatchObject({ code: 'transient', effect: 'none' })
  })
})

describe('a process that stands', () => {
  const pulse = { everyMs: 100, silentMs: 300 }

  it('is told of long before its calls are past their deadlines, is not ended for it, and is ready once it answers', async () => {
    const { provider, until } = await start({ launch: 'hang' }, { pulse })
    const { pid = 0, restarts } = await until(ready)
    process.kill(pid, 'SIGSTOP')
    const failed = provider.list({ limit: 1 }, { timeoutMs: 60_000 })
    const silent = await until((status) => status.state === 'degraded')
    expect(silent.reason).toMatch(/^its process answers nothing since \d{4}-/)
    expect(silent).toMatchObject({ pid, oldestCall: { method: 'list' }, inFlight: 1, silentSince: expect.any(Number) as number })
    process.kill(pid, 'SIGCONT')
    const back = await until(ready)
    expect(await failed).toMatchObject({ workers: [] })
    expect(back).toMatchObject({ pid, restarts })
    expect(provider.status().silentSince).toBeUndefined()
  })

  it('is not one whose call lasts', async () => {
    const { provider, until, states } = await start({ launch: 'hang' }, { pulse })
    await until(ready)
    const stop = new AbortController()
    const failed = provider.launch(spec, { ...key, signal: stop.signal }).catch(() => undefined)
    await waitFor('an open launch', async () => provider.status().oldestCall?.method === 'launch')
    // paced: as many looks as make a silence, twice
    await new Promise((resolve) => setTimeout(resolve, 6 * pulse.everyMs))
    expect(provider.status().silentSince).toBeUndefined()
    expect(states.map(({ state }) => state)).toEqual(['ready'])
    stop.abort()
    await failed
  })
})

describe('the guard', () => {
  it('refuses to change anything when the term is too short, and still reads', async () => {
    const { provider, until } = await start({})
    await until(ready)
    mayAct = false
    await expect(provider.launch(spec, key)).rejects.toMatchObject({ code: 'cancelled', effect: 'none' })
    await expect(provider.terminate({ id: spec.id }, { graceMs: 0, force: false, reason: 'x' }, key)).rejects.toMatchObject({
      code: 'cancelled',
      effect: 'none',
    })
    expect(await provider.list({ limit: 1 })).toMatchObject({ workers: [] })
  })

  it('tells a witness of each call once: what was asked, how it ended, also when it was refused at the door', async () => {
    const { provider, until } = await start({ launch: 'auth' })
    await until((status) => status.state === 'ready')
    await provider.list({ limit: 1 })
    await provider
      .launch(spec, { idempotencyKey: 'k', attempt: 3, traceparent: context })
      .catch((error: unknown) => expect(error).toMatchObject({ code: 'auth' }))
    mayAct = false
    await provider.launch(spec, {}).catch((error: unknown) => expect(error).toMatchObject({ code: 'cancelled' }))
    const call = { provider: 'p', stream: false }
    expect(witnessed).toEqual([
      { ...call, method: 'list', attempt: 1, code: 'ok' },
      { ...call, method: 'launch', attempt: 3, traceparent: context, code: 'auth' },
      { ...call, method: 'launch', attempt: 1, code: 'cancelled' },
    ])
  })

  it('opens its breaker after plugin faults in a row, and no more calls reach the plugin', async () => {
    const { provider, until } = await start({ launch: 'throw' })
    await until(ready)
    for (let n = 0; n < 5; n++)
      await expect(provider.launch(spec, key)).rejects.toMatchObject({
        code: 'internal',
        message: expect.stringMatching(/a bug/),
      })
    await expect(provider.launch(spec, key)).rejects.toMatchObject({
      code: 'transient',
      effect: 'none',
      message: expect.stringMatching(/breaker is open/),
    })
    expect(provider.status().breaker).toBe('open')
  })

  it('settles at the deadline and at an abort, even when the plugin ignores both', async () => {
    const { provider, until } = await start({ launch: 'ignore' })
    await until(ready)
    await expect(provider.launch(spec, { ...key, timeoutMs: 50 })).rejects.toMatchObject({ code: 'deadline', effect: 'possible' })
    const abort = new AbortController()
    const call = provider.launch(spec, { ...key, signal: abort.signal })
    abort.abort()
    await expect(call).rejects.toMatchObject({ code: 'cancelled' })
  })

  it.each(['foreign', 'other-provider'])('does not let a plugin answer with workers that are %s', async (list) => {
    const { provider, until } = await start({ list })
    await until(ready)
    await expect(provider.list({ limit: 1 })).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringMatching(/of another/),
    })
  })

  it('keeps a secret out of errors, hints, lines and crash bundles', async () => {
    const secret = 'canary-5f2c9a'
    await writeFile(join(data, 'token'), `${secret}\n`)
    const { provider, until } = await start(
      { launch: 'secret' },
      { secrets: `, secrets: { token: { file: ${join(data, 'token')} } }` },
    )
    await until(ready)
    lines.length = 0
    const error: Error & { hint?: string } = await provider.launch(spec, key).then(
      () => expect.fail('it should fail'),
      (one: Error) => one,
    )
    expect(error.message).toMatch(/refused: \[secret\]/)
    expect(error.hint).toMatch(/other than \[secret\]/)
    process.kill(provider.status().pid ?? 0, 'SIGKILL')
    await until((one) => one.crashBundle !== undefined)
    expect(lines.join('\n')).toMatch(/the token is \[secret\]/)
    for (const name of await readdir(join(data, 'crashes'))) {
      const text = await readFile(join(data, 'crashes', name), 'utf8')
      expect(text).toMatch(/\[secret\]/)
      expect(text).not.toContain(secret)
      expect(text).not.toContain(Buffer.from(secret).toString('base64').replace(/=+$/, ''))
    }
  })

  it('keeps what a worker was given out of them as well, when the plugin prints its spec', async () => {
    const [value, file, ticket] = ['canary "env" \\ 5f2c9a', 'canary file 5f2c9a', 'canary-ticket-5f2c9a']
    const { provider, until } = await start({ launch: 'spill' })
    await until(ready)
    lines.length = 0
    const files = [{ path: 'f', base64: Buffer.from(file).toString('base64') }]
    const work = { mode: 'agent', ticket: { $secret: ticket }, url: 'http://127.0.0.1/' } as const
    const failed = provider.launch({ ...spec, work, files, env: { A: value } }, key)
    await expect(failed).rejects.toMatchObject({ message: expect.stringMatching(/cannot launch .*\[secret\]/) })
    await expect(failed).rejects.not.toMatchObject({ message: expect.stringMatching(/canary|Y2FuYXJ5/) })
    await waitFor('all that it printed', async () => lines.some((line) => line.startsWith('-----')))
    process.kill(provider.status().pid ?? 0, 'SIGKILL')
    const { crashBundle = '' } = await until((one) => one.crashBundle !== undefined)
    for (const text of [lines.join('\n'), await readFile(join(data, crashBundle), 'utf8')]) {
      expect(text).toMatch(/\[secret\]/)
      expect(text).not.toMatch(/canary|Y2FuYXJ5|5f2c9a/)
    }
  })

  it('makes a refused key a degraded provider, and asks the plugin again', async () => {
    const { provider, until, states } = await start({ launch: 'auth' })
    await until(ready)
    await expect(provider.launch(spec, key)).rejects.toMatchObject({ code: 'auth' })
    expect(states.at(-1)).toMatchObject({ state: 'degraded', reason: expect.stringMatching(/the key is refused/) })
    await until(ready)
  })
})

describe('checkPlugins', () => {
  it('says nothing against a good plugin and shows its notes', async () => {
    const starts = join(data, 'starts')
    const good = await configured({ starts })
    expect(await checkPlugins(good)).toEqual({ problems: [], notes: [{ provider: 'p', text: 'a note' }] })
    const pid = Number(await readFile(starts, 'utf8'))
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/)
  })

  it('says what to do where the plugin that refuses its config does not', async () => {
    const { problems } = await checkPlugins(await configured({ create: 'misfit' }))
    expect(problems).toMatchObject([{ fix: 'correct the config of this provider' }])
  })

  it('starts no plugin of a provider that is refused already', async () => {
    const wrong = await configured({ create: 'exit' })
    expect(await checkPlugins({ ...wrong, refused: ['p'] })).toEqual({ problems: [], notes: [] })
  })

  it.each([
    {
      name: 'cannot start',
      knobs: { create: 'exit' },
      plugin: 'good',
      wanted: /cannot start: configure: it ended by itself \(exit 7\)/,
    },
    { name: 'refuses its config', knobs: { create: 'refuse' }, plugin: 'good', wanted: /the zone does not exist/ },
    { name: 'lies', knobs: {}, plugin: 'liar', wanted: /describes itself otherwise/ },
    { name: 'has no engine', knobs: { probes: ['failed'] }, plugin: 'good', wanted: /is not usable: the engine is down/ },
  ])('finds a plugin that $name, at its provider', async ({ knobs, plugin, wanted }) => {
    const { problems } = await checkPlugins(await configured(knobs, { plugin }))
    expect(problems).toHaveLength(1)
    expect(problems[0]).toMatchObject({ line: 3, column: 3, reason: expect.stringMatching(wanted) })
  })
})
