/** What one test works with: sessions, specs of its own workers, and their removal at its end. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { WorkerCapabilities } from '../../plugin.ts'
import type { SecretValue, WorkerTarget } from '../../provider.ts'
import type { LaunchSpec, OwnerTags, WorkerId } from '../../spec.ts'
import { maxInspectTargets } from '../../wire/limits.ts'
import { newExecId, newWorkerId } from '../ids.ts'
import { openSession, type Session } from './session.ts'
import { declares, type Need, type ProviderSetup } from './setup.ts'

/** Whose workers a process cares for. Default: the suite's own. */
export interface Names {
  owner?: string
  provider?: string
}

export interface OpenOptions extends Names {
  /** Count the frames. */
  tapped?: boolean
}

/** One run of the suite: everything it makes has this owner. */
export interface Suite {
  readonly setup: ProviderSetup
  readonly owner: string
  readonly provider: string
  readonly patienceMs: number
  /** Every worker there ever was. */
  readonly ids: Set<WorkerId>
  /** Everything plugin processes said, and every answer and error the suite saw. */
  readonly words: string[]
  open(options?: OpenOptions): Promise<Session>
  /** The one that tests share, of this owner and provider; made anew when it has died. */
  session(names?: Names): Promise<Session>
  /** A running worker that tests may run commands in, and no more. */
  shared(): Promise<WorkerTarget>
  /** Takes the shared worker away. */
  release(): Promise<void>
  close(): Promise<void>
}

export interface Bench extends Pick<
  Suite,
  'setup' | 'owner' | 'provider' | 'patienceMs' | 'session' | 'shared' | 'ids' | 'words'
> {
  readonly capabilities: WorkerCapabilities
  declares(need: Need): boolean
  /** A process of its own, closed at the end of the test. */
  open(options?: OpenOptions): Promise<Session>
  /** A spec with a new id, whose worker is terminated at the end of the test. */
  spec(work: LaunchSpec['work'], over?: SpecOver): LaunchSpec
  command(script: string, over?: SpecOver): LaunchSpec
  hold(over?: SpecOver): LaunchSpec
  /** A worker that stays, in whatever mode there is. */
  lasting(over?: SpecOver): LaunchSpec
  shell(script: string): string[]
  inside(name: string): string
  newExecId(): string
  /** Asks until the answer is not undefined. Fails with `what` when patience ends. */
  until<T>(what: string, ask: () => Promise<T | undefined>): Promise<T>
  /** Runs at the end of the test, last first. */
  atEnd(act: () => Promise<void> | void): void
}

export interface SpecOver extends Partial<Omit<LaunchSpec, 'tags' | 'work'>> {
  tags?: Partial<OwnerTags>
}

const defaultPatienceMs = 30_000

export function openSuite(setup: ProviderSetup): Suite {
  const patienceMs = setup.patienceMs ?? defaultPatienceMs
  const owner = `c${newWorkerId().slice(-12)}`
  const provider = 'conformance'
  const dir = mkdtempSync(join(tmpdir(), 'muster-conformance-'))
  const ids = new Set<WorkerId>()
  const words: string[] = []
  const sessions = new Set<Session>()
  const mains = new Map<string, Promise<Session>>()
  let held: Promise<WorkerTarget> | undefined

  async function open(options: OpenOptions = {}): Promise<Session> {
    const names = { owner: options.owner ?? owner, provider: options.provider ?? provider }
    const dataDir = join(dir, `${names.owner}.${names.provider}`)
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
    const secrets = setup.hooks?.secrets
    const secret = (name: string, refused: string | undefined): SecretValue => {
      if (secrets?.name !== name) throw new Error(`no secret ${name} in this setup`)
      return secrets.read(refused)
    }
    const session = await openSession({
      ...names,
      start: setup.start,
      config: setup.config,
      dataDir,
      patienceMs,
      tapped: options.tapped === true,
      secret,
    })
    sessions.add(session)
    void session.link.exited.then(() => words.push(session.link.words()))
    return session
  }

  async function session(names: Names = {}): Promise<Session> {
    const key = JSON.stringify([names.owner, names.provider])
    const known = mains.get(key)
    const alive = await known?.then((one) => one.open).catch(() => false)
    // Others may have asked meanwhile: only one makes it anew.
    if (alive !== true && mains.get(key) === known) mains.set(key, open(names))
    return await (mains.get(key) as Promise<Session>)
  }

  async function shared(): Promise<WorkerTarget> {
    held ??= (async () => {
      const bench = benchOf(suite)
      const spec = bench.hold(setup.spec)
      const { handle } = await (await session()).launch(spec)
      await bench.until('the shared worker runs', async () => {
        const [found] = await (await session()).inspect([{ id: spec.id, handle }])
        return found?.phase === 'running' ? found : undefined
      })
      return { id: spec.id, handle }
    })()
    return await held
  }

  const suite: Suite = {
    setup,
    owner,
    provider,
    patienceMs,
    ids,
    words,
    open,
    session,
    shared,
    async release() {
      const worker = await held?.catch(() => undefined)
      held = undefined
      if (worker !== undefined) await sweep(suite, [{ id: worker.id }])
    },
    async close() {
      await suite.release()
      for (const one of sessions) await one.close()
      rmSync(dir, { recursive: true, force: true })
    },
  }
  return suite
}

