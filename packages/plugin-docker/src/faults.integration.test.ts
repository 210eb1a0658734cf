/** What goes wrong at an engine or on the way to it: what each fault is called, that it may be repeated, and that nothing is doubled, lost or left. */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
// paced: an engine that is slow is under test.
import { setTimeout as sleep } from 'node:timers/promises'
import type { LaunchSpec } from '@muster/core'
import { type DockerEngine, findDocker, findStartDocker } from '@muster/test/systems/docker'
import { engineJson } from '@muster/test/systems/engine'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { callOf, createHarness, type Harness, readAll, tarOf } from './testing/harness.test.helper.ts'
import { cutAfter, type EngineProxy, startEngineProxy, type Tampering } from './testing/proxy.test.helper.ts'

const now = { graceMs: 0, force: true, reason: 'test' }
/** As a proxy answers for an engine that it does not reach. */
const plain = { status: 500, text: '<html>upstream is gone</html>' }
const passing = { code: 'transient', effect: 'none' }
const inDoubt = { code: 'transient', effect: 'possible' }

suiteWith(await findDocker(), 'a real engine behind trouble', (docker) => {
  let proxy: EngineProxy
  let harness: Harness
  beforeAll(async () => {
    proxy = await startEngineProxy(docker.socket)
    harness = await createHarness(docker.socket, { endpoint: { socketPath: proxy.socket } })
    // What is asked once in a provider's life is known: version and facts.
    await harness.provider.headroom(callOf())
  })
  afterEach(async () => {
    proxy.at = () => {}
    proxy.tamper = () => undefined
    await harness.clean()
  })
  afterAll(() => proxy.stop())

  /** The next request of this kind alone. */
  const once = (request: string, tampering: Tampering): void => {
    proxy.tamper = (seen) => {
      if (seen !== request) return undefined
      proxy.tamper = () => undefined
      return tampering
    }
  }
  const tags = (): { 'muster-owner': string; 'muster-provider': string } => ({
    'muster-owner': harness.owner,
    'muster-provider': 'docker',
  })
  const list = async (): Promise<string[]> =>
    (await harness.provider.list({ tags: tags(), limit: 500 }, callOf())).workers.map(({ id, phase }) => `${id} ${phase}`)
  const launched = async (spec: LaunchSpec = harness.hold()): Promise<LaunchSpec> => {
    await harness.provider.launch(spec, callOf())
    return spec
  }
  const terminate = (id: string): Promise<unknown> => harness.provider.terminate({ id }, now, callOf())
  /** A worker that tells how often it was begun. */
  const counted = (): LaunchSpec => harness.command('sh', '-c', 'echo begun; exit 4')
  /** The same spec again: one worker, begun once, and its end is right. */
  const repeats = async (spec: LaunchSpec): Promise<void> => {
    await harness.provider.launch(spec, callOf())
    expect(await harness.exit(spec.id)).toMatchObject({ code: 4 })
    expect(await harness.left()).toEqual([`/muster-${spec.id}`])
    expect((await readAll(harness.provider, spec.id)).stdout.toString()).toBe('begun\n')
  }

  describe('a launch that hears nonsense may have left something, and is repeated to one worker that began once', () => {
    test.each<[string, string, Tampering, number]>([
      ['plain words for its create, which the engine has not heard', 'POST /containers/create', { unheard: plain }, 0],
      ['plain words for its create, which the engine has done', 'POST /containers/create', { misheard: plain }, 1],
      ['half of the answer to its create', 'POST /containers/create', { body: cutAfter(10) }, 1],
      ['plain words for its start, which the engine has not heard', 'POST /containers/ID/start', { unheard: plain }, 1],
    ])('%s', async (...[, request, tampering, made]) => {
      const spec = counted()
      once(request, tampering)
      await expect(harness.provider.launch(spec, callOf())).rejects.toMatchObject(inDoubt)
      expect(await list()).toHaveLength(made)
      await repeats(spec)
    })

    test('plain words for its start, which the engine has done: it looks, and has launched', async () => {
      const spec = counted()
      once('POST /containers/ID/start', { misheard: plain })
      await expect(harness.provider.launch(spec, callOf())).resolves.toBeDefined()
      await repeats(spec)
    })
  })

  test.each<[string, Tampering, number]>([
    ['not heard of', { unheard: plain }, 1],
    ['done', { misheard: plain }, 0],
  ])(
    'a terminate that hears plain words for what the engine has %s is in doubt, and repeated',
    async (...[, tampering, left]) => {
      const { id } = await launched()
      once('DELETE /containers/ID', tampering)
      await expect(terminate(id)).rejects.toMatchObject(inDoubt)
      expect(await harness.left()).toHaveLength(left)
      expect(await terminate(id)).toEqual({ state: 'gone' })
      expect(await harness.left()).toEqual([])
    },
  )

  test('what only reads and hears nonsense is a passing trouble; never is half an answer taken for the whole', async () => {
    const spec = await launched()
    const { id } = spec
    const nonsense: Tampering[] = [{ unheard: plain }, { misheard: plain }, { body: cutAfter(1) }]
    for (const tampering of nonsense) {
      once('GET /containers/json', tampering)
      await expect(list()).rejects.toMatchObject(passing)
      once('GET /containers/ID/json', tampering)
      await expect(harness.observe(id)).rejects.toMatchObject(passing)
    }
    once('GET /containers/ID/archive', { body: cutAfter(700) })
    await expect(Array.fromAsync(harness.provider.copyOut({ id }, '/etc/passwd', callOf()))).rejects.toMatchObject(passing)
    once('PUT /containers/ID/archive', { misheard: plain })
    const copying = harness.provider.copyIn({ id }, { path: '/', tar: tarOf('in') }, callOf())
    await expect(copying).rejects.toMatchObject(inDoubt)
    expect(await list()).toEqual([`${id} running`])
  })

  test('a log that breaks in the middle of a line goes on from its cursor, each byte once', async () => {
    const lines = Array.from({ length: 500 }, (_, index) => `line ${index}\n`).join('')
    const spec = await launched(harness.command('sh', '-c', 'i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done'))
    await harness.exit(spec.id)
    let text = ''
    let cursor: string | undefined
    const read = async (): Promise<void> => {
      const options = { follow: true, ...(cursor === undefined ? {} : { cursor }) }
      for await (const chunk of harness.provider.logs({ id: spec.id }, options, callOf())) {
        text += Buffer.from(chunk.data).toString()
        cursor = chunk.cursor
      }
    }
    once('GET /containers/ID/logs', { body: cutAfter(4_001) })
    await expect(read()).rejects.toMatchObject(passing)
    expect(lines.startsWith(text)).toBe(true)
    await read()
    expect(text).toBe(lines)
  })

  test('events that are lost, and those of a time when nobody listened: list and the next watch tell it all', async () => {
    const [ends, removed, stays] = [
      await launched(harness.command('sh', '-c', 'until [ -e /go ]; do sleep 0.05; done; exit 6')),
      await launched(),
      await launched(),
    ]
    const gap = { open: false, swallowed: '', cut: false }
    const seen: string[] = []
    const watch = async (): Promise<void> => {
      for await (const { id, phase, exit } of harness.provider.watch({ tags: tags(), limit: 500 }, callOf()))
        seen.push(`${id} ${phase}${exit?.code === undefined ? '' : ` ${exit.code}`}`)
    }
    once('GET /events', {
      async *body(answer) {
        for await (const chunk of answer) {
          if (gap.open) gap.swallowed += chunk.toString()
          else yield gap.cut ? chunk.subarray(0, chunk.length / 2) : chunk
          if (gap.cut) throw new Error('the connection breaks')
        }
      },
    })
    const first = watch()
    first.catch(() => {})
    await waitFor('all three', () => [ends, removed, stays].every(({ id }) => seen.includes(`${id} running`)))
    gap.open = true
    await harness.provider.copyIn({ id: ends.id }, { path: '/', tar: tarOf('go') }, callOf())
    await engineJson(docker.socket, { method: 'DELETE', path: `/containers/muster-${removed.id}`, query: { force: '1' } })
    await waitFor('the lost events', () => gap.swallowed.includes('"die"') && gap.swallowed.includes('"destroy"'))
    await harness.exit(ends.id)
    // The watch has heard nothing, and the list knows.
    expect(seen).toHaveLength(3)
    expect(await list()).toEqual([`${ends.id} exited`, `${stays.id} running`].toSorted())
    expect(await harness.observe(removed.id)).toBeUndefined()
    Object.assign(gap, { open: false, cut: true })
    await harness.provider.suspend({ id: stays.id }, { keeps: 'memory' }, callOf())
    await expect(first).rejects.toMatchObject(passing)

    seen.length = 0
    const second = watch()
    second.catch(() => {})
    const whole = [`${ends.id} exited 6`, `${stays.id} suspended`].toSorted()
    await waitFor('the next watch', () => seen.toSorted(), { until: (told) => told.length >= whole.length })
    expect(seen.toSorted()).toEqual(whole)
  })

  test('a container that was removed by hand is nobody’s: calls say so, the lists leave it out, its end is no trouble', async () => {
    const { id } = await launched()
    const read = harness.exec(id, ['cat'], { stdin: true, input: never() })
    read.catch(() => {})
    await engineJson(docker.socket, { method: 'DELETE', path: `/containers/muster-${id}`, query: { force: '1' } })
    const absent = { code: 'not-found', effect: 'none' }
    await expect(harness.exec(id, ['true'])).rejects.toMatchObject(absent)
    await expect(readAll(harness.provider, id)).rejects.toMatchObject(absent)
    await expect(harness.provider.suspend({ id }, { keeps: 'memory' }, callOf())).rejects.toMatchObject(absent)
    expect([await list(), await harness.observe(id), await terminate(id)]).toEqual([[], undefined, { state: 'gone' }])
  })

  test('an engine that takes 5 s for each answer: calls wait, one that has no time may be repeated, nothing begins twice', async () => {
    const [spec, twice, hasty, held] = [counted(), counted(), counted(), await launched()]
    // paced: the slowness itself is under test; longer than any wait of the plugin's own that is for a sound engine.
    proxy.at = (moment) => (moment === 'after' ? sleep(5_000) : undefined)
    const call = () => callOf({ timeoutMs: 170_000 })
    const stranger = harness.another()
    await Promise.all([
      harness.provider.launch(spec, call()),
      // Neither knows of the other, and the engine is new to the second.
      Promise.all([harness.provider.launch(twice, call()), stranger.launch(twice, call())]),
      expect(harness.provider.launch(hasty, callOf({ timeoutMs: 3_000 }))).rejects.toMatchObject({
        ...{ code: 'deadline', effect: 'possible' },
      }),
      expect(harness.another().probe(call())).resolves.toMatchObject({ state: 'ready' }),
      expect(harness.provider.list({ tags: tags(), limit: 500 }, call())).resolves.toBeDefined(),
      expect(
        harness.provider.terminate({ id: held.id }, { ...now, graceMs: 20_000, force: false }, call()),
      ).resolves.toMatchObject({
        state: expect.stringMatching(/^(?:gone|terminating)$/) as string,
      }),
    ])
    proxy.at = () => {}
    await harness.gone(held.id, 0)
    await harness.provider.launch(hasty, callOf())
    for (const { id } of [spec, twice, hasty]) {
      expect(await harness.exit(id)).toMatchObject({ code: 4 })
      expect((await readAll(harness.provider, id)).stdout.toString()).toBe('begun\n')
    }
    expect(await harness.left()).toHaveLength(3)
  })
})

