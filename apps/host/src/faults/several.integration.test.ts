/** Several engines as several providers of one host, one engine of them twice: a pool falls over between them, and nobody's worker is taken for another's. */
import { type DockerEngine, findDocker, startDocker } from '@muster/test/systems/docker'
import { engineJson } from '@muster/test/systems/engine'
import { ensureImage } from '@muster/test/systems/images'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { makeSite, patienceMs, type Site } from './daemon.test.helper.ts'
import { type Counting, gapIn, startCounting } from './work.test.helper.ts'

suiteWith(await findDocker(), 'two engines under three providers', ({ socket }) => {
  let engine: DockerEngine
  let site: Site
  beforeAll(async () => {
    engine = await startDocker({ args: ['--live-restore'] })
    const image = await ensureImage(engine.socket, 'busybox')
    await ensureImage(socket, 'busybox')
    const provider = (path: string): string => `{ plugin: docker, config: { socket: ${path} } }`
    const worker = `worker: { work: hold, grace: 500ms, image: "${image}" }, scale: { max: 20 }`
    site = await makeSite({
      providers: `first: ${provider(engine.socket)}\nsecond: ${provider(socket)}\nagain: ${provider(socket)}`,
      pools: `over: { placement: [first, second], ${worker} }\nback: { placement: [again, first], ${worker} }`,
      plugins: { docker: 'plugin-docker' },
      host: 'reconcile: 1s\norphanGrace: 500ms',
    })
    await site.start()
    await site.ready()
  })
  afterAll(async () => {
    await site.dispose()
    await engine.stop()
    expect(await engine.traces()).toEqual([])
  })

  const start = (pool: string, count: number): Promise<Counting[]> =>
    Promise.all(Array.from({ length: count }, () => startCounting(site.client, pool)))
  const records = async (): Promise<string[]> =>
    (await site.client.workers.list({ limit: 100 })).items.map(({ id, provider }) => `${provider} ${id}`).toSorted()
  let owner = ''
  const existing = async (): Promise<string[]> => {
    const there: string[] = []
    for (const at of [engine.socket, socket]) {
      const filters = JSON.stringify({ label: [owner === '' ? 'muster-owner' : `muster-owner=${owner}`] })
      const query = { all: '1', filters }
      for (const { Labels } of await engineJson<{ Labels: Record<string, string> }[]>(at, { path: '/containers/json', query })) {
        // The private engine comes first, and has nobody else's.
        owner ||= Labels['muster-owner'] ?? ''
        there.push(`${at === engine.socket ? 'first' : Labels['muster-provider']} ${Labels['muster-worker']}`)
      }
    }
    return there.toSorted()
  }
  const placed = async (): Promise<Record<string, number>> => {
    const count: Record<string, number> = {}
    for (const line of await records()) count[line.split(' ')[0] ?? ''] = (count[line.split(' ')[0] ?? ''] ?? 0) + 1
    return count
  }
  const go = (all: readonly Counting[]): Promise<unknown> => {
    const seen = all.map((one) => one.seen())
    return waitFor('every run to write', () => all.every((one, index) => one.seen() > (seen[index] ?? 0) + 2), {
      timeoutMs: patienceMs,
    })
  }

  it(
    'a pool goes to the next engine while its first one is away, and back; each worker stays its engine’s',
    { timeout: 600_000 },
    async () => {
      const all = [...(await start('over', 2)), ...(await start('back', 1))]
      await go(all)
      expect(await placed()).toEqual({ first: 2, again: 1 })
      expect(await existing()).toEqual(await records())

      await engine.halt()
      const state = async (): Promise<string> => (await site.client.providers.get('first')).state
      await waitFor('its provider to tell', state, { until: (told) => told === 'degraded', timeoutMs: patienceMs })
      const before = await records()
      const meanwhile = await start('over', 2)
      await go([...meanwhile, ...all.slice(2)])
      expect(await placed()).toEqual({ first: 2, second: 2, again: 1 })
      // Nobody looks at the engine that is away and takes its workers for gone, nor those of the others for its own.
      await site.client.providers.reconcile('first').catch(() => undefined)
      for (const name of ['second', 'again']) await site.client.providers.reconcile(name)
      expect((await records()).filter((line) => before.includes(line))).toEqual(before)

      await engine.start()
      await site.ready()
      const after = await start('over', 1)
      await go([...all, ...meanwhile, ...after])
      expect(await placed()).toEqual({ first: 3, second: 2, again: 1 })
      expect(await existing()).toEqual(await records())

      const runs = [...all, ...meanwhile, ...after]
      await Promise.all(runs.map((one) => one.end()))
      for (const { done } of runs) {
        const { run, text } = await done
        expect(run).toMatchObject({ outcome: 'failed', exit: { code: 5 } })
        expect(gapIn(text)).toBeUndefined()
      }
      await waitFor('no worker to be left', records, { until: (left) => left.length === 0, timeoutMs: patienceMs })
      expect(await existing()).toEqual([])
    },
  )
})
