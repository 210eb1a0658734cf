/** Two versions of one plugin beside each other in one daemon, each with a pool of its own. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { makeSite, patienceMs } from './faults/daemon.test.helper.ts'
import { gapIn, startCounting } from './faults/work.test.helper.ts'
import { lockHere } from './plugins/testing/lock.ts'
import { mirrorBuilt } from './plugins/testing/versions.ts'

test('two aliases of one package, in two versions, serve runs of two pools at once', { timeout: 300_000 }, async () => {
  await using shared = await tempFolder('two-versions')
  const mirror = join(shared.path, 'mirror')
  await mirrorBuilt(mirror, 'plugin-fake', [{ version: '1.0.0' }, { version: '2.0.0' }])
  const site = await makeSite(
    {
      providers: 'p: { plugin: older, config: {} }\nq: { plugin: newer, config: {} }',
      pools:
        'a: { placement: [p], worker: { work: hold, grace: 500ms } }\nb: { placement: [q], worker: { work: hold, grace: 500ms } }',
      plugins: {},
    },
    { counted: true },
  )
  try {
    const entry = (version: string): object => ({ package: '@muster/plugin-fake', version, source: { mirror } })
    const file = join(site.dir, 'plugins.json')
    await writeFile(file, JSON.stringify({ plugins: { older: entry('1.0.0'), newer: entry('2.0.0') } }))
    expect((await lockHere(file, { stores: [join(site.data, 'plugins')] })).problems).toEqual([])
    await site.start()
    await site.ready()
    const shown = await Promise.all(['p', 'q'].map((name) => site.client.providers.get(name)))
    expect(shown.map(({ plugin }) => plugin.version)).toEqual(['1.0.0', '2.0.0'])
    expect(new Set(shown.map(({ pid }) => pid)).size).toBe(2)

    const [one, other] = [await startCounting(site.client, 'a'), await startCounting(site.client, 'b')]
    const both = [one, other]
    await waitFor('output of both, while both go on', () => both.every((run) => run.seen() > 3), { timeoutMs: patienceMs })
    const states = await Promise.all(both.map(({ id }) => site.client.runs.get(id)))
    expect(states.map(({ state }) => state)).toEqual(['running', 'running'])
    const workers = (await site.client.workers.list()).items
    expect(workers.map(({ pool, provider }) => `${pool} ${provider}`).sort()).toEqual(['a p', 'b q'])
    for (const run of both) {
      await run.end()
      const { text, run: ended } = await run.done
      expect([gapIn(text), ended.exit?.code]).toEqual([undefined, 5])
    }
  } finally {
    await site.dispose()
  }
})
