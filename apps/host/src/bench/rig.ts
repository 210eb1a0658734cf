/** A host without its API, on a data folder of its own, with the null provider in its own process: what the figures are taken from. */
import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseConfig, type MusterConfig } from '../config/load.ts'
import type { Engine } from '../engine/api.ts'
import { startEngine } from '../engine/engine.ts'
import { createLog } from '../observe/log.ts'
import { type ObserveRoom, openObserve } from '../observe/room.ts'
import type { CallWitness, PluginRoom } from '../plugins/api.ts'
import { discover, type Discovery } from '../plugins/discover.ts'
import { startPlugins } from '../plugins/room.ts'
import { openIdentity } from '../store/identity.ts'
import { openSqliteStore } from '../store/open.ts'
import { openSealKey, sealer, sealKeyPath } from '../store/seal.ts'
import type { Store } from '../store/store.ts'
import { acquireTerm } from '../store/term.ts'

export interface Rig {
  readonly engine: Engine
  /** Of the workers. */
  readonly owner: string
  readonly store: Store
  plugins: PluginRoom
  /** Stops the engine and the store, keeps the plugins, and starts both again. Resolves with the milliseconds to a full reconcile. */
  restart(): Promise<number>
  stop(): Promise<void>
}

export interface RigOptions {
  /** Folder of the plugin's package. */
  plugin: string
  name: string
  config?: object
  /** YAML of the pool's keys. */
  pool: string
}

export async function startRig({ plugin, name, config: providerConfig = {}, pool }: RigOptions): Promise<Rig> {
  const dir = await mkdtemp(join(tmpdir(), 'muster-bench-'))
  const data = join(dir, 'data')
  await mkdir(data, { mode: 0o700 })
  await writeFile(
    join(dir, 'plugins.json'),
    JSON.stringify({ plugins: { p: { package: name, version: '0.1.0', source: { folder: plugin } } } }),
  )
  const text = `host: { data: data }\nproviders:\n  p: { plugin: p, config: ${JSON.stringify(providerConfig)} }\npools:\n  p: { placement: [p], ${pool} }\n`
  const { config, problems } = parseConfig(join(dir, 'muster.yaml'), text)
  if (config === undefined) throw new Error(JSON.stringify(problems))
  const discovery = await discover(config.pluginsFile, { stores: [join(data, 'plugins')], shown: 'plugins.json' })
  if (discovery.problems.length > 0) throw new Error(JSON.stringify(discovery.problems))
  const rig = await openRig({ config, discovery }, 'p')
  return {
    ...rig,
    // Both change with a restart.
    get engine() {
      return rig.engine
    },
    get store() {
      return rig.store
    },
    async stop() {
      await rig.stop()
      await rm(dir, { recursive: true, force: true })
    },
  }
}

/**
 * Of a deployment that is there, once this one of its providers is ready. `called`: told of each call to a provider that has ended, with its
 * milliseconds.
 */
export async function openRig(
  { config, discovery }: { config: MusterConfig; discovery: Discovery },
  ready: string,
  called?: (call: { provider: string; method: string }, ms: number) => void,
): Promise<Rig> {
  const { data } = config
  const log = createLog({ level: 'error', format: 'json', write: () => undefined })
  // As in the daemon: what it counts is part of its cost.
  const observe = await openObserve({ config, log })
  await observe.metrics.load()
  let part = await openStore(data, observe)
  const plugins = startPlugins({
    config,
    discovery,
    owner: part.owner,
    fence: { epoch: () => part.term.epoch(), mayAct: () => part.term.mayAct() },
    log,
    witness: called === undefined ? observe.witness : timed(observe.witness, called),
  })
  while (plugins.provider(ready).status().state !== 'ready') await new Promise((resolve) => setTimeout(resolve, 10))
  const rig: { -readonly [key in keyof Rig]: Rig[key] } = {
    owner: part.owner,
    engine: await openEngine(config, { part, plugins, observe }),
    store: part.store,
    plugins,
    async restart() {
      await rig.engine.stop()
      await part.close()
      const begin = performance.now()
      part = await openStore(data, observe)
      rig.store = part.store
      rig.engine = await openEngine(config, { part, plugins, observe })
      await rig.engine.reconcile()
      return performance.now() - begin
    },
    async stop() {
      await rig.engine.stop()
      await plugins.stop()
      await part.close()
      await observe.stop()
    },
  }
  return rig
}

function timed(witness: CallWitness, called: (call: { provider: string; method: string }, ms: number) => void): CallWitness {
  return (call) => {
    const began = performance.now()
    const seen = witness(call)
    return {
      ...seen,
      end(code) {
        called(call, performance.now() - began)
        seen.end(code)
      },
    }
  }
}

interface Part {
  store: Store
  owner: string
  term: Awaited<ReturnType<typeof acquireTerm>>
  close(): Promise<void>
  sealer: ReturnType<typeof sealer>
}

async function openStore(data: string, observe: ObserveRoom): Promise<Part> {
  const store = await openSqliteStore(data, { onCommit: observe.committed })
  const identity = await openIdentity(store, data, {})
  const term = await acquireTerm(store, { holder: `bench:${process.pid}`, exclusive: true })
  identity.note(term.epoch())
  return {
    store,
    term,
    owner: identity.owner,
    sealer: sealer(openSealKey(sealKeyPath(data))),
    async close() {
      await term.release()
      await store.close()
    },
  }
}

async function openEngine(
  config: MusterConfig,
  { part, plugins, observe }: { part: Part; plugins: PluginRoom; observe: ObserveRoom },
): Promise<Engine> {
  const { store, owner, term, sealer: seal } = part
  const { pools, reconcileMs, orphanGraceMs } = config
  const engine = await startEngine({
    store,
    owner,
    fence: term,
    sealer: seal,
    plugins,
    pools,
    reconcileMs,
    orphanGraceMs,
    retention: { recordsMs: 1e10, journalMs: 1e10 },
  })
  observe.engine(engine)
  return engine
}
