/** The machine behind a few calls: makes a worker's folder, starts, looks at, enters, stops it. All state is on disk. */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { chmod, chown, mkdir, readdir, rename, rm, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ProviderError, type WorkerId } from '@muster/core'
import { isSystem, refused } from './errors.ts'
import { checkBind } from './bind.ts'
import { syncFolder, writeNew } from './files.ts'
import { type Facts, readFacts, readState, type WorkerState } from './folder.ts'
import { draftName } from './proc.ts'
import type { Site } from './site.ts'
import { plainPath } from './tools.ts'
import { commandText, confText, envText, type Plan } from './translate.ts'
import { sweepMaking } from './place.ts'
import { giveBack } from './user.ts'

/** Told of each step of a launch, so that a test can end the process there. */
export type Reached = (step: 'made' | 'written' | 'published' | 'starting' | 'started') => void

export interface Client {
  folder(id: WorkerId): string
  workspace(id: WorkerId): string
  /** What the runner keeps there. */
  runs(id: WorkerId): string
  ids(): Promise<string[]>
  /** Takes away what killed processes left of workers that they were still making. */
  tidy(): Promise<void>
  /** What was asked for; undefined when there is no such worker. */
  state(id: WorkerId): Promise<WorkerState | undefined>
  facts(id: WorkerId): Promise<Facts>
  /** Makes the whole folder and puts it in place in one step. False when the worker is there already. */
  publish(state: WorkerState, plan: Plan): Promise<boolean>
  /** Starts its supervisor, unless it has ever had one. */
  start(id: WorkerId): Promise<'started' | 'taken' | 'stopping'>
  /**
   * A process inside the worker: its user, cgroup and environment, in its working folder; a group of its own. `visit`: without the
   * cgroup, which may be gone when the worker has ended.
   */
  enter(id: WorkerId, argv: readonly string[], verb?: 'enter' | 'visit'): ChildProcess
  /** Ends and removes it, in a process that outlives this one. Undefined after `waitMs`, or what went wrong, or `gone`. */
  stop(id: WorkerId, how: { graceMs: number; waitMs: number; signal: AbortSignal }): Promise<string | undefined>
  freeze(id: WorkerId, verb: 'suspend' | 'resume'): Promise<void>
}

/** Bytes kept for the line that says how a command ended; the longest has about 40. */
const EXIT_ROOM = 100

/** The file of an agent's ticket, in its TMPDIR. */
const TICKET = 'ticket'

/** What the scripts need of the environment, and nothing else of it. */
const bare = { PATH: plainPath, LC_ALL: 'C' }

