/** Workers as containers of one Docker engine: the contract's methods, in its order. */
import { posix } from 'node:path'
import {
  type Call,
  type ListQuery,
  type PluginContext,
  ProviderError,
  type SpecField,
  type WorkerId,
  type WorkerObservation,
  type WorkerPage,
  type WorkerProvider,
} from '@muster/core'
import { ownerOf, packWhole, type Place, rootOf, unpackInto } from './inside/archive.ts'
import { orphansOf } from './workers/belongings.ts'
import { type ContainerInspect, createEngine, type Engine } from './client.ts'
import type { Endpoint } from './config.ts'
import {
  createContainers,
  type Doing,
  type Found,
  guarded,
  guardedStream,
  observeMany,
  observeRows,
  type Observing,
} from './workers/containers.ts'
import { listRows, type Row } from './workers/rows.ts'
import { type CopyLimits, copyLimitsOf, countCopy } from '@muster/provider-parts/copies'
import { inCall } from './engine/current.ts'
import { EngineFailure, toDockerError } from './errors.ts'
import { describe, headroomOf } from './workers/engine-state.ts'
import { createRunners, otherUser } from './inside/exec.ts'
import { readFacts } from './engine/facts.ts'
import { forwardPort } from './inside/forward.ts'
import { networkHolder } from './network/gate.ts'
import { createLedger } from './images/ledger.ts'
import { imageRulesOf, type ImageRules } from './images/image-rules.ts'
import { createImageTender } from './images/tender.ts'
import { createPuller } from './images/image.ts'
import { createSweeper } from './images/sweep.ts'
import { createLauncher } from './workers/launch.ts'
import { readLogs } from './logs/logs.ts'
import type { RoomLimits } from './room-limits.ts'
import { createRoom } from './workers/room.ts'
import { type HostRules, rulesOf } from './rules.ts'
import { createSampler } from './workers/samples.ts'
import { settingsOf } from './settings.ts'
import { createStopper } from './workers/stop.ts'
import { createSuspender } from './workers/suspend.ts'
import { watched } from './inside/tar-owner.ts'
import { createTerminals } from './inside/terminal.ts'
import { createTurns } from './workers/turns.ts'
import { watchWorkers } from './workers/watch.ts'
import { containerPath } from './labels.ts'

/** All of the contract but what an engine has no part in: prices. */
export type DockerProvider = Required<Omit<WorkerProvider, 'quote' | 'mark'>>

export interface DockerProviderOptions {
  endpoint: Endpoint
  images?: ImageRules
  context: Pick<PluginContext, 'owner' | 'provider' | 'now'> & Partial<Pick<PluginContext, 'dataDir' | 'log'>>
  /** The optional spec fields that the manifest declares. */
  fields: readonly SpecField[]
  /** What the operator lets workers have; absent: nothing of the machine. */
  rules?: HostRules
  /** Absent: the usual ones. */
  copies?: CopyLimits
  /** What workers may take of the engine together; absent: all. */
  room?: RoomLimits
  /** Only for tests: another way to the engine. */
  engine?: Engine
}

/** The pages of one list belong to one answer of the engine, as long as they are asked for in one go. */
const SNAPSHOT_MS = 30_000

const reads = (doing: string): Doing => ({ doing, mutates: false })
const changes = (doing: string): Doing => ({ doing, mutates: true })