const MiB = 1024 * 1024

suiteWith(findStartDocker(), 'an engine whose disk is full', (start) => {
  let engine: DockerEngine
  let harness: Harness
  beforeAll(async () => {
    engine = await start({ diskBytes: 48 * MiB })
    harness = await createHarness(engine.socket)
  })
  afterAll(async () => {
    await harness.clean()
    await engine.stop()
    expect(await engine.traces()).toEqual([])
  })

  test('launches are `capacity` and leave nothing, what runs is seen and ends, and with room all is well again', async () => {
    const filler = join(engine.data, 'filler')
    const held = harness.hold()
    const ends = harness.command('sh', '-c', 'until [ -e /go ]; do sleep 0.05; done; exit 6')
    for (const spec of [held, ends]) await harness.provider.launch(spec, callOf())
    await expect(writeFile(filler, Buffer.alloc(48 * MiB))).rejects.toMatchObject({ code: 'ENOSPC' })

    const full = { code: 'capacity', effect: 'none', hint: expect.stringContaining('docker system df') as string }
    const [first, second] = [harness.command('true'), harness.hold()]
    for (const spec of [first, second]) await expect(harness.provider.launch(spec, callOf())).rejects.toMatchObject(full)
    expect((await harness.left()).toSorted()).toEqual([held, ends].map(({ id }) => `/muster-${id}`).toSorted())
    expect(await harness.observe(held.id)).toMatchObject({ phase: 'running', ready: true })
    const big = { path: '/big', tar: tarOf('big', MiB) }
    await expect(harness.provider.copyIn({ id: held.id }, big, callOf())).rejects.toMatchObject({ code: 'capacity' })
    await expect(harness.exec(held.id, ['true'])).rejects.toMatchObject(passing)
    await harness.gone(held.id, 600_000)
    expect(await harness.left()).toEqual([`/muster-${ends.id}`])

    await rm(filler)
    await harness.provider.launch(second, callOf())
    expect(await harness.exec(second.id, ['echo', 'room'])).toMatchObject({ exit: { code: 0 }, stdout: 'room\n' })
    await harness.provider.copyIn({ id: ends.id }, { path: '/', tar: tarOf('go') }, callOf())
    expect(await harness.exit(ends.id)).toMatchObject({ code: 6 })
  })
})

/** An input that stays open. */
async function* never(): AsyncGenerator<Uint8Array> {
  yield Buffer.from('x')
  await new Promise(() => {})
}
