/** Makes a worker: create under the worker's own name, prepare, start. The name makes every step repeatable by anybody. */
import { posix } from 'node:path'
import { type Call, type Effect, type LaunchedWorker, type LaunchSpec, ProviderError, type SpecField } from '@muster/core'
import { folderEntry, missingFolders, type Place, putEntries, type SmallEntry, statPath } from '../inside/archive.ts'
import type { ContainerInspect } from '../client.ts'
import { asProviderError, type Containers } from './containers.ts'
import { isNameTaken, isStatus } from '../errors.ts'
import type { EngineFacts } from '../engine/facts.ts'
import { createImageLooks } from '../images/looks.ts'
import type { PullPolicy } from '../images/image-rules.ts'
import type { Puller } from '../images/image.ts'
import { containerName, containerPath, hasParts, label, specDigest } from '../labels.ts'
import { droppedPath, grantedOf, lackedPath } from './limits.ts'
import { createNetworks, furnish, type Furnished } from './furnish.ts'
import type { HostRules } from '../rules.ts'
import type { Room } from './room.ts'
import { prepareRunFolder, runFolder } from '../inside/run-folder.ts'
import { refuse, settingsOf } from '../settings.ts'
import { absent, createSupply } from './supply.ts'
import { checkHidden, checkSpec, createBody, handleOf, platformOf } from '../translate.ts'
import type { Ids } from '../engine/users.ts'
import { pause } from '@muster/provider-parts/waiting'
import { type Turns } from './turns.ts'

export interface LauncherParts {
  containers: Containers
  puller: Puller
  turns: Turns
  fields: readonly SpecField[]
  rules: HostRules
  room: Room
}

/** A name that is taken though nobody holds it is being made or removed: an engine is done with that within a second or two. */
const NAME_WAIT_MS = 10_000
const NAME_POLL_MS = 50
/**
 * Another process that prepares the same worker is done by then: it unpacks one small tar and starts, together about 200 ms, and a
 * few times that on a busy machine. Only a launch that broke off in between waits so long, once.
 */
const OTHERS_WAIT_MS = 2000

/** A network of a pool goes with its last worker; several in a row would have to end in the same moment. */
const NETWORK_TRIES = 3

/** Failures that another try of the same spec would meet again: nothing of it is kept. */
const hopeless: ReadonlySet<string> = new Set(['invalid-spec', 'unsupported', 'capacity'])

/** What an engine says of a container that nobody has started, or that ends. */
const unstarted: ReadonlySet<string> = new Set(['created', 'removing', 'dead'])

interface Attempt {
  spec: LaunchSpec
  call: Call
  facts: EngineFacts
  place: Place
  doomed: AbortSignal
}