export function dockerProvider({
  endpoint,
  images = imageRulesOf({}),
  context,
  fields,
  rules = rulesOf({}),
  copies = copyLimitsOf({}),
  room = {},
  engine = createEngine(endpoint),
}: DockerProviderOptions): DockerProvider {
  const containers = createContainers(engine, { 'muster-owner': context.owner, 'muster-provider': context.provider })
  const turns = createTurns()
  const now = (): number => context.now()
  const ledger = createLedger(context.dataDir, (message, data) => context.log?.warn(message, data))
  const puller = createPuller({ engine, ledger, rules: images, now })
  const tender = createImageTender({ puller, sweeper: createSweeper(engine, { ledger, rules: images, now }), now })
  const stopper = createStopper(containers, turns)
  const suspender = createSuspender(containers, { turns, isEnding: (id) => stopper.stopping(id) || stopper.removed(id) })
  const launch = createLauncher({ containers, puller, turns, fields, rules, room: createRoom(engine, room) })
  const runners = createRunners()
  const terminals = createTerminals()
  const sampler = createSampler(containers)
  let snapshot: { key: string; asOf: number; rows: Row[] } | undefined

  const observing = (call: Call): Observing => ({
    stopping: (id) => stopper.stopping(id),
    peakOf: sampler.peakOf,
    signal: call.signal,
  })
  const placeOf = async ({ container, tags }: Found, call: Call): Promise<Place> => {
    const root = rootOf(await containers.facts(call.signal), container)
    return { engine, id: tags['muster-worker'], signal: call.signal, root }
  }

  /** Those too of which only a network, a volume or a helper is there. */
  async function allRows(tags: ListQuery['tags'], signal: AbortSignal): Promise<Row[]> {
    const own = tags['muster-owner'] === context.owner && tags['muster-provider'] === context.provider
    const parts = own ? await containers.belongings.find(signal) : []
    const rows = await listRows(engine, tags, signal)
    return [...rows, ...orphansOf(parts, rows)].sort((left, right) => (left.id < right.id ? -1 : 1))
  }

  async function running(id: WorkerId, call: Call): Promise<Found> {
    const found = await containers.get(id, call.signal)
    const { Status: status } = found.container.State
    if (status !== 'running') throw new EngineFailure(`the worker is not running: it is ${status}`, { status: 409, sent: true })
    return found
  }

  return {
    async probe(call) {
      try {
        return describe(await inCall(call, () => readFacts(engine, call.signal)))
      } catch (error) {
        if (call.signal.aborted)
          throw toDockerError(call.signal.reason, { ...reads('answer'), deadline: call.deadline, now: call.now() })
        const { message, hint } = toDockerError(error, reads('reach the engine'))
        return { state: 'failed', message, ...(hint === undefined ? {} : { hint }) }
      }
    },

    preparePool: ({ image, serviceImages = [], egress, settings }, call) =>
      guarded(call, changes('prepare the pool'), async () => {
        const { pull = 'missing' } = settingsOf({ settings })
        const gate = egress === 'restricted' ? rules.firewall : undefined
        const named = [image, ...serviceImages, gate].filter((name) => name !== undefined)
        return tender.prepare({ images: [...new Set(named)], pull }, call)
      }),

    // Its image may be another pool's too: it goes as all that are unused go.
    unpreparePool: ({ pool: { tags } }, call) =>
      guarded(call, changes('take the pool away'), async () => {
        const rows = await listRows(engine, tags, call.signal)
        if (rows.some((row) => row.tags['muster-pool'] === tags['muster-pool']))
          throw new ProviderError('conflict', 'the pool still has workers', { effect: 'none' })
        await containers.belongings.tidy(call.log)
      }),

    launch: (spec, call) =>
      guarded(call, changes('launch the worker'), async () => {
        const launched = await launch(spec, call)
        tender.tend(call)
        return launched
      }),

    terminate: ({ id }, how, call) =>
      guarded(call, changes('terminate the worker'), async () => {
        const terminated = await stopper.terminate(id, how, call)
        if (terminated.state === 'gone') {
          runners.forget(id)
          sampler.forget(id)
          tender.tend(call)
        }
        return terminated
      }),

    list: ({ tags, limit, cursor }, call) =>
      guarded(call, reads('list the workers'), async (): Promise<WorkerPage> => {
        const key = `${tags['muster-owner']} ${tags['muster-provider']}`
        if (cursor === undefined || snapshot?.key !== key || call.now() - snapshot.asOf > SNAPSHOT_MS) {
          // The answer is at least as new as the question.
          const asOf = call.now()
          snapshot = { key, asOf, rows: await allRows(tags, call.signal) }
        }
        const { rows, asOf } = snapshot
        const first = cursor === undefined ? 0 : rows.findIndex(({ id }) => id > cursor)
        const page = first < 0 ? [] : rows.slice(first, first + limit)
        const last = page.at(-1)
        const more = last !== undefined && last !== rows.at(-1)
        const workers = await observeRows(page, containers, observing(call))
        return { workers, asOf: new Date(asOf).toISOString(), ...(more ? { next: last.id } : {}) }
      }),

    inspect: (targets, call) =>
      guarded(call, reads('inspect workers'), () =>
        observeMany(
          targets.map(({ id }) => id),
          containers,
          observing(call),
        ),
      ),

    async *watch(query, call): AsyncGenerator<WorkerObservation> {
      const parts = { containers, stopping: stopper.stopping, removed: stopper.removed, peakOf: sampler.peakOf }
      yield* guardedStream(call, reads('watch the workers'), () => watchWorkers(parts, query, call))
    },

    logs: ({ id }, options, call) =>
      guardedStream(call, reads('read the log'), async function* () {
        const inspect = async () => (await containers.find(id, call.signal))?.container
        const path = containerPath(id)
        const endOf = async (container: ContainerInspect): Promise<number | undefined> =>
          (await containers.beganAgain(id, container, call.signal)) ? containers.again.endOf(id, container.State) : undefined
        const onAgain = (listener: () => void): (() => void) => containers.again.hear(id, listener)
        const onGap = (): void =>
          call.log.warn('a part of the log is lost: the engine left it out, or has removed it', { worker: id })
        yield* readLogs({ engine, path, inspect, endOf, onAgain, onGap, signal: call.signal }, options)
      }),

    exec: ({ id }, command, call) =>
      guarded(call, changes('start the command'), async () => {
        const found = await running(id, call)
        const { container } = found
        const place = await placeOf(found, call)
        if (command.tty !== undefined)
          return terminals.open({ container, place, log: call.log }, { ...command, tty: command.tty })
        return (await runners.of(container, place, command.user)).exec(command, call.signal)
      }),

    execState: ({ id }, exec, call) =>
      guarded(call, reads('ask for the command'), async () => {
        const found = await running(id, call)
        const { container } = found
        const place = await placeOf(found, call)
        if (terminals.has(exec)) return { state: 'running' }
        const state = await (await runners.of(container, place)).state(exec, call.signal)
        if (state.state !== 'unknown') return state
        const other = await otherUser(container, place, exec)
        return other === undefined ? state : (await runners.of(container, place, other)).state(exec, call.signal)
      }),

    execKill: ({ id }, { id: exec, signal: name }, call) =>
      guarded(call, changes('end the command'), async () => {
        const found = await running(id, call)
        const { container } = found
        const place = await placeOf(found, call)
        if (await terminals.kill(exec, name, call.signal)) return
        await (await runners.of(container, place)).kill(exec, name, call.signal)
        const other = await otherUser(container, place, exec)
        if (other !== undefined) await (await runners.of(container, place, other)).kill(exec, name, call.signal)
      }),

    execResize: ({ id }, { id: exec, ...size }, call) =>
      guarded(call, changes('resize the terminal'), async () => {
        await running(id, call)
        await terminals.resize(exec, size, call.signal)
      }),

    copyIn: ({ id }, { path, tar }, call) =>
      guarded(call, { ...changes('copy into the worker'), place: path }, async () => {
        const found = await containers.get(id, call.signal)
        const { container } = found
        const place = await placeOf(found, call)
        const target = posix.resolve('/', container.Config.WorkingDir, path)
        const onEntry = countCopy(copies, 'possible')
        await unpackInto(place, target, { tar, owner: await ownerOf(place, container), onEntry })
      }),

    copyOut: ({ id }, path, call) =>
      guardedStream(call, { ...reads('copy out of the worker'), place: path }, async function* () {
        const found = await containers.get(id, call.signal)
        const tar = packWhole(await placeOf(found, call), posix.resolve('/', found.container.Config.WorkingDir, path))
        yield* watched(tar, countCopy(copies, 'none'))
      }),

    forward: ({ id }, input, call) =>
      guardedStream(call, reads('forward to the worker'), async function* () {
        const { container } = await running(id, call)
        const holder = await networkHolder(engine, container, call.signal)
        yield* forwardPort({ engine, id, holder }, input, call.signal)
      }),

    suspend: ({ id }, how, call) => guarded(call, changes('suspend the worker'), () => suspender.suspend(id, how, call)),

    resume: ({ id }, call) => guarded(call, changes('resume the worker'), () => suspender.resume(id, call)),

    stats: (query, call) => guardedStream(call, reads('measure the workers'), () => sampler.samples(query, call)),

    headroom: (call) =>
      guarded(call, reads('ask for headroom'), async () => {
        const [facts, rows] = await Promise.all([containers.facts(call.signal), listRows(engine, undefined, call.signal)])
        return headroomOf(facts, room, rows)
      }),
  }
}
