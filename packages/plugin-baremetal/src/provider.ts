/** Workers as processes of the host's own machine: the contract's methods over the few calls of client.ts. */
import {
  createRunner,
  type PluginContext,
  ProviderError,
  type Runner,
  type WorkerObservation,
  type WorkerProvider,
  type WorkerTarget,
} from '@muster/core'
import { setTimeout as delay } from 'node:timers/promises'
import { type Client, createClient, type Reached } from './client.ts'
import type { BaremetalConfig } from './config.ts'
import { packed, unpack, unpackWords } from './copy.ts'
import { toLocalError } from './errors.ts'
import { type Facts, isOver, type WorkerState } from './folder.ts'
import { forwarded, hostsOf } from './forward.ts'
import { launch, type Life, terminate } from './life.ts'
import { asker, askWords } from './kinds.ts'
import { tail } from './logs.ts'
import { headroomOf, probeOf } from './probe.ts'
import { rawSession } from './raw.ts'
import { openSite, type Site, type SiteOptions } from './site.ts'
import { idleStats, statsOf } from './stats.ts'
import { checkExecWorkdir, checkTarget, copyPath, observationOf } from './translate.ts'
import { changes } from './watch.ts'

export interface ProviderOptions extends SiteOptions {
  config: Readonly<BaremetalConfig>
  context: Pick<PluginContext, 'provider' | 'owner' | 'dataDir' | 'now'>
  /** Told of each step of a launch. */
  reached?: Reached
}

/** Workers looked at together; each costs a handful of small reads. */
const BATCH = 32

