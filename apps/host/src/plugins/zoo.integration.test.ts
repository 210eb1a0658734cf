/** The hostile zoo: a daemon with one plugin for each fault, all at once, and runs of a good pool beside them. */
import { readFileSync } from 'node:fs'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Provider } from '@muster/client'
import { requireSystem, root } from '@muster/test/require'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeSite, patienceMs, type Site } from '../faults/daemon.test.helper.ts'
import { lockHere } from './testing/lock.ts'
import { bundledAnimal, letLoose, packedAnimal } from './testing/zoo/cage.ts'
import { type Fate, type Fault, faults } from './testing/zoo/faults.ts'

const isRoot = process.getuid?.() === 0
const fateOf = (name: Fault): Fate => faults[name]
const all = Object.keys(faults) as Fault[]
/** What nothing is done against without root would end this daemon. */
const names = all.filter((name) => isRoot || fateOf(name).root !== true)
/** As many as providers, and of no other process. */
const users = { from: 1_200_000_000 + (process.pid % 1_000_000) * 100, to: 1_200_000_099 + (process.pid % 1_000_000) * 100 }
const secret = 'Hunter-2-is-secret'

let site: Site
let found: Map<string, Provider>
let runsBeside: string[]

beforeAll(async () => {
  site = await makeSite({
    providers: [
      'good: { plugin: fake, config: {} }',
      ...names.map((name) => `${name}: { plugin: ${name}, config: {}, secrets: { token: { file: token } } }`),
    ].join('\n'),
    pools: ['good: { placement: [good], scale: { max: 20 } }', ...names.map((name) => `${name}: { placement: [${name}] }`)].join(
      '\n',
    ),
    plugins: { fake: 'plugin-fake' },
    host: `isolation: { users: ${JSON.stringify(users)} }`,
  })
  await chmod(site.dir, 0o711)
  await writeFile(join(site.dir, 'token'), secret)
  await lockZoo(site)
  await site.start()
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
}, 400_000)
afterAll(() => site.dispose())

/** Each a packed package, vouched for by the lock. */
async function lockZoo({ dir, data }: Site): Promise<void> {
  const code = await bundledAnimal()
  await mkdir(join(dir, 'zoo'))
  const file = join(dir, 'plugins.json')
  const { plugins } = JSON.parse(readFileSync(file, 'utf8')) as { plugins: Record<string, object> }
  for (const name of names) {
    const tarball = join(dir, 'zoo', `${name}.tgz`)
    await writeFile(tarball, await packedAnimal(name, code))
    plugins[name] = { package: `@zoo/${name}`, version: '1.0.0', source: { tarball } }
  }
  await writeFile(file, JSON.stringify({ plugins }))
  const { problems } = await lockHere(file, { stores: [join(data, 'plugins')] })
  expect(problems).toEqual([])
}

function isOver({ name, state, reason, facts }: Provider): boolean {
  const fate: Fate | undefined = faults[name as Fault]
  if (fate === undefined || state !== fate.state) return false
  if (fate.reason !== undefined && !fate.reason.test(reason ?? '')) return false
  return fate.outcome === undefined || fate.outcome.test(facts['outcome'] ?? '')
}

test('nobody waits for any of them: runs of another pool pass while all are at it', () => {
  expect(runsBeside).toEqual(runsBeside.map(() => 'passed'))
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

describe('without the defence its harm is real: a plugin that', () => {
  const refused = ['ERR_ACCESS_DENIED', 'ERR_UNKNOWN_BUILTIN_MODULE', 'EPERM']
  const tries = names.filter((name) => refused.some((code) => fateOf(name).outcome?.test(code) === true))
  test.each(tries.map((name) => ({ name, ...fateOf(name) })))('$does', async ({ name }) => {
    expect(await letLoose(name)).toMatch(/^done: /)
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

test('what only a user of its own keeps it from is tried under root', async (context) => {
  await requireSystem(context, root)
  expect(names).toEqual(all)
  expect(site.output()).not.toContain('EACCES')
})
