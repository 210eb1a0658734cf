/** What a plugin under development may be attached as, and that it always ends. */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { describe, expect, it } from 'vitest'
import { parseConfig } from './config/load.ts'
import type { Problem } from './config/problem.ts'
import { devOf, type Dev } from './dev.ts'
import { type DevAsked, devFile, type DevKept, type DevPart, readDev, withDev } from './dev-parts.ts'
import type { ProviderStatus } from './plugins/api.ts'
import { pluginFiles } from './plugins/testing/pack.ts'
import type { Staged, Wanted } from './plugins/room.ts'
import { openRunning, type RunningState } from './running.ts'

interface Site extends AsyncDisposable {
  dev: Dev
  running: RunningState
  path: string
  asked(change?: Partial<DevAsked>): DevAsked
  /** What the engine goes by, one text for each change. */
  configured: string[]
  /** Lets the time of the next deadline come. */
  later(): Promise<void>
  /** Names of conditions now. */
  conditions: Set<string>
  kept(): Promise<string[]>
  /** What starting the next process leads to. */
  staged: Partial<Staged> | { problems: Problem[] }
  fails: Error | undefined
  /** Names of providers with live workers. */
  working: Set<string>
  /** The last worker of what is leaving goes, and its provider with it. */
  emptied(): Promise<void>
}

interface Before {
  parts?: readonly DevPart[]
  unopened?: readonly DevKept[]
}

const on = { development: true }
const none: ReadonlySet<string> = new Set()

async function openSite(host: object = on, { parts, unopened = [] }: Before = {}): Promise<Site> {
  const temp = await tempFolder('dev')
  const path = temp.path
  for (const [name, body = ''] of pluginFiles()) {
    const file = join(path, name as string)
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, body)
  }
  const { config } = parseConfig(
    join(path, 'muster.yaml'),
    JSON.stringify({ host: { data: 'data', ...host }, providers: { 'dev-own': { plugin: 'x' } }, pools: {} }),
  )
  if (config === undefined) throw new Error('a wrong configuration')
  const running = openRunning({ config, discovery: { plugins: [], aliases: [], problems: [] }, written: {} }, parts)
  let now = Date.parse('2026-01-01T00:00:00Z')
  let next: { at: number; run(): void } | undefined
  const leaving = new Set<string>()
  const listeners = new Set<(status: ProviderStatus) => void>()
  let named = new Set(parts?.map((one) => one.asked.name))
  const site: Omit<Site, 'dev'> = {
    running,
    path,
    configured: [],
    conditions: new Set(),
    staged: {},
    fails: undefined,
    working: new Set(),
    async emptied() {
      const gone = [...leaving]
      leaving.clear()
      for (const name of gone) for (const listener of listeners) listener({ name, state: 'stopped' } as ProviderStatus)
      await running.inTurn(async () => undefined)
    },
    asked: (change) => ({
      name: 'dev-shed',
      folder: join(path, 'package'),
      until: now + 3_600_000,
      provider: {},
      pool: {},
      ...change,
    }),
    async later() {
      if (next === undefined) return
      now = next.at
      next.run()
      await running.inTurn(async () => undefined)
    },
    async kept() {
      const text = await readFile(devFile(config.data), 'utf8').catch(() => '[]')
      return (JSON.parse(text) as DevKept[]).map(({ name, ending }) => (ending === true ? `${name} ending` : name))
    },
    async [Symbol.asyncDispose]() {
      await temp[Symbol.asyncDispose]()
    },
  }
  const dev = devOf({
    running,
    file: devFile(config.data),
    unopened,
    isWorking: async (name) => site.working.has(name),
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
    plugins: {
      stage: async ({ config: next }: Wanted) => {
        if ('problems' in site.staged) return site.staged
        const commit = (): void => {
          const now = new Set(next.providers.map((one) => one.name))
          for (const name of named) if (!now.has(name)) leaving.add(name)
          for (const name of now) leaving.delete(name)
          named = now
        }
        return { candidates: [], revived: [], commit, discard: async () => undefined, ...site.staged }
      },
      leaving: () => [...leaving],
      onChange: (listener) => {
        listeners.add(listener)
        return () => void listeners.delete(listener)
      },
    },
    engine: {
      configure: async ({ pools, urls }, { principal, commit }) => {
        if (site.fails !== undefined) throw site.fails
        site.configured.push(`${principal}: ${pools.map((one) => one.name).join()} ${Object.keys(urls ?? {}).join()}`)
        commit()
      },
      upgrades: {
        hasLive: () => true,
        account: async () => ({ known: [], lost: [{ worker: 'w1', why: 'it does not know it' }] }),
        acknowledge: async () => [],
        switch: async () => undefined,
        refuse: async () => undefined,
        wentBack: async () => [],
      },
      conditions: {
        list: () => [],
        raise: ({ name, type }) => void site.conditions.add(`${type} ${name}`),
        clear: ({ name, type }) => void site.conditions.delete(`${type} ${name}`),
        onChange: () => () => undefined,
      },
      clock: {
        now: () => now,
        wall: () => now,
        random: () => 0,
        after: (ms, run) => {
          next = { at: now + ms, run }
          return () => {
            next = undefined
          }
        },
      },
    },
  })
  return Object.assign(site, { dev })
}

