/** The daemon, top to bottom: configuration, store, term, plugins, engine, runs, API; stopped in reverse. Workers live on. */
import { chmodSync, statSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { type Api, startApi } from './api/server.ts'
import { type Apply, applyOf, engineConfig, withCertificate } from './apply.ts'
import { exits } from './cli/io.ts'
import { isLoopback } from './config/address.ts'
import type { MusterConfig } from './config/load.ts'
import { makeFolders } from './config/places.ts'
import { formatProblem } from './config/problem.ts'
import { devOf } from './dev.ts'
import { type Deployment, devFile, readDev, withDev } from './dev-parts.ts'
import { startClockWatch } from './engine/clock-watch.ts'
import { startDiskWatch } from './engine/disk.ts'
import { startEngine } from './engine/engine.ts'
import { givenBefore } from './engine/given.ts'
import { fallbacksOf } from './engine/fallback.ts'
import { heldContents, keptPlugins } from './engine/kept.ts'
import { killpoint } from './engine/killpoint.ts'
import { startLeftovers } from './engine/leftovers.ts'
import { startRuns } from './engine/runs/index.ts'
import { workingProviders } from './engine/working.ts'
import { type Examined, examine } from './examine.ts'
import { fallenBack, startFallBack } from './fallback.ts'
import { openKept } from './kept.ts'
import { entriesFor, takeLeft } from './leaving.ts'
import { createLog, type LogLevel } from './observe/log.ts'
import { openObserve } from './observe/room.ts'
import type { Discovery } from './plugins/discover.ts'
import { lockedFolders } from './plugins/lock.ts'
import { startPlugins } from './plugins/room.ts'
import { openRunning } from './running.ts'
import { startFailure } from './start-failure.ts'
import { placeOf, storePath } from './store/files.ts'
import { openIdentity, type Restore } from './store/identity.ts'
import { partedWarning } from './store/linked.ts'
import { checkFolder } from './store/note.ts'
import { openSqliteStore } from './store/open.ts'
import { openSealer } from './store/sealer.ts'
import { acquireTerm } from './store/term.ts'
import { startedVersions, upgradeOf } from './upgrade.ts'
import { hostVersion } from './version.ts'

export interface DaemonOptions {
  /** Instead of the configuration's data folder; absolute. */
  data?: string
  listen?: { host: string; port: number }
  /** What to do with a store that was restored or copied. */
  restore?: Restore
  logLevel: LogLevel
  logFormat: 'json' | 'text'
}

/** 0: stopped as asked · 1: not started, or no longer allowed to act; the last lines say why · 66: its data folder was taken away · 70: a fault (EX_SOFTWARE of sysexits) */
export type DaemonExit = 0 | 1 | 70

/** Runs until a signal. Everything it has to say goes to stderr. */
export async function runDaemon(file: string, options: DaemonOptions): Promise<DaemonExit> {
  const log = createLog({ level: options.logLevel, format: options.logFormat, write: (line) => process.stderr.write(line) })
  const fatal = (error: unknown): void => {
    // Nobody knows what is still right in memory. The store does: the next start takes everything up from there.
    log.fatal({ err: error }, 'a fault: the daemon ends at once; workers and runs go on, and the next start takes them up')
    process.exit(70)
  }
  // Whoever read the log may go; the daemon stays.
  process.stderr.on('error', () => undefined)
  process.on('uncaughtException', fatal)
  process.on('unhandledRejection', fatal)
  const reload = { now: (): void => log.warn('SIGHUP: it has not started yet') }
  const stop = stopSignal(log, () => reload.now())
  const began = process.uptime()
  let running: Running
  try {
    const examined = await examine(file, (config) => [
      join(prepareData(options.data ?? config.data, config.isolation), 'plugins'),
    ])
    for (const problem of examined.problems) process.stderr.write(`${formatProblem(problem)}\n`)
    if (examined.found === undefined || examined.problems.length > 0) {
      say('not started: see above; `muster check` says the same without starting')
      return 1
    }
    const config = {
      ...examined.found.config,
      ...(options.data && { data: options.data }),
      ...(options.listen && { listen: options.listen }),
    }
    if (config.tls === undefined && !isLoopback(config.listen.host)) {
      say(`not started: '${config.listen.host}' is not loopback, and there is no TLS: tokens would travel in clear`)
      say('  Add host.tls with a certificate and its key, or listen on 127.0.0.1 or [::1].')
      return 1
    }
    running = await startRooms({ config, found: examined.found, log, restore: options.restore })
    const { apply } = running
    reload.now = () => void reloaded(apply, log)
  } catch (error) {
    say(startFailure(error))
    return 1
  }
  log.info(
    { url: running.url, pid: process.pid, version: hostVersion, ms: Math.round((process.uptime() - began) * 1000) },
    'ready',
  )
  const reason = await Promise.race([stop.asked, running.lost])
  reload.now = () => undefined
  const lost = typeof reason === 'string' ? undefined : reason.lost
  if (lost === 'moved') {
    // Nothing is written any more: by their names these would be the files of whoever is there now.
    log.fatal(
      { data: running.data },
      'the data folder was moved, removed or replaced: the daemon ends at once; workers and runs go on',
    )
    process.exit(exits.moved)
  }
  if (lost === 'taken') log.error('another host has taken the term: this one must not act any more and stops')
  log.info({ reason: lost === undefined ? reason : 'lost' }, 'stopping; workers and runs go on')
  await running.stop()
  log.info('stopped')
  stop.forget()
  return lost === undefined ? 0 : 1
}

interface Running {
  url: string
  data: string
  /** Resolves when this host must not act any more. */
  lost: Promise<{ lost: 'taken' | 'moved' }>
  apply: Apply
  stop(): Promise<void>
}

interface Start {
  config: MusterConfig
  found: NonNullable<Examined['found']>
  log: Logger
  restore: Restore | undefined
}

async function startRooms({ config: own, found, log, restore }: Start): Promise<Running> {
  const dataDir = own.data
  let { retention } = own
  // What was started is stopped in reverse, also when a later room cannot start.
  const stops: (() => Promise<unknown>)[] = []
  const stop = async (): Promise<void> => {
    for (const close of stops.splice(0).reverse())
      await close().catch((error: unknown) => log.error({ err: error }, 'a part did not stop as it should'))
  }
  try {
    const observe = await openObserve({ config: own, log })
    stops.push(() => observe.stop())
    checkFolder(dataDir, restore)
    const parted = (linked: readonly string[]): void => log.warn({ linked }, partedWarning)
    const store = await openSqliteStore(dataDir, { onCommit: observe.committed, onParted: parted })
    const inPlace = placeOf(storePath(dataDir))
    stops.push(() => store.close())
    const identity = await openIdentity(store, dataDir, restore === undefined ? {} : { restore })
    const seals = await openSealer(store, dataDir)
    const term = await acquireTerm(store, { holder: `${hostname()}:${process.pid}`, exclusive: true, inPlace })
    stops.push(() => term.release())
    identity.note(term.epoch())
    const { owner } = identity
    const given = (provider: string): ReturnType<typeof givenBefore> => givenBefore(provider, { store, sealer: seals })
    const by = { config: own, stores: [join(dataDir, 'plugins')] as [string] }
    const fallen = async (one: Pick<Start['found'], 'config' | 'discovery'>): Promise<Discovery> =>
      fallenBack(one.discovery, await fallbacksOf(store), { ...by, config: one.config })
    const files = await fallen(found)
    const attached = await readDev({ config: own, discovery: found.discovery }, await workingProviders(store))
    for (const problem of attached.lost) log.error({ ...problem }, 'DEVELOPMENT: what was attached cannot be opened any more')
    const { config, discovery } = withDev({ config: own, discovery: files }, attached.parts)
    const left = await takeLeft(store, { config: own, discovery: files, stores: by.stores, sealer: seals })
    const beside = { left: left.opened, discovery, locked: found.discovery }
    const kept = await openKept((await keptPlugins(store)).values(), { ...by, ...beside })
    const rooms = { config, discovery, kept, leaving: left.opened, owner, fence: term }
    const plugins = startPlugins({ ...rooms, log, given, witness: observe.witness })
    stops.push(() => plugins.stop())
    plugins.onChange(({ name, state, reason, hint }) => {
      const bad = state === 'degraded' || state === 'quarantined' || state === 'failed'
      log[bad ? 'warn' : 'info']({ provider: name, state, reason, hint }, 'provider')
    })
    plugins.onKept((name) => log.info({ provider: name, ...plugins.find(name)?.status().kept }, 'kept version'))
    const engine = await startEngine({
      store,
      sealer: seals,
      owner,
      fence: term,
      plugins,
      unopened: left.unopened,
      ...engineConfig(config, left.opened),
      tracing: observe.tracing,
      report: (message, error) => log.error({ err: error }, message),
    })
    stops.push(() => engine.stop())
    observe.engine(engine)
    for (const one of await engine.upgrades.wentBack(await startedVersions(plugins, own.pluginsFile)))
      log.warn({ ...one }, 'a plugin went back to the version before: the lock has not what it had switched to')
    const leftovers = startLeftovers({
      dataDir,
      clock: engine.clock,
      keep: () => retention,
      inUse: async () => {
        return [...plugins.roots(), ...(await heldContents(store)), ...(await lockedFolders(own.pluginsFile))]
      },
      report: (message, data) => log.error(data, message),
    })
    stops.push(leftovers.stop)
    stops.push(startClockWatch({ conditions: engine.conditions, clock: engine.clock }))
    stops.push(startDiskWatch({ dataDir, conditions: engine.conditions, clock: engine.clock }))
    const runs = await startRuns({
      engine,
      dataDir,
      killpoint,
      retention: () => retention,
      ended: observe.runEnded,
      measured: observe.measured,
      report: (message, data) => log.error(data, message),
    })
    stops.push(() => runs.stop())
    let renewed: Api['renewed'] = async () => undefined
    const changing = {
      running: openRunning({ ...found, config: own, discovery: files }, attached.parts),
      store: join(dataDir, 'plugins'),
      engine,
      plugins,
      entries: (of: Deployment) => entriesFor(of, seals),
    }
    const upgrade = upgradeOf({ ...changing, killpoint, switched: leftovers.now })
    const changed = applyOf({
      ...changing,
      fallen,
      applied: (next) => {
        ;({ retention } = next)
        leftovers.now()
      },
    })
    stops.push(startFallBack({ ...changing, log }))
    const apply = withCertificate(changed, (only) => renewed(only))
    const dev = devOf({
      ...{ running: changing.running, engine, plugins, file: devFile(dataDir), log, unopened: attached.unopened },
      isWorking: async (name) => (await workingProviders(store)).has(name),
    })
    const { listen, tls, socket, limits } = config
    const shown = { version: hostVersion, log, observer: observe.api }
    const api = await startApi({
      engine,
      runs,
      apply,
      upgrade,
      dev,
      dataDir,
      listen,
      socket,
      limits,
      ...(tls && { tls }),
      ...shown,
    })
    ;({ renewed } = api)
    stops.push(() => api.close())
    await observe.serve()
    return { url: api.url, data: dataDir, apply, lost: term.lost.then((lost) => ({ lost })), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Makes the data folder, for this user alone; plugins with users of their own pass through it. */
function prepareData(path: string, { users }: MusterConfig['isolation']): string {
  makeFolders(path, 0o700)
  const { mode, gid } = statSync(path)
  const isPassed = users !== 'off' && gid === users.from && (mode & 0o077) === 0o010
  if ((mode & 0o077) !== 0 && !isPassed) chmodSync(path, 0o700)
  return path
}

interface StopSignal {
  /** Resolves with the name of the first signal. A second one ends the process at once. */
  asked: Promise<string>
  forget(): void
}

/** What the operator's SIGHUP leads to; all of it is said in the log. */
async function reloaded(apply: Apply, log: Logger): Promise<void> {
  try {
    const { changes, problems, applied } = await apply({ principal: 'SIGHUP', dryRun: false })
    for (const problem of problems) log.error({ ...problem }, 'the configuration is refused')
    for (const change of applied ? changes : []) log.info({ ...change }, 'changed')
    if (problems.length > 0) log.error('nothing has changed; `muster apply --dry-run` says the same')
    else log.info(applied ? 'another configuration is in force' : 'the configuration is as it was')
  } catch (error) {
    log.error({ err: error }, 'the configuration could not be applied; nothing has changed')
  }
}

const signals = { SIGTERM: 15, SIGINT: 2, SIGHUP: 1 } as const

/** The end of the terminal that it was started in ends the daemon as well; without one, SIGHUP is the usual wish to read the files again. */
function stopSignal(log: Logger, reload: () => void): StopSignal {
  const { promise, resolve } = Promise.withResolvers<string>()
  let first = true
  const listeners = Object.entries(signals).map(([name, number]) => {
    const listener = (): void => {
      if (name === 'SIGHUP' && !process.stderr.isTTY) return reload()
      if (!first) {
        log.warn({ signal: name }, 'a second signal: ending at once')
        process.exit(128 + number)
      }
      first = false
      resolve(name)
    }
    process.on(name, listener)
    return [name, listener] as const
  })
  return {
    asked: promise,
    forget: () => {
      for (const [name, listener] of listeners) process.removeListener(name, listener)
    },
  }
}

function say(text: string): void {
  process.stderr.write(`muster: ${text}\n`)
}
