/**
 * Plugins under development, attached to a daemon that runs until a deadline: no configuration and no lock ever has them. A file of the data
 * folder does, so that what is attached has an end whatever happens to its author and to the daemon.
 */
import { isDeepStrictEqual } from 'node:util'
import { engineConfig } from './apply.ts'
import type { Problem } from './config/problem.ts'
import {
  type DevAsked,
  type DevKept,
  type DevPart,
  devProblem,
  isTaken,
  keepDev,
  keptOf,
  openPart,
  withDev,
} from './dev-parts.ts'
import { type Engine, EngineError } from './engine/api.ts'
import type { Clock } from './engine/clock.ts'
import type { StartedRoom } from './plugins/room.ts'
import type { RoomLog } from './plugins/supervise.ts'
import type { RunningState } from './running.ts'
import { accountAll, versionOf } from './upgrade.ts'

export interface DevAttached {
  name: string
  version: string
  until: number
  /** A process of these files has taken over, or is the first. False: it is what runs. */
  changed: boolean
}

export interface Dev {
  /**
   * What has the name already is replaced: another process takes over, once it accounts for all live workers. With problems nothing has
   * changed. Errors: EngineError `conflict`; StoreError.
   */
  attach(asked: DevAsked, principal: string): Promise<{ attached?: DevAttached; problems: Problem[] }>
  /** No new workers; the provider goes once its last one has. Error: EngineError `not-found`. */
  detach(name: string, principal: string): Promise<void>
}

/** Seen wherever a pool or a provider is named. */
export const devName: RegExp = /^dev-[a-z0-9-]{1,36}$/
/** A day of work, and its night. */
const longestMs = 24 * 3_600_000
/** Each is a process. */
const most = 16
/** After a store that was busy. */
const againMs = 60_000

export interface DevDeps {
  running: RunningState
  engine: Pick<Engine, 'configure' | 'upgrades' | 'conditions'> & { clock: Clock }
  plugins: Pick<StartedRoom, 'stage' | 'leaving' | 'onChange'>
  /** Where they are kept. */
  file: string
  /** What a daemon before this one had and this one could not open. */
  unopened: readonly DevKept[]
  /** Has a provider of this name live workers? */
  isWorking(name: string): Promise<boolean>
  log: Pick<RoomLog, 'info' | 'warn' | 'error'>
}

/** One whose files could not be read, and when they are tried again. */
interface Lost {
  kept: DevKept
  at: number
}

