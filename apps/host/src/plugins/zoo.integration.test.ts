/** The hostile zoo: a daemon with one plugin for each fault, all at once, and runs of a good pool beside them. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Provider } from '@muster/client'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { patienceMs, type Site } from '../faults/daemon.test.helper.ts'
import { type Family, readExposition, sampleOf } from '../observe/testing/exposition.ts'
import { type Fate, type Fault, faults } from './testing/zoo/faults.ts'
import { type Fence, findFence } from './testing/zoo/fence.ts'
import { makeZoo } from './testing/zoo/site.ts'

const fateOf = (name: Fault): Fate => faults[name]
const names = Object.keys(faults) as Fault[]
const secret = 'Hunter-2-is-secret'
/** What is taken in one turn, and the last read, which goes beyond it: Node gives a socket 64 KiB. */
const mostInTurn = (256 + 64) * 1024

function isOver({ name, state, reason, facts }: Provider): boolean {
  const fate: Fate | undefined = faults[name as Fault]
  if (fate === undefined) return false
  if (state !== fate.state) return false
  if (fate.reason !== undefined && !fate.reason.test(reason ?? '')) return false
  return fate.outcome === undefined || fate.outcome.test(facts['outcome'] ?? '')
}

suiteWith(await findFence(), 'a daemon with all of them', (openFence) => {
  let site: Site
  let found: Map<string, Provider>
  let runsBeside: string[]
  let fence: Fence
  /** What the daemon counted, until all had come to their ends. */
  let counted: Map<string, Family>

  beforeAll(async () => {
    site = await makeZoo(names, { token: secret, host: 'metrics: { listen: "127.0.0.1:0" }' })
    fence = await openFence()
    const daemon = await site.start()
    await fence.take(daemon.pid)
    const { client } = site
    await waitFor('the API', () => client.version(), { timeoutMs: patienceMs })
    // While all of them are at it.
    runsBeside = await Promise.all(
      Array.from({ length: 60 }, async () => {
        const { id } = await client.runs.create({ pool: 'good', command: ['sh', '-c', 'echo fine'] })
        return (await client.runs.wait(id)).outcome ?? 'none'
      }),
    )
    found = new Map()
    await waitFor(
      'each to have come to its end',
      async () => {
        for (const provider of await client.providers.list()) if (isOver(provider)) found.set(provider.name, provider)
        return names.filter((name) => !found.has(name))
      },
      { until: (left) => left.length === 0, timeoutMs: patienceMs, everyMs: 100 },
    ).catch(() => undefined)
    const url = /"url":"(http:[^"]+\/metrics)"/.exec(site.output())?.[1] ?? ''
    counted = readExposition(await (await fetch(url)).text())
  }, 400_000)
  afterAll(async () => {
    await site.dispose()
    await fence.drop()
  })

  test('nobody waits for any of them: runs of another pool pass while all are at it, and no call of theirs waits for one of another', () => {
    expect(runsBeside).toEqual(runsBeside.map(() => 'passed'))
    const samples = (name: string): Family['samples'] => counted.get(name)?.samples ?? []
    const calls = samples('muster_provider_calls_total').filter(({ labels }) => labels['provider'] === 'good')
    expect(calls.reduce((sum, { value }) => sum + value, 0)).toBeGreaterThan(2 * runsBeside.length)
    // Neither these nor those of the zoo itself.
    expect(samples('muster_provider_calls_waited_total').filter(({ labels }) => labels['reason'] === 'others')).toEqual([])
  })

  test('the event loop of the host stands still for none of them: what one turn takes of one plugin is bounded', () => {
    const most = (what: 'bytes' | 'frames', provider: string): number =>
      sampleOf(counted, `muster_provider_turn_${what}`, { provider }) ?? Number.NaN
    for (const name of ['good', ...names]) expect(most('bytes', name)).toBeLessThanOrEqual(mostInTurn)
    // It came to the bound.
    expect(most('bytes', 'floods-its-wire')).toBeGreaterThan(mostInTurn / 2)
    expect(most('frames', 'floods-its-wire')).toBeGreaterThan(1000)
  })

  describe('a plugin that', () => {
    test.each(names.map((name) => ({ name, ...fateOf(name) })))('$does', async ({ name, state, reason, outcome }) => {
      const provider = found.get(name) ?? (await site.client.providers.get(name))
      expect(provider).toMatchObject({
        state,
        ...(reason === undefined ? {} : { reason: expect.stringMatching(reason) }),
        ...(outcome === undefined ? {} : { facts: { outcome: expect.stringMatching(outcome) } }),
      })
    })
  })

  test('the host is the one that was started, and answers', async () => {
    const { pid } = JSON.parse(readFileSync(join(site.data, 'endpoint.json'), 'utf8')) as { pid: number }
    const { id } = await site.client.runs.create({ pool: 'good', command: ['sh', '-c', 'exit 3'] })
    expect((await site.client.runs.wait(id)).exit?.code).toBe(3)
    expect(
      site
        .output()
        .split('\n')
        .filter((line) => line.includes('"msg":"ready"')),
    ).toHaveLength(1)
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toContain('muster')
  })

  test('what they say is clean: no secret, no control character, no end of it', async () => {
    const said = JSON.stringify([await site.client.providers.list(), site.output()])
    expect(said).not.toContain(secret)
    const shown = await site.client.providers.get('says-what-it-may-not')
    expect(`${shown.reason}${shown.hint}`).not.toMatch(/[\p{Cc}]/u)
    expect(shown.hint?.length).toBeLessThan(2000)
  })

  test('none of them takes a file from the host', () => {
    expect(site.output()).not.toContain('EACCES')
  })
})
