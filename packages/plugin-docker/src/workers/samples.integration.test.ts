import type { LaunchSpec, WorkerId, WorkerStats } from '@muster/core'
import { findDocker } from '@muster/test/systems/docker'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createEngine, type Engine, type EngineRequest } from '../client.ts'
import { callOf, createHarness, type Harness, tarOf } from '../testing/harness.test.helper.ts'
import type { DockerProvider } from '../provider.ts'

const MiB = 1024 * 1024

suiteWith(await findDocker(), 'what workers use, by the streams of a real engine', (docker) => {
  let harness: Harness
  beforeAll(async () => {
    harness = await createHarness(docker.socket)
  })
  afterAll(() => harness.clean())

  const launched = async (spec: LaunchSpec): Promise<WorkerId> => {
    await harness.provider.launch(spec, callOf())
    return spec.id
  }

  /** All samples so far, until it is left. */
  function sampling(provider: DockerProvider): { seen: WorkerStats[]; of(id: WorkerId): WorkerStats[]; leave(): Promise<void> } {
    const over = new AbortController()
    const seen: WorkerStats[] = []
    const tags = { 'muster-owner': harness.owner, 'muster-provider': 'docker' }
    const reading = (async () => {
      for await (const one of provider.stats({ tags, everyMs: 500 }, callOf({ signal: over.signal }))) seen.push(one)
    })()
    reading.catch(() => undefined)
    return {
      seen,
      of: (id) => seen.filter((one) => one.id === id),
      async leave() {
        over.abort()
        await expect(reading).rejects.toMatchObject({ code: 'cancelled', effect: 'none' })
      },
    }
  }

  /** Every request to the engine; a body of samples may be broken off after the first one. */
  function counting(broken = 0): { engine: Engine; asked: string[] } {
    const engine = createEngine({ socketPath: docker.socket })
    const asked: string[] = []
    let left = broken
    const note = ({ method, path }: EngineRequest): void => void asked.push(`${method} ${path.replace(/muster-\w+/, 'ID')}`)
    return {
      asked,
      engine: {
        ...engine,
        json: (request) => (note(request), engine.json(request)),
        async stream(request) {
          note(request)
          const reply = await engine.stream(request)
          if (request.path.endsWith('/stats') && left-- > 0) reply.once('data', () => setImmediate(() => reply.destroy()))
          return reply
        },
      },
    }
  }

  test('one stream a worker, and no question for any sample, however many come', async () => {
    const busy =
      'x=$(head -c 20000000 /dev/zero | tr "\\0" x); dd if=/dev/zero of=/f bs=1M count=8 conv=fsync 2>/dev/null; while :; do :; done'
    const early = await launched(harness.command('sh', '-c', busy))
    const { engine, asked } = counting()
    const provider = harness.another(engine)
    const samples = sampling(provider)
    await waitFor('the first sample', () => samples.of(early)[0])
    const late = await launched(harness.hold({ network: { egress: 'full' } }))
    await waitFor('samples of both', () => samples.of(early).length >= 4 && samples.of(late).length >= 3)
    const streams = asked.filter((one) => !one.endsWith('/events') && one !== 'GET /containers/json')
    expect(streams).toEqual(['GET /containers/ID/stats', 'GET /containers/ID/stats'])
    expect(asked).toHaveLength(4)
    const grown = await waitFor('the memory', () => samples.of(early).find((one) => one.memoryBytes > 20_000_000))
    expect(grown).toMatchObject({ pids: expect.any(Number) as number, network: { receivedBytes: expect.any(Number) as number } })
    expect(grown?.memoryPeakBytes).toBeGreaterThanOrEqual(grown?.memoryBytes ?? Infinity)
    const [first, ...rest] = samples.of(early)
    expect(rest.at(-1)?.cpuSeconds).toBeGreaterThan(first?.cpuSeconds ?? Infinity)
    await waitFor('what it wrote', () => (samples.of(early).at(-1)?.disk?.writtenBytes ?? 8 * MiB) >= 8 * MiB)
    // A worker's end ends its stream: the engine would go on to say nothing of it, once a second.
    await harness.gone(early, 0)
    const [told, others] = [samples.of(early).length, samples.of(late).length]
    await waitFor('more of the other', () => samples.of(late).length >= others + 3)
    expect(samples.of(early).length - told).toBeLessThanOrEqual(1)
    await samples.leave()
    engine.close()
    // Nobody looks at it any more.
    expect(await harness.observe(late)).toMatchObject({ phase: 'running' })
    await harness.gone(late, 0)
  })

  test('a stream that breaks off is opened again while its worker runs; a suspended worker is told of too', async () => {
    const id = await launched(harness.hold())
    const { engine, asked } = counting(1)
    const samples = sampling(harness.another(engine))
    await waitFor('samples of two streams', () => samples.of(id).length >= 3)
    expect(asked.filter((one) => one.endsWith('/stats')).length).toBe(2)
    await harness.provider.suspend({ id }, { keeps: 'memory' }, callOf())
    const held = samples.of(id).length
    await waitFor('samples of a suspended worker', () => samples.of(id).length >= held + 2)
    await samples.leave()
    engine.close()
    await harness.gone(id, 0)
  })

  test('who runs out of memory is told the limit and the last known peak, and every exit has its peak', async () => {
    const samples = sampling(harness.provider)
    const script = 'x=$(head -c 12000000 /dev/zero | tr "\\0" x); while ! test -e /go; do sleep 0.1; done; $0 "$@"'
    const made = (...last: string[]): LaunchSpec =>
      harness.spec({
        work: { mode: 'command', command: ['sh', '-c', script, ...last] },
        resources: { memoryBytes: 48 * MiB },
      })
    const [hungry, content] = [await launched(made('tail', '/dev/zero')), await launched(made('true'))]
    for (const id of [hungry, content]) {
      await waitFor('its memory', () => samples.of(id).find((one) => one.memoryBytes > 12_000_000))
      await harness.provider.copyIn({ id }, { path: '/', tar: tarOf('go') }, callOf())
    }
    const { reason, memoryPeakBytes: peak = 0, ...exit } = await harness.exit(hungry)
    expect(exit).toMatchObject({ oomKilled: true })
    expect(reason).toBe(`out of memory: it reached its limit of ${48 * MiB} bytes; its last known peak is ${peak} bytes`)
    const sound = await harness.exit(content)
    expect(sound).toMatchObject({ code: 0, reason: 'exited with code 0' })
    for (const most of [peak, sound.memoryPeakBytes ?? 0]) {
      expect(most).toBeGreaterThan(12_000_000)
      expect(most).toBeLessThanOrEqual(48 * MiB)
    }
    await samples.leave()
    await harness.gone(hungry, 0)
    await harness.gone(content, 0)
  })
})