export function createLauncher({
  containers,
  puller,
  turns,
  fields,
  rules,
  room,
}: LauncherParts): (spec: LaunchSpec, call: Call) => Promise<LaunchedWorker> {
  const { engine } = containers
  // The engine's socket is asked for by name, and known to be behind a link.
  const furnished: Furnished = {
    paths: new Set(rules.sockets),
    networks: createNetworks(),
    firewall: rules.firewall,
    nameHere: puller.nameHere,
    supply: createSupply(puller),
  }
  const images = createImageLooks()

  /** Until the engine has a container of this name. */
  async function make(attempt: Attempt): Promise<{ id: string; found?: ContainerInspect; warnings?: readonly string[] }> {
    const { spec, call, facts, doomed } = attempt
    const { signal } = call
    const { pull: policy = 'missing' } = settingsOf(spec)
    let pulled = await refresh(attempt, policy)
    const giveUpAt = call.now() + NAME_WAIT_MS
    for (;;) {
      stopIfDoomed(doomed, 'none')
      try {
        const query = { name: containerName(spec.id), platform: platformOf(spec) }
        const body = { ...createBody(spec, facts), Image: puller.nameHere(spec.image ?? '') }
        const made = await engine.json<{ Id: string; Warnings?: string[] | null }>({
          method: 'POST',
          path: '/containers/create',
          query,
          body,
          signal,
        })
        await puller.used(spec.image ?? '')
        return { id: made.Id, warnings: made.Warnings ?? [] }
      } catch (error) {
        if (isNameTaken(error)) {
          const found = await containers.holder(spec.id, signal).catch((reason: unknown) => {
            throw inDoubt(reason, call)
          })
          if (found !== undefined) return { id: found.Id, found }
          if (call.now() > giveUpAt) throw error
          await pause(NAME_POLL_MS, signal)
        } else if (isStatus(error, 404, /no such image|specified platform/i)) {
          if (pulled) throw missing(spec, error)
          if (policy === 'never') throw absent(spec.image ?? '', { at: 'image', cause: error })
          await pull(attempt)
          pulled = true
        } else throw refused(attempt, error)
      }
    }
  }

  /** A warning may say that a limit was dropped: then there is no worker. */
  async function heed(warning: string, attempt: Attempt): Promise<void> {
    const { spec, call } = attempt
    const path = droppedPath(warning, spec)
    if (path === undefined) return call.log.warn('the engine warns', { worker: spec.id, warning })
    await drop(attempt, { path, why: warning })
  }

  async function drop(attempt: Attempt, { path, why }: { path: string; why: string }): Promise<never> {
    const refused = refuse('unsupported', path, `the engine drops it: ${why}`)
    throw (await isRemoved(attempt)) ? refused : withEffect(refused, 'possible')
  }

  /** What is found may be of an answer, and a warning, that nobody has read. */
  async function checkFound(attempt: Attempt, found: ContainerInspect): Promise<void> {
    const { spec } = attempt
    checkSame(spec, found)
    const path = found.State.Status === 'created' ? lackedPath(found.HostConfig, settingsOf(spec)) : undefined
    if (path !== undefined) await drop(attempt, { path, why: 'the container has not got it' })
  }

  /** Pulls before it is needed, where the pool wants that. A digest stands for one content: what is there is what it was. */
  async function refresh(attempt: Attempt, policy: PullPolicy): Promise<boolean> {
    const { spec, call } = attempt
    if (policy !== 'always' || (await containers.holder(spec.id, call.signal)) !== undefined) return false
    if (spec.image?.includes('@') === true && (await puller.has(spec.image, call.signal))) return false
    await pull(attempt)
    return true
  }

  /** An engine that refuses to make a container has undone what it began. */
  function refused({ call }: Attempt, error: unknown): unknown {
    const judged = asProviderError(error, call, { doing: 'make the worker', mutates: true })
    return judged instanceof ProviderError && hopeless.has(judged.code) ? withEffect(judged, 'none') : error
  }

  async function pull({ spec, call, doomed }: Attempt): Promise<void> {
    const image = spec.image ?? ''
    const signal = AbortSignal.any([call.signal, doomed])
    try {
      await puller.pull({ image, platform: platformOf(spec) }, { signal, log: call.log })
    } catch (error) {
      stopIfDoomed(doomed, 'none')
      throw asProviderError(error, call, { doing: `pull the image ${image}`, mutates: false })
    }
  }

  /** Puts what must be there before the first process. Answers whether that took a while. */
  async function prepare({ spec, place, facts }: Attempt, container: ContainerInspect): Promise<boolean> {
    const holds = spec.work.mode === 'hold'
    const look = holds ? await images.of(place, container, spec) : undefined
    if (look?.shell === false) throw noShell()
    if (spec.workdir === undefined && spec.files === undefined && !holds) return false
    const owner = await images.owner(place, container, spec)
    const entries = [...(await newWorkdir(place, container, owner)), ...(await fileEntries(spec, place, { container, owner }))]
    // Root makes the runner's folder itself as it begins to hold, where its `/` belongs to it and can be written.
    const closed = look?.closed === true || (facts.remapped !== undefined && place.root === undefined)
    const beforehand = holds && (owner.uid !== 0 || (closed && !hasAllOfEngine(spec)))
    // Under a read-only root nothing else is put.
    if (beforehand && container.HostConfig.ReadonlyRootfs === true) await prepareRunFolder(place, container)
    else await putEntries(place, [...(beforehand ? [runFolder] : []), ...entries])
    // To look for what is there takes its while too.
    return look?.fresh === true || beforehand || spec.workdir !== undefined || spec.files !== undefined
  }

  async function start(attempt: Attempt, tries = NETWORK_TRIES): Promise<void> {
    const { spec, call } = attempt
    try {
      await engine.json({ method: 'POST', path: `${containerPath(spec.id)}/start`, signal: call.signal })
    } catch (error) {
      if (isStatus(error, 304)) return
      // The last worker of a pool took the pool's network away in between.
      if (tries <= 1 || !isStatus(error, 404, /network \S+ not found/)) throw error
      await furnish(attempt, furnished)
      await start(attempt, tries - 1)
    }
  }

  /** Its container as it was made; undefined once anybody has started it. */
  async function unstartedOf({ spec, call }: Attempt): Promise<ContainerInspect | undefined> {
    const { container } = await containers.get(spec.id, call.signal)
    return unstarted.has(container.State.Status) ? container : undefined
  }

  const isStarted = async (attempt: Attempt): Promise<boolean> => (await unstartedOf(attempt)) === undefined

  /**
   * Another process may be preparing it right now: files that are put twice would be missing for a moment, and an engine starts again
   * what has ended already.
   */
  async function isStartedByOthers(attempt: Attempt): Promise<boolean> {
    const { call, doomed } = attempt
    const until = call.now() + OTHERS_WAIT_MS
    for (;;) {
      if (await isStarted(attempt)) return true
      if (call.now() >= until || doomed.aborted) return false
      await pause(NAME_POLL_MS, call.signal)
    }
  }

  /** `found`: its container was there; another process may be at work with it. */
  async function finish(attempt: Attempt, found: boolean): Promise<void> {
    const { call, doomed } = attempt
    try {
      if (found && (await isStartedByOthers(attempt))) return
      stopIfDoomed(doomed, 'possible')
      await furnish(attempt, furnished)
      stopIfDoomed(doomed, 'possible')
      // Whoever came later may have given up waiting for us.
      const container = await unstartedOf(attempt)
      if (container === undefined) return
      const late = await prepare(attempt, container)
      stopIfDoomed(doomed, 'possible')
      if (late && (await isStarted(attempt))) return
      await start(attempt)
    } catch (error) {
      const judged = inDoubt(error, call)
      if (call.signal.aborted) throw judged
      // What another process has started is launched, whatever became of our own try.
      if (!doomed.aborted && (await isStarted(attempt).catch(() => false))) return
      const ends = doomed.aborted || hopeless.has(judged.code)
      throw ends && (await isRemoved(attempt)) ? withEffect(judged, 'none') : judged
    }
  }

  /** Without force: one that another process has started meanwhile stays. */
  async function isRemoved({ spec, call }: Attempt): Promise<boolean> {
    const { signal, log } = call
    try {
      if ((await containers.remove(spec.id, { force: false, signal })) !== 'gone') return false
      if (!hasParts(spec)) return true
      const rest = await containers.belongings.remove(spec.id, signal)
      void containers.belongings.tidy(log)
      return rest === 'gone'
    } catch {
      return false
    }
  }

  return async (spec, call) => {
    const facts = await containers.facts(call.signal)
    checkSpec(spec, { fields, rules, reaches: engine.reach !== undefined }, facts)
    return turns.take(spec.id, call.signal, (doomed) => {
      const root = settingsOf(spec).hostNamespaces?.includes('users') === true ? undefined : facts.remapped
      const place = { engine, id: spec.id, signal: call.signal, root }
      return room.hold(spec, call, () => launch({ spec, call, facts, doomed, place }))
    })
  }

  async function launch(attempt: Attempt): Promise<LaunchedWorker> {
    const { id, found, warnings = [] } = await make(attempt)
    for (const warning of warnings) await heed(warning, attempt)
    if (found !== undefined) await checkFound(attempt, found)
    if (found === undefined || unstarted.has(found.State.Status)) await finish(attempt, found !== undefined)
    const granted = grantedOf(attempt.spec)
    return { handle: handleOf(id), ...(granted === undefined ? {} : { granted }) }
  }
}