export function createClient(site: Site, reached: Reached = () => undefined): Client {
  const stops = new Map<string, { graceMs: number; ended: Promise<string> }>()
  const folder = (id: string): string => join(site.workers, id)
  const workspace = (id: string): string => join(folder(id), 'workspace')

  function call(verb: string, words: readonly string[]): ChildProcess {
    return spawn(site.shell, [site.script, verb, ...words], {
      detached: true,
      cwd: '/',
      env: bare,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  }

  async function fill(at: string, state: WorkerState, plan: Plan): Promise<void> {
    const { id, user } = state
    const tmp = join(folder(id), 'tmp')
    const { agent } = plan
    const way = agent === undefined ? {} : { MUSTER_AGENT_URL: agent.url, MUSTER_AGENT_TICKET: join(tmp, TICKET) }
    const env = { PATH: site.path, HOME: workspace(id), TMPDIR: tmp, ...plan.env, ...way, MUSTER_WORKER: id }
    const all = site.within === '' ? env : { ...env, MUSTER_WITHIN: site.within }
    const shared = user === undefined ? 0o600 : 0o640
    const limits = site.cgroups?.limits(id, plan.limits).lines ?? []
    await Promise.all([
      ...['workspace', 'tmp', 'runs', 'pipes'].map((name) => mkdir(join(at, name), { mode: 0o700 })),
      writeNew(join(at, 'worker.json'), JSON.stringify(state), { mode: 0o600, sync: true }),
      writeNew(join(at, 'conf'), confText(state, site), { mode: 0o600 }),
      writeNew(join(at, 'limits'), limits.map((line) => `${line}\n`).join(''), { mode: 0o600 }),
      writeNew(join(at, 'env'), envText(all, plan.workdir), { mode: shared }),
      ...(plan.command === undefined ? [] : [writeNew(join(at, 'command'), commandText(plan.command), { mode: shared })]),
      ...['out', 'err'].map((name) => writeNew(join(at, name), '', { mode: 0o600 })),
      writeNew(join(at, 'exit.new'), ' '.repeat(EXIT_ROOM), { mode: 0o600 }),
    ])
    // Its own, so that the agent can remove it once it is exchanged.
    if (agent !== undefined) await writeNew(join(at, 'tmp', TICKET), agent.ticket, { mode: 0o600 })
    const made = await furnish(join(at, 'workspace'), plan, plan.workdir.slice(workspace(id).length + 1))
    if (user === undefined) return
    const { uid } = user
    const names = ['workspace', 'tmp', 'runs', 'pipes', ...(agent === undefined ? [] : [`tmp/${TICKET}`])]
    const own = names.map((name) => join(at, name))
    await Promise.all([
      ...[...own, ...made].map((path) => chown(path, uid, uid)),
      ...['env', 'command'].map((name) => chown(join(at, name), 0, uid).catch(ignoreMissing)),
      chown(at, 0, uid).then(() => chmod(at, 0o710)),
    ])
  }

  return {
    folder,
    workspace,
    runs: (id) => join(folder(id), 'runs'),

    async ids() {
      return (await readdir(site.workers)).filter((name) => /^w[0-9a-z]{26}$/.test(name)).sort()
    },

    async tidy() {
      for (const id of await sweepMaking(site.making, site.boot)) await site.users?.forget(id)
    },

    state: (id) => readState(folder(id)),

    facts: (id) => readFacts(folder(id), site.boot),

    async publish(state, plan) {
      const at = join(site.making, `${state.id}.${draftName(site.self)}`)
      await mkdir(at, { mode: 0o700 })
      const user = await site.users?.take(state.id).catch(async (error: unknown) => {
        await rm(at, { recursive: true, force: true })
        throw error
      })
      let published = false
      try {
        reached('made')
        await Promise.all(plan.mounts.map((mount, index) => checkBind(mount, { index, binds: site.binds, uid: user?.uid })))
        await fill(at, user === undefined ? state : { ...state, user }, plan)
        await syncFolder(at)
        reached('written')
        published = await rename(at, folder(state.id)).then(
          () => true,
          (error: unknown) => {
            if (isSystem(error, 'ENOTEMPTY', 'EEXIST')) return false
            throw error
          },
        )
        if (published) await syncFolder(site.workers)
      } finally {
        if (!published) {
          // The draft goes last: by it a later process finds what this one could not give back.
          if (user !== undefined) await giveBack(user)
          await rm(at, { recursive: true, force: true })
        }
      }
      if (published) reached('published')
      return published
    },

    async start(id) {
      reached('starting')
      const child = call('run', [folder(id)])
      const { text, noise } = await collect(child, { line: true })
      child.unref()
      const answer = text.split('\n')[0] ?? ''
      if (answer === 'ok') {
        reached('started')
        return 'started'
      }
      if (answer === 'taken' || answer === 'stopping') return answer
      throw new ProviderError('transient', `the worker did not start: ${answer.replace(/^failed: /, '') || noise || 'no answer'}`)
    },

    enter(id, argv, verb = 'enter') {
      return spawn(site.shell, [site.script, verb, folder(id), ...argv], { detached: true, cwd: '/', env: bare, stdio: 'pipe' })
    },

    async stop(id, { graceMs, waitMs, signal }) {
      let stop = stops.get(id)
      // Another one would only take the work out of its hands.
      if (stop === undefined || stop.graceMs > graceMs) {
        const child = call('stop', [folder(id), String(Math.ceil(graceMs))])
        child.unref()
        const ended = collect(child, { line: false }).then(({ text, noise }) => text.trim() || noise.trim())
        const mine = { graceMs, ended }
        const forget = (): void => {
          if (stops.get(id) === mine) stops.delete(id)
        }
        ended.then(forget, forget)
        stops.set(id, mine)
        stop = mine
      }
      return await within(stop.ended, waitMs, signal)
    },

    async freeze(id, verb) {
      const child = call(verb, [folder(id)])
      const { noise } = await collect(child, { line: false })
      if (child.exitCode !== 0) throw new ProviderError('transient', `cannot ${verb} the worker: ${noise.trim()}`)
    },
  }
}

/** Files, folders and links of the spec. Returns every path made, for their owner. */
async function furnish(workspace: string, plan: Plan, workdir: string): Promise<string[]> {
  const made = new Set<string>()
  const folderFor = async (path: string): Promise<void> => {
    for (let step = path; step !== '.' && step !== ''; step = dirname(step)) made.add(join(workspace, step))
    await mkdir(join(workspace, path), { recursive: true, mode: 0o755 })
  }
  if (workdir !== '') await folderFor(workdir)
  for (const { path, data, mode } of plan.files) {
    await folderFor(dirname(path))
    await writeNew(join(workspace, path), data, { mode }).catch((error: unknown) => {
      if (!isSystem(error, 'EEXIST', 'EISDIR')) throw error
      throw refused('invalid-spec', 'files', { message: `${path} is there twice` })
    })
    made.add(join(workspace, path))
  }
  for (const { path, source } of plan.mounts) {
    await folderFor(dirname(path))
    // The link stays root's; what it leads to decides what may be done there.
    await symlink(source, join(workspace, path))
  }
  return [...made]
}

const lineEvent = Symbol('line')

/** What a script says: up to its first line, or up to its end. */
async function collect(child: ChildProcess, { line }: { line: boolean }): Promise<{ text: string; noise: string }> {
  let text = ''
  let noise = ''
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
    if (line && text.includes('\n')) child.emit(lineEvent)
  })
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    noise += chunk
  })
  // Both reject when the child could not be started.
  await Promise.race([once(child, 'close'), once(child, lineEvent)])
  return { text, noise }
}

/** Undefined when time is up. */
async function within<T>(work: Promise<T>, ms: number, signal: AbortSignal): Promise<T | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>()
  const timer = setTimeout(() => resolve(undefined), ms)
  const abort = (): void => reject(signal.reason)
  signal.addEventListener('abort', abort, { once: true })
  if (signal.aborted) abort()
  try {
    return await Promise.race([work, promise])
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', abort)
  }
}

function ignoreMissing(error: unknown): void {
  if (!isSystem(error, 'ENOENT')) throw error
}

/** A number for the mark of one worker: no other process has it by chance. */
export function newMark(): number {
  // randomInt goes up to 2 ** 48; small numbers are left to people.
  return randomInt(2 ** 40, 2 ** 48 - 1)
}