export function devOf({ running, engine, plugins, file, unopened, isWorking, log }: DevDeps): Dev {
  let cancel = (): void => undefined
  let ending: DevKept[] = []
  let lost = unopened.map((kept): Lost => ({ kept, at: kept.ending === true ? 0 : kept.until }))

  /** Nothing that has workers is forgotten, whoever can be opened at the moment. */
  async function keep(parts: readonly DevPart[]): Promise<void> {
    ending = ending.filter(({ name }) => plugins.leaving().includes(name))
    const others = [...ending, ...lost.map((one) => one.kept)]
    const isOther = ({ name }: DevKept): boolean => !parts.some((part) => part.asked.name === name)
    await keepDev(file, [...parts.map(keptOf), ...others.filter(isOther)])
  }

  /** The daemon goes by other parts from now on. */
  async function take(parts: readonly DevPart[], how: Parameters<Engine['configure']>[1]): Promise<void> {
    await engine.configure(engineConfig(withDev(running.now, parts).config), how)
    running.dev = parts
    watch()
  }

  async function attach(asked: DevAsked, principal: string): ReturnType<Dev['attach']> {
    const { name, until } = asked
    demandRoom(asked)
    const { part, problems } = await openPart(asked, running.now.config)
    if (part === undefined) return { problems }
    const before = running.dev.find((one) => one.asked.name === name)
    const attached = { name, version: part.plugin.manifest.version, until }
    if (isDeepStrictEqual(before, part)) return { attached: { ...attached, changed: false }, problems: [] }
    const parts = [...running.dev.filter((one) => one !== before), part]
    const staged = await plugins.stage(withDev(running.now, parts), devProblem(name))
    if ('problems' in staged) return { problems: staged.problems }
    try {
      const { lost, failed } = await accountAll(staged.candidates, engine)
      const said = [
        ...(failed === undefined ? [] : [failed]),
        ...lost.map(({ worker, why }) => `${worker} is not accounted for: ${why}`),
      ]
      if (said.length > 0) {
        await staged.discard()
        const fix = 'mend it, or end these workers; the build before goes on'
        return { problems: said.map((reason) => devProblem(name)([], { reason, fix })) }
      }
      // Durable first: what is attached has an end.
      await keep(parts)
      const change = { path: `providers.${name}`, kind: before === undefined ? 'added' : 'changed', effect: 'for development' }
      const versions = Object.fromEntries(staged.candidates.map(({ provider, plugin }) => [provider, versionOf(plugin)]))
      await take(parts, { principal, changes: [change], versions, commit: () => staged.commit() })
    } catch (error) {
      await staged.discard()
      await keep(running.dev)
      throw error
    }
    lost = lost.filter((one) => one.kept.name !== name)
    announce(part)
    return { attached: { ...attached, changed: !isDeepStrictEqual(before?.plugin, part.plugin) }, problems: [] }
  }

  function demandRoom({ name, until }: DevAsked): void {
    const conflict = (fact: string, hint: string): EngineError => new EngineError('conflict', fact, { hint })
    if (!running.now.config.development)
      throw conflict(
        'this daemon takes no plugins under development',
        "Write 'development: true' under 'host' in muster.yaml, and restart it: then whoever is admin may load code of its machine.",
      )
    if (isTaken(name, running.now)) throw conflict(`the configuration has the name ${name}`, 'Use another name.')
    if (running.dev.length >= most && !running.dev.some((one) => one.asked.name === name))
      throw conflict(`there are ${most} plugins under development`, 'End one of them.')
    if (until > engine.clock.wall() + longestMs) throw conflict('its deadline is more than 24 hours away', 'Attach it for less.')
  }

  async function detach(name: string, principal: string): Promise<void> {
    const found = running.dev.find((one) => one.asked.name === name)
    if (found === undefined)
      throw new EngineError('not-found', `no plugin under development has the name ${name}`, {
        hint: 'It may have come to its deadline.',
      })
    const parts = running.dev.filter((one) => one !== found)
    const staged = await plugins.stage(withDev(running.now, parts), devProblem(name))
    if ('problems' in staged) throw new EngineError('conflict', staged.problems[0]?.reason ?? 'it cannot be taken away')
    const change = { path: `providers.${name}`, kind: 'removed', effect: 'it goes once its last worker is gone' }
    await take(parts, { principal, changes: [change], commit: () => staged.commit() })
    engine.conditions.clear({ scope: 'provider', name, type: 'development' })
    ending.push({ ...found.asked, ending: true })
    await keep(parts)
    log.info({ plugin: name, principal }, 'DEVELOPMENT: a plugin is taken away; it goes once its last worker is gone')
  }

  function announce({ asked: { name, folder, until }, ending: isEnding }: DevPart): void {
    if (isEnding === true) return
    const end = new Date(until).toISOString()
    log.warn({ plugin: name, folder, until: end }, 'DEVELOPMENT: a plugin is loaded from a folder, and nobody checks its files')
    engine.conditions.raise({
      ...{ scope: 'provider', name, type: 'development' },
      message: `a plugin under development, loaded from ${folder} until ${end}`,
      hint: 'It ends by itself then. Who attached it ends it before with Ctrl-C.',
    })
  }

  /** Whether or not their authors are still there. */
  function watch(): void {
    cancel()
    const ends = running.dev.map((part) => ({ at: endOf(part), work: () => expire(part) }))
    const tries = lost.map((one) => ({ at: one.at, work: () => retry(one) }))
    const [next] = [...ends, ...tries].toSorted((one, other) => one.at - other.at)
    if (next === undefined) return
    cancel = engine.clock.after(Math.max(0, next.at - engine.clock.wall()), () => void running.inTurn(next.work))
  }

  /** Whoever does not allow it any more has none. */
  function endOf({ asked, ending: isEnding }: DevPart): number {
    return isEnding !== true && running.now.config.development ? asked.until : 0
  }

  async function expire(part: DevPart): Promise<void> {
    if (!running.dev.includes(part)) return
    try {
      await detach(part.asked.name, 'deadline')
    } catch (error) {
      log.error({ plugin: part.asked.name, err: error }, 'a plugin could not be taken away at its deadline; it is tried again')
      cancel = engine.clock.after(againMs, watch)
    }
  }

  /** At its deadline, and until its workers are gone or it can be opened and ends them. */
  async function retry(one: Lost): Promise<void> {
    if (!lost.includes(one)) return
    const { name } = one.kept
    lost = lost.filter((other) => other !== one)
    try {
      if (await isOver(one.kept)) await keep(running.dev)
      else lost.push({ ...one, at: engine.clock.wall() + againMs })
    } catch (error) {
      lost.push({ ...one, at: engine.clock.wall() + againMs })
      log.error({ plugin: name, err: error }, 'a plugin that could not be opened could not be ended; it is tried again')
    }
    watch()
  }

  /** True also where it is there again, to end. */
  async function isOver({ ending: _ending, ...asked }: DevKept): Promise<boolean> {
    const { name } = asked
    if (isTaken(name, running.now) || !(await isWorking(name))) return true
    const { part } = await openPart(asked, running.now.config)
    if (part === undefined) return false
    const parts: DevPart[] = [...running.dev, { ...part, ending: true }]
    const staged = await plugins.stage(withDev(running.now, parts), devProblem(name))
    if ('problems' in staged) return false
    try {
      const change = { path: `providers.${name}`, kind: 'added', effect: 'it ends its last workers' }
      await take(parts, { principal: 'deadline', changes: [change], commit: () => staged.commit() })
    } catch (error) {
      await staged.discard()
      throw error
    }
    return true
  }

  plugins.onChange(({ name, state }) => {
    // It has gone with its last worker; with the daemon it would be leaving still.
    if (state !== 'stopped' || !ending.some((one) => one.name === name) || plugins.leaving().includes(name)) return
    running
      .inTurn(() => keep(running.dev))
      .catch((error: unknown) => log.error({ plugin: name, err: error }, 'a plugin that has gone could not be forgotten'))
  })
  for (const part of running.dev) announce(part)
  watch()
  return {
    attach: (asked, principal) => running.inTurn(() => attach(asked, principal)),
    detach: (name, principal) => running.inTurn(() => detach(name, principal)),
  }
}