/** Has its root what root has on this engine? */
function hasAllOfEngine(spec: LaunchSpec): boolean {
  return settingsOf(spec).capabilities === 'engine' && spec.security?.capabilitiesDrop === undefined
}

/** An engine makes a missing working directory as root's: then it is given to the worker's user. One of the image stays as it is. */
async function newWorkdir(place: Place, container: ContainerInspect, owner: Ids): Promise<SmallEntry[]> {
  const path = posix.resolve('/', container.Config.WorkingDir)
  if (owner.uid === 0 || path === '/' || container.HostConfig.ReadonlyRootfs === true) return []
  const stat = await statPath(place, path)
  return stat?.folder === true && stat.modifiedMs >= Date.parse(container.Created) ? [folderEntry(path, owner)] : []
}

async function fileEntries(
  spec: LaunchSpec,
  place: Place,
  target: { container: ContainerInspect; owner: Ids },
): Promise<SmallEntry[]> {
  const { container, owner } = target
  const folders = new Set<string>()
  const files: SmallEntry[] = []
  for (const file of spec.files ?? []) {
    const path = posix.resolve('/', container.Config.WorkingDir, file.path)
    checkHidden(file, path, spec.mounts ?? [])
    for (const folder of await missingFolders(place, posix.dirname(path))) folders.add(folder)
    files.push({ path, mode: file.mode ?? 0o600, owner, content: Buffer.from(file.base64, 'base64') })
  }
  return [...[...folders].map((folder) => folderEntry(folder, owner)), ...files]
}