export interface OpenBench extends Bench {
  /** Takes away what the test made. What a failed test left is its own failure, not that of the last test too. */
  end(passed: boolean): Promise<void>
}

export function benchOf(suite: Suite): OpenBench {
  const { setup, owner, provider, patienceMs } = suite
  const own: Own[] = []
  const ends: (() => Promise<void> | void)[] = []
  const shell = setup.shell ?? ((script: string) => ['/bin/sh', '-c', script])

  function spec(work: LaunchSpec['work'], over: SpecOver = {}): LaunchSpec {
    const id = over.id ?? newWorkerId()
    const { 'muster-owner': ownerTag, 'muster-provider': providerTag } = over.tags ?? {}
    own.push({
      id,
      ...(ownerTag !== undefined && { owner: ownerTag }),
      ...(providerTag !== undefined && { provider: providerTag }),
    })
    suite.ids.add(id)
    const tags = {
      'muster-owner': owner,
      'muster-provider': provider,
      'muster-pool': 'pool',
      'muster-worker': id,
      'muster-epoch': '1',
    }
    return { ...setup.spec, ...over, id, tags: { ...tags, ...over.tags }, work }
  }

  async function until<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
    const end = Date.now() + patienceMs
    // Quick at first, then gentle: vendors answer in milliseconds or in seconds.
    for (let pause = 5; ; pause = Math.min(pause * 1.5, 250)) {
      const found = await ask()
      if (found !== undefined) return found
      if (Date.now() > end) throw new Error(`not within ${patienceMs} ms: ${what}`)
      await delay(pause)
    }
  }

  return {
    setup,
    owner,
    provider,
    patienceMs,
    ids: suite.ids,
    words: suite.words,
    capabilities: setup.manifest.capabilities,
    declares: (need) => declares(setup.manifest.capabilities, need),
    session: (names) => suite.session(names),
    shared: () => suite.shared(),
    async open(options) {
      const session = await suite.open(options)
      ends.push(() => session.close())
      return session
    },
    spec,
    command: (script, over) => spec({ mode: 'command', command: shell(script) }, over),
    hold: (over) => spec({ mode: 'hold' }, over),
    lasting(over) {
      const can = (mode: string): boolean => declares(setup.manifest.capabilities, `work:${mode}`)
      if (can('hold')) return spec({ mode: 'hold' }, over)
      const agent = can('command') ? undefined : setup.scripts?.agent
      if (agent === undefined) return spec({ mode: 'command', command: shell('sleep 1000') }, over)
      return spec(
        { mode: 'agent', ticket: { $secret: 'a-ticket' }, url: 'http://127.0.0.1:9' },
        { ...agent.spec('sleep 1000'), ...over },
      )
    },
    shell,
    inside: setup.inside ?? ((name) => name),
    newExecId,
    until,
    atEnd: (act) => ends.push(act),
    async end(passed) {
      for (const act of ends.reverse()) await act()
      await sweep(suite, own)
      if (!passed) for (const { id } of own) suite.ids.delete(id)
    },
  }
}

interface Own extends Names {
  id: WorkerId
}

/** Takes workers away whatever the test did to them. What cannot be taken away shows in the last test of the suite. */
async function sweep(suite: Suite, workers: readonly Own[]): Promise<void> {
  const how = { graceMs: 0, force: true, reason: 'the test is over' }
  for (const [, group] of Map.groupBy(workers, ({ owner, provider }) => `${owner} ${provider}`)) {
    const session = await suite.session(namesOf(group[0]))
    for (let at = 0; at < group.length; at += maxInspectTargets) {
      const targets = group.slice(at, at + maxInspectTargets).map(({ id }) => ({ id }))
      const seen = new Map((await session.inspect(targets).catch(() => [])).map(({ id, handle }) => [id, { id, handle }]))
      await Promise.all(targets.map((target) => session.terminate(seen.get(target.id) ?? target, how).catch(() => undefined)))
    }
  }
}

function namesOf(one: Own | undefined): Names {
  const { id: _id, ...names } = one ?? { id: '' }
  return names
}