describe('a plugin under development', () => {
  it('is a provider and a pool of its own, until its deadline', async () => {
    await using site = await openSite()
    const done = await site.dev.attach(site.asked(), 'ann')
    expect(done).toMatchObject({ attached: { name: 'dev-shed', version: '1.2.3', changed: true }, problems: [] })
    expect(site.configured).toEqual(['ann: dev-shed dev-own,dev-shed'])
    expect([await site.kept(), [...site.conditions]]).toEqual([['dev-shed'], ['development dev-shed']])
    // Of what the files say it is no part.
    expect(site.running.now.config.pools).toEqual([])

    await site.later()
    expect(site.configured.at(-1)).toBe('deadline:  dev-own')
    expect([await site.kept(), [...site.conditions], site.running.dev]).toEqual([['dev-shed ending'], [], []])
    await site.emptied()
    expect(await site.kept()).toEqual([])
    await expect(site.dev.detach('dev-shed', 'ann')).rejects.toMatchObject({ code: 'not-found' })
  })

  it('of the same files and the same end is what runs; a later end is another one', async () => {
    await using site = await openSite()
    const asked = site.asked()
    await site.dev.attach(asked, 'ann')
    expect((await site.dev.attach(asked, 'ann')).attached).toMatchObject({ changed: false })
    expect(site.configured).toHaveLength(1)
    const longer = { ...asked, until: asked.until + 1000 }
    expect((await site.dev.attach(longer, 'ann')).attached).toMatchObject({ changed: false, until: longer.until })
    await writeFile(join(site.path, 'package/dist/plugin.js'), 'export const other = 1')
    expect((await site.dev.attach(longer, 'ann')).attached).toMatchObject({ changed: true })
    // The timer of the first end is none any more.
    await site.later()
    expect(site.configured.at(-1)).toBe('deadline:  dev-own')
  })

  it.each<[string, { host: object; change?: Partial<DevAsked> }, RegExp]>([
    ['where that is not allowed', { host: {} }, /takes no plugins under development/],
    ['with a name of the configuration', { host: on, change: { name: 'dev-own' } }, /has the name dev-own/],
    ['for longer than a day', { host: on, change: { until: Date.parse('2026-01-02T00:00:01Z') } }, /more than 24 hours away/],
  ])('is refused %s', async (_name, { host, change }, wanted) => {
    await using site = await openSite(host)
    await expect(site.dev.attach(site.asked(change), 'ann')).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringMatching(wanted),
    })
    expect([site.configured, await site.kept()]).toEqual([[], []])
  })

  it.each<[string, Partial<DevAsked>, RegExp]>([
    ['a relative folder', { folder: 'here' }, /'here' is no absolute path/],
    ['a folder without a package', { folder: '/nowhere/at/all' }, /has no package\.json/],
    ['a key that is none', { pool: { warm: 1 } }, /unknown key 'warm' in 'pools\.dev-shed'/],
    ['a pool that cannot be', { pool: { worker: { work: 'hold' } } }, /hold/],
  ])('with %s is refused, with what is wrong', async (_name, change, wanted) => {
    await using site = await openSite()
    const { attached, problems } = await site.dev.attach(site.asked(change), 'ann')
    expect([attached, problems.map((one) => one.reason).join('\n')]).toEqual([undefined, expect.stringMatching(wanted)])
    expect([site.configured, await site.kept(), site.running.dev]).toEqual([[], [], []])
  })

  it('that cannot be started, loses workers or is not taken changes nothing', async () => {
    await using site = await openSite()
    await site.dev.attach(site.asked(), 'ann')
    const [before] = site.running.dev
    if (before === undefined) throw new Error('it is not attached')
    await writeFile(join(site.path, 'package/dist/plugin.js'), 'export const other = 1')
    const problem = { file: 'x', line: 1, column: 1, reason: 'it cannot start', fix: 'mend it' }
    site.staged = { problems: [problem] }
    expect(await site.dev.attach(site.asked(), 'ann')).toEqual({ problems: [problem] })

    let discarded = 0
    const discard = async (): Promise<void> => void (discarded += 1)
    const candidate = { provider: 'dev-shed', plugin: before.plugin, notes: [], ask: {} as Staged['candidates'][number]['ask'] }
    site.staged = { candidates: [candidate], discard }
    expect((await site.dev.attach(site.asked(), 'ann')).problems).toMatchObject([
      { reason: 'w1 is not accounted for: it does not know it' },
    ])

    site.staged = { discard }
    site.fails = new Error('the store is full')
    await expect(site.dev.attach(site.asked(), 'ann')).rejects.toThrow('the store is full')
    expect([discarded, site.running.dev, await site.kept()]).toEqual([2, [before], ['dev-shed']])
  })

  it('is taken away at its deadline although that failed once', async () => {
    await using site = await openSite()
    await site.dev.attach(site.asked(), 'ann')
    site.fails = new Error('the store is busy')
    await site.later()
    expect(site.running.dev).toHaveLength(1)
    site.fails = undefined
    await site.later()
    await site.later()
    expect([site.running.dev, await site.kept()]).toEqual([[], ['dev-shed ending']])
  })

  it('is known to the next daemon, or told to be lost', async () => {
    await using site = await openSite()
    await site.dev.attach(site.asked(), 'ann')
    const { now } = site.running
    const again = await readDev(now, none)
    expect([again.parts, again.lost]).toEqual([site.running.dev, []])
    expect(withDev(now, again.parts).config.pools.map((one) => one.name)).toEqual(['dev-shed'])
    const named = { ...now, config: { ...now.config, pools: again.parts.map((one) => one.pool) } }
    expect(await readDev(named, none)).toMatchObject({ parts: [], lost: [{ reason: 'the configuration has this name now' }] })
    await writeFile(join(site.path, 'package/package.json'), '{}')
    const lost = [{ file: 'dev-shed', reason: expect.stringMatching(/has no package\.json/) as string }]
    expect(await readDev(now, none)).toMatchObject({ parts: [], lost, unopened: [site.asked()] })
    await writeFile(devFile(now.config.data), '[{')
    expect(await readDev(now, none)).toMatchObject({ parts: [], lost: [{ reason: 'the file is damaged' }] })
  })

  it('that was taken away and has workers left is known to the next daemon, which ends it without a pool', async () => {
    await using site = await openSite()
    await site.dev.attach(site.asked(), 'ann')
    await site.dev.detach('dev-shed', 'ann')
    expect(await site.kept()).toEqual(['dev-shed ending'])
    const { now } = site.running
    const { parts } = await readDev(now, new Set(['dev-shed']))
    const { config } = withDev(now, parts)
    expect([config.providers, config.pools].map((all) => all.map((one) => one.name))).toEqual([['dev-own', 'dev-shed'], []])
    await using other = await openSite(on, { parts })
    await other.later()
    expect([other.running.dev, other.configured, await other.kept()]).toEqual([[], ['deadline:  dev-own'], ['dev-shed ending']])
    // Who works in it again has it again.
    await other.dev.attach(site.asked(), 'ann')
    expect(await other.kept()).toEqual(['dev-shed'])
    // Without workers nobody needs it.
    expect(await readDev(now, none)).toEqual({ parts: [], lost: [], unopened: [] })
    expect(await site.kept()).toEqual([])
  })

  it('that cannot be opened stays known, and is ended as soon as it can be after its deadline', async () => {
    await using site = await openSite()
    await site.dev.attach(site.asked(), 'ann')
    const { folder } = site.asked()
    const away = `${folder}.away`
    await rename(folder, away)
    const { parts, unopened } = await readDev(site.running.now, none)
    expect([parts, unopened]).toEqual([[], [site.asked()]])
    await using other = await openSite(on, { unopened })
    other.working.add('dev-shed')
    await other.dev.attach(other.asked({ name: 'dev-other' }), 'ann')
    expect(await other.kept()).toEqual(['dev-other', 'dev-shed'])
    await other.dev.detach('dev-other', 'ann')
    await other.emptied()
    await other.later()
    expect([await other.kept(), other.running.dev]).toEqual([['dev-shed'], []])
    await rename(away, folder)
    await other.later()
    expect(other.configured.at(-1)).toBe('deadline:  dev-own,dev-shed')
    await other.later()
    expect([await other.kept(), other.configured.at(-1)]).toEqual([['dev-shed ending'], 'deadline:  dev-own'])
  })

  it('that cannot be opened is forgotten once it has no workers', async () => {
    await using site = await openSite()
    await using other = await openSite(on, { unopened: [site.asked({ folder: '/nowhere/at/all' })] })
    await other.dev.attach(other.asked({ name: 'dev-other', until: site.asked().until + 1000 }), 'ann')
    expect(await other.kept()).toEqual(['dev-other', 'dev-shed'])
    await other.later()
    expect(await other.kept()).toEqual(['dev-other'])
  })

  it('is not opened where the next daemon does not allow it and it has no workers', async () => {
    await using site = await openSite()
    await site.dev.attach(site.asked(), 'ann')
    const { now } = site.running
    const without = { ...now, config: { ...now.config, development: false } }
    const { parts } = await readDev(without, new Set(['dev-shed']))
    expect(withDev(without, parts).config.pools).toEqual([])
    expect([parts.map((one) => one.ending), await site.kept()]).toEqual([[true], ['dev-shed']])
    expect(await readDev(without, none)).toEqual({ parts: [], lost: [], unopened: [] })
    expect(await site.kept()).toEqual([])
  })

  it('ends at once where the next daemon does not allow it', async () => {
    await using site = await openSite()
    await site.dev.attach(site.asked(), 'ann')
    await using other = await openSite({}, { parts: site.running.dev })
    await other.later()
    expect([other.running.dev, other.configured]).toEqual([[], ['deadline:  dev-own']])
  })
})