function checkSame(spec: LaunchSpec, found: ContainerInspect): void {
  const labels = found.Config.Labels as Record<string, string> | null
  const same = labels?.[label.spec] === specDigest(spec)
  if (same && found.State.Status !== 'removing' && found.State.Status !== 'dead') return
  const message = same ? 'the worker of this id is being removed' : "a container of this worker's name was made from another spec"
  throw new ProviderError('conflict', message, { effect: 'none' })
}

function stopIfDoomed(doomed: AbortSignal, effect: 'none' | 'possible'): void {
  if (doomed.aborted) throw new ProviderError('cancelled', 'the worker was terminated while it was launched', { effect })
}

function missing(spec: LaunchSpec, cause: unknown): ProviderError {
  const hint = "Correct the image's name, tag or platform."
  return new ProviderError('invalid-spec', `the engine has no image ${spec.image}, also after a pull`, {
    effect: 'none',
    path: 'image',
    hint,
    cause,
  })
}

function noShell(): ProviderError {
  const hint = 'Use an image with /bin/sh, or work mode `command`.'
  return new ProviderError('unsupported', 'a worker that holds needs /bin/sh in its image', { path: 'work.mode', hint })
}

/** Of a step after the container was made: whatever it was, something is there unless its removal is confirmed. */
function inDoubt(error: unknown, call: Call): ProviderError {
  const judged = asProviderError(error, call, { doing: 'start the worker', mutates: true })
  return withEffect(judged, 'possible')
}

function withEffect(error: ProviderError, effect: Effect): ProviderError {
  const { code, message, hint, path, retryAfterMs, scope } = error
  if (error.effect === effect) return error
  return new ProviderError(code, message, {
    effect,
    ...(hint === undefined ? {} : { hint }),
    ...(path === undefined ? {} : { path }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(scope === undefined ? {} : { scope }),
    cause: error,
  })
}
