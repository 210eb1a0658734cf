import type { LaunchSpec } from '@muster/core'
import { findDocker } from '@muster/test/systems/docker'
import { ensureImage } from '@muster/test/systems/images'
import { inventoryOf } from '@muster/test/systems/inventory'
import { suiteWith } from '@muster/test/systems/presence'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createEngine, type Engine, type EngineRequest } from '../client.ts'
import { busybox, callOf, createHarness, type Harness } from '../testing/harness.test.helper.ts'
import { rulesOf } from '../rules.ts'
import { mapWide } from './turns.ts'

/** An engine that hears nothing more of us after so many changes: all that a death of the plugin's process leaves. */
function mortal(engine: Engine, changes: number): { engine: Engine; requests: string[] } {
  const requests: string[] = []
  const live = async <T>(request: EngineRequest, ask: () => Promise<T>): Promise<T> => {
    if (requests.length >= changes) throw new Error('the process has died')
    const answer = await ask()
    if (request.method !== 'GET' && request.method !== 'HEAD') requests.push(`${request.method} ${request.path}`)
    if (requests.length >= changes) throw new Error('the process died with this answer')
    return answer
  }
  return {
    requests,
    engine: {
      ...engine,
      json: <T>(request: EngineRequest) => live(request, () => engine.json<T>(request)),
      stream: (request) => live(request, () => engine.stream(request)),
      hijack: (request) => live(request, () => engine.hijack(request)),
    },
  }
}

suiteWith(await findDocker(), 'a worker with a network, rules, a service, a cache and a volume', (docker) => {
  let harness: Harness
  let engine: Engine
  beforeAll(async () => {
    const firewall = { image: await ensureImage(docker.socket, 'firewall') }
    harness = await createHarness(docker.socket, { rules: rulesOf({ firewall }, docker.socket) })
    engine = createEngine({ socketPath: docker.socket })
  })
  afterAll(async () => {
    engine.close()
    await harness.clean()
  })

  let caches = 0
  const rich = (): LaunchSpec => {
    const cache = `cache-${++caches}`
    return harness.hold({
      network: { egress: 'restricted' },
      services: [{ name: 'beside', image: busybox, command: ['sleep', '1000'] }],
      mounts: ['own', cache].map((name) => ({ target: `/${name}`, source: { kind: 'volume', name } })),
      settings: { volumes: { [cache]: { shared: true, lock: 'exclusive', maxAgeMs: 1 } } },
    })
  }
  /** Each number below `end`, several at once: most of the time is the engine's. */
  const each = (end: number, work: (after: number) => Promise<void>): Promise<void[]> =>
    mapWide(
      Array.from({ length: end - 1 }, (_, index) => index + 1),
      4,
      work,
    )
  const how = { graceMs: 0, force: false, reason: 'test' }
  const left = (id: string): Promise<string[]> =>
    inventoryOf(docker.socket, [`muster-owner=${harness.owner}`, `muster-worker=${id}`])
  const listed = async ({ tags }: LaunchSpec): Promise<string[]> =>
    (await harness.provider.list({ tags, limit: 500 }, callOf())).workers.map(({ id }) => id)

  /** Every change of one undisturbed `work`. */
  async function changesOf(work: (engine: Engine) => Promise<unknown>): Promise<number> {
    const watched = mortal(engine, Number.POSITIVE_INFINITY)
    await work(watched.engine)
    return watched.requests.length
  }

  test('whose launch dies after any change is listed, and goes whole or is repeated to its end', async () => {
    const first = rich()
    const changes = await changesOf((on) => harness.another(on).launch(first, callOf()))
    expect((await left(first.id)).length).toBeGreaterThan(6)
    await harness.gone(first.id, 0)
    expect(await left(first.id)).toEqual([])
    await each(changes, async (after) => {
      const spec = rich()
      await expect(harness.another(mortal(engine, after).engine).launch(spec, callOf())).rejects.toBeDefined()
      expect({ after, listed: (await listed(spec)).includes(spec.id) }).toEqual({ after, listed: true })
      // Every third is repeated: a launch costs more than what it proves each time.
      if (after % 3 === 0) {
        await harness.another().launch(spec, callOf())
        expect(await harness.phase(spec.id)).toBe('running')
      }
      await harness.gone(spec.id, 0)
      expect({ after, left: await left(spec.id) }).toEqual({ after, left: [] })
    })
  })

  test('whose end dies after any change is listed until nothing of it is left', async () => {
    const make = async (): Promise<LaunchSpec> => {
      const spec = rich()
      await harness.provider.launch(spec, callOf())
      return spec
    }
    const first = await make()
    const changes = await changesOf((on) => harness.another(on).terminate({ id: first.id }, how, callOf()))
    expect(changes).toBeGreaterThan(4)
    await each(changes, async (after) => {
      const spec = await make()
      await expect(harness.another(mortal(engine, after).engine).terminate({ id: spec.id }, how, callOf())).rejects.toBeDefined()
      const there = (await left(spec.id)).length > 0
      expect({ after, listed: (await listed(spec)).includes(spec.id) }).toEqual({ after, listed: there })
      await harness.gone(spec.id, 0)
      expect({ after, left: await left(spec.id) }).toEqual({ after, left: [] })
    })
    expect(await inventoryOf(docker.socket, [`muster-owner=${harness.owner}`, 'muster-worker'])).toEqual([])
  })
})