export function createProvider(options: ProviderOptions): WorkerProvider {
  const { config, context, reached } = options
  let opening: Promise<{ site: Site; client: Client }> | undefined
  const lanes = new Map<string, Promise<unknown>>()

  /** A place that could not be prepared is tried anew at the next call: what was wrong may have been mended. */
  function open(): Promise<{ site: Site; client: Client }> {
    opening ??= openSite(config, context, options).then(
      (site) => ({ site, client: createClient(site, reached) }),
      (error: unknown) => {
        opening = undefined
        throw error
      },
    )
    return opening
  }
  open().catch(() => undefined)

  /** One launch of an id at a time; other processes are kept apart by the file system. */
  async function inLane<T>(id: string, work: () => Promise<T>): Promise<T> {
    const mine = (lanes.get(id) ?? Promise.resolve()).then(work, work)
    const settled = mine.catch(() => undefined)
    lanes.set(id, settled)
    try {
      return await mine
    } finally {
      if (lanes.get(id) === settled) lanes.delete(id)
    }
  }

  async function life(): Promise<Life> {
    return { ...(await open()), now: context.now, slots: config.slots }
  }

  async function look(id: string): Promise<WorkerObservation | undefined> {
    const { client } = await open()
    const state = await client.state(id)
    return state === undefined ? undefined : observationOf(state, await client.facts(id))
  }

  /** A worker that can take work now. */
  async function living(target: WorkerTarget): Promise<{ client: Client; state: WorkerState; facts: Facts }> {
    const found = await known(target)
    const { phase } = observationOf(found.state, found.facts)
    if (phase === 'running') return found
    throw new ProviderError(phase === 'lost' ? 'not-found' : 'conflict', `the worker is ${phase}`, { effect: 'none' })
  }

  async function known(target: WorkerTarget): Promise<{ client: Client; state: WorkerState; facts: Facts }> {
    const id = checkTarget(target)
    const { client } = await open()
    const state = await client.state(id)
    if (state === undefined) throw new ProviderError('not-found', 'there is no such worker', { effect: 'none' })
    return { client, state, facts: await client.facts(id) }
  }

  /** A worker whose folder can be read and written: also one that has ended. */
  async function readable(target: WorkerTarget): Promise<{ client: Client; state: WorkerState; verb: 'enter' | 'visit' }> {
    const { client, state, facts } = await known(target)
    const { phase } = observationOf(state, facts)
    if (phase === 'stopping' || phase === 'suspended')
      throw new ProviderError('conflict', `the worker is ${phase}`, { effect: 'none' })
    return { client, state, verb: phase === 'running' ? 'enter' : 'visit' }
  }

  async function runnerOf(target: WorkerTarget): Promise<Runner> {
    const { client, state } = await living(target)
    const { logBytes } = (await open()).site
    return createRunner(({ argv, ...rest }) => Promise.resolve(rawSession(client.enter(state.id, argv), rest)), {
      dir: client.runs(state.id),
      shell: '/bin/sh',
      ...(logBytes === undefined ? {} : { logBytes }),
    })
  }

  return {
    async probe() {
      try {
        return await probeOf((await open()).site)
      } catch (error) {
        if (!(error instanceof ProviderError)) throw error
        return { state: 'failed', message: error.message, ...(error.hint === undefined ? {} : { hint: error.hint }) }
      }
    },

    async launch(spec, call) {
      return await door('make the worker', () => inLane(spec.id, async () => await launch(await life(), spec, call)))
    },

    async terminate(target, how, call) {
      return await door('stop the worker', async () => await terminate(await life(), { id: checkTarget(target), how }, call))
    },

    async list({ tags, limit, cursor }, call) {
      return await door('list the workers', async () => {
        const asOf = new Date(context.now()).toISOString()
        const { client } = await open()
        if (cursor === undefined) await client.tidy()
        const ids = (await client.ids()).filter((id) => cursor === undefined || id > cursor)
        const workers: WorkerObservation[] = []
        for (let at = 0; at < ids.length; at += BATCH) {
          call.signal.throwIfAborted()
          const batch = ids.slice(at, at + BATCH)
          const seen = await Promise.all(batch.map((id) => look(id)))
          for (const [index, worker] of seen.entries()) {
            if (worker === undefined || !isOf(worker, tags)) continue
            workers.push(worker)
            const last = at + index === ids.length - 1
            if (workers.length === limit && !last) return { workers, next: worker.id, asOf }
          }
        }
        return { workers, asOf }
      })
    },

    async inspect(targets) {
      return await door('look at the workers', async () => {
        const seen = await Promise.all(targets.map((target) => look(checkTarget(target))))
        return seen.filter((worker) => worker !== undefined)
      })
    },

    watch({ tags }, call) {
      return through('watch the workers', async function* () {
        const { site } = await open()
        for await (const id of changes(site.changes, call.signal)) {
          const worker = await look(id)
          if (worker !== undefined && isOf(worker, tags)) yield worker
        }
      })
    },

    logs(target, { cursor, follow }, call) {
      return through('read the output', async function* () {
        const { client, state } = await known(target)
        // A worker that holds has no output of its own.
        if (state.mode === 'hold') return
        const folder = client.folder(state.id)
        const { boot } = (await open()).site
        const over = (): Promise<boolean> => isOver(folder, boot)
        yield* tail({ folder, follow, over, signal: call.signal, ...(cursor === undefined ? {} : { cursor }) })
      })
    },

    async exec(target, command, call) {
      return await door('run the command', async () => {
        const { client, state } = await living(target)
        checkExecWorkdir(state, client.workspace(state.id), command.workdir)
        return await (await runnerOf(target)).exec(command, call.signal)
      })
    },

    async execState(target, id, call) {
      return await door('look at the command', async () => {
        const { state, facts } = await known(target)
        // Nobody is left who could tell.
        if (observationOf(state, facts).phase === 'lost') return { state: 'unknown' }
        return await (await runnerOf(target)).state(id, call.signal)
      })
    },

    async execKill(target, { id, signal }, call) {
      await door('end the command', async () => await (await runnerOf(target)).kill(id, signal, call.signal))
    },

    async copyIn(target, { path, tar }, call) {
      await door('copy in', async () => {
        const { client, state, verb } = await readable(target)
        const folder = copyPath(state, path)
        const child = client.enter(state.id, [...unpackWords, folder], verb)
        const asked = asker(client.enter(state.id, askWords, verb), { folder, path })
        await unpack({ child, asker: asked, path }, tar, call.signal)
      })
    },

    copyOut(target, path, call) {
      return through('copy out', async function* () {
        const { client, state, verb } = await readable(target)
        const at = copyPath(state, path)
        yield* packed({ enter: (words) => client.enter(state.id, words, verb), at, path }, call.signal)
      })
    },

    forward(target, input, call) {
      return through('reach the port', async function* () {
        const { state } = await living(target)
        yield* forwarded(input, await hostsOf(state, input.port), call.signal)
      })
    },

    async suspend(target, { keeps }) {
      await door('suspend the worker', async () => {
        if (keeps !== 'memory')
          throw new ProviderError('unsupported', 'its processes are frozen', { effect: 'none', path: 'keeps' })
        const { client, state, facts } = await known(target)
        if (observationOf(state, facts).phase === 'suspended') return
        await living(target)
        await client.freeze(state.id, 'suspend')
      })
    },

    async resume(target) {
      await door('resume the worker', async () => {
        const { client, state, facts } = await known(target)
        if (facts.suspended) await client.freeze(state.id, 'resume')
        else await living(target)
      })
    },

    stats({ tags, everyMs }, call) {
      return through('measure the workers', async function* () {
        for (;;) {
          const { client } = await open()
          for (const id of await client.ids()) {
            const state = await client.state(id)
            if (state === undefined || !isOf(state, tags)) continue
            const at = new Date(call.now()).toISOString()
            const stats = await statsOf(state, at)
            if (stats !== undefined) yield stats
            else if (state.mode === 'hold' && observationOf(state, await client.facts(id)).phase === 'running')
              yield await idleStats(state, at)
          }
          await delay(everyMs, undefined, { signal: call.signal })
        }
      })
    },

    async headroom() {
      return await door('measure the machine', async () => {
        const { site, client } = await open()
        const states = await Promise.all((await client.ids()).map((id) => client.state(id)))
        return await headroomOf(site, { states: states.filter((state) => state !== undefined), slots: config.slots })
      })
    },
  }
}

function isOf(worker: Pick<WorkerObservation, 'tags'>, tags: { 'muster-owner': string; 'muster-provider': string }): boolean {
  return worker.tags['muster-owner'] === tags['muster-owner'] && worker.tags['muster-provider'] === tags['muster-provider']
}

/** Every failure of the machine leaves through here. */
async function door<T>(doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw toLocalError(error, doing)
  }
}

/** {@link door} for what is read bit by bit. */
async function* through<T>(doing: string, items: () => AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
  try {
    yield* items()
  } catch (error) {
    throw toLocalError(error, doing)
  }
}
