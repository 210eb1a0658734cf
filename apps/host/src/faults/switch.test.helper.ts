/**
 * Callers of a host while another version of a plugin takes over by the operation of an upgrade, again and again, and beside it the plain
 * way: the process is killed and started again. The host is in this process: engine, store, guard and the operation, as the daemon has
 * them. Every call that reaches the guard and ends counts, the engine's own too.
 */
import { chmod } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isProviderError } from '@muster/core'
import { waitFor } from '@muster/test/systems/wait'
import { engineConfig } from '../apply.ts'
import type { Engine } from '../engine/api.ts'
import { startEngine } from '../engine/engine.ts'
import { examine } from '../examine.ts'
import { newTraceparent } from '../observe/trace.ts'
import type { CallWitness, GuardedProvider } from '../plugins/api.ts'
import { startPlugins } from '../plugins/room.ts'
import { lockVersion, mirrorBuilt } from '../plugins/testing/versions.ts'
import { openRunning } from '../running.ts'
import { openIdentity } from '../store/identity.ts'
import { openSqliteStore } from '../store/open.ts'
import { openSealKey, sealer, sealKeyPath } from '../store/seal.ts'
import { acquireTerm } from '../store/term.ts'
import { upgradeOf } from '../upgrade.ts'
import { makeSite, patienceMs } from './daemon.test.helper.ts'

export interface SwitchProof {
  callers: number
  /** At the least: it goes on until there were as many switches as well. */
  calls: number
  switches: number
  kills: number
}

export interface Counted {
  /** To the plugin through the guard; streams, which begin anew by themselves, are not among them. */
  calls: number
  failed: number
  /** Upgrades, or kills. */
  times: number
  /** Of those that failed, what the first ones were. */
  said: string[]
}

export interface SwitchProved {
  switched: Counted
  killed: Counted
  /** Live workers that the versions accounted for, over all upgrades. */
  accounted: number
}

const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }
const alias = 'fake'
export const versions = ['1.0.0', '2.0.0'] as const
/** Workers that live from the first upgrade to the last. */
const held = 8

/** Rejects only where it cannot be measured; what failed is in the answer. */
export async function proveSwitch(proof: SwitchProof): Promise<SwitchProved> {
  const host = await openHost()
  try {
    const leases = await Promise.all(Array.from({ length: held }, () => host.lease()))
    let accounted = 0
    let next = 1
    const switched = await count(host, proof, {
      times: proof.switches,
      act: async () => {
        accounted += await host.upgradeTo(versions[next % versions.length] ?? '')
        next += 1
      },
    })
    const killed = await count(host, { ...proof, calls: 0 }, { times: proof.kills, act: () => killAndWait(host.provider) })
    for (const lease of leases) await host.release(lease)
    return { switched, killed, accounted }
  } finally {
    await host.close()
  }
}

export interface Host {
  provider: GuardedProvider
  /** Told of each call that ends. */
  told: { end(method: string, code: string): void }
  /** The id of one that is active. */
  lease(): Promise<string>
  release(id: string): Promise<void>
  /** By the operation, as a daemon does it. Answers how many live workers it accounted for; rejects where it was not taken. */
  upgradeTo(version: string): Promise<number>
  close(): Promise<void>
}

export async function openHost(): Promise<Host> {
  const site = await makeSite({
    providers: `p: { plugin: ${alias}, config: {} }`,
    pools: 'hold: { placement: [p], worker: { work: hold, grace: 500ms }, scale: { max: 100 } }',
    plugins: {},
  })
  // Users of plugins come to their own folders through it.
  await chmod(site.dir, 0o711)
  const [mirror, file, store] = [join(site.dir, 'mirror'), join(site.dir, 'plugins.json'), join(site.data, 'plugins')]
  await mirrorBuilt(
    mirror,
    'plugin-fake',
    versions.map((version) => ({ version })),
  )
  const lock = (version: string): Promise<void> =>
    lockVersion({ file, alias, package: '@muster/plugin-fake', version, mirror, store })
  await lock(versions[0])
  const { found, problems } = await examine(site.config, () => [store], { strictly: true })
  if (found === undefined || problems.length > 0) throw new Error(JSON.stringify(problems))
  const { config, discovery } = found
  const records = await openSqliteStore(site.data, {})
  const { owner } = await openIdentity(records, site.data, {})
  const term = await acquireTerm(records, { holder: `switch:${process.pid}`, exclusive: true })
  const told: Host['told'] = { end: () => undefined }
  const witness: CallWitness = ({ method, stream, traceparent = newTraceparent() }) => ({
    traceparent,
    end: (code) => stream || told.end(method, code),
  })
  const plugins = startPlugins({ config, discovery, owner, fence: term, log: silent, witness, random: () => 0 })
  const seals = sealer(openSealKey(sealKeyPath(site.data)))
  const engine = await startEngine({ store: records, sealer: seals, owner, fence: term, plugins, ...engineConfig(config) })
  const running = openRunning({ ...found, config })
  const silently = { killpoint: () => undefined, entries: () => [], switched: () => undefined }
  const upgrade = upgradeOf({ running, store, engine, plugins, ...silently })
  const provider = plugins.provider('p')
  await waitFor('the provider to be ready', () => provider.status().state === 'ready', { timeoutMs: patienceMs })
  return {
    provider,
    told,
    lease: () => leaseOf(engine),
    async release(id) {
      await engine.leases.release(id, { reason: 'over', force: true })
    },
    async upgradeTo(version) {
      await lock(version)
      const done = await upgrade(alias, { principal: 'tester', rehearse: false, keepOld: false })
      if (!done.switched) throw new Error(`not taken: ${JSON.stringify(done)}`)
      return Number(/all (\d+) live/.exec(done.steps.find(({ step }) => step === 'account')?.fact ?? '')?.[1] ?? 0)
    },
    async close() {
      await engine.stop()
      await plugins.stop()
      await term.release()
      await records.close()
      await site.dispose()
    },
  }
}

async function leaseOf({ leases }: Engine): Promise<string> {
  const { id } = await leases.request({ pool: 'hold', requirements: {}, ttlMs: 3_600_000, principal: 'tester' })
  const { lease } = await leases.wait(id, (view) => view.lease.state === 'active')
  if (lease.state !== 'active') throw new Error(`a lease ended as ${lease.state}`)
  return id
}

export async function killAndWait(provider: GuardedProvider): Promise<void> {
  const { pid } = provider.status()
  // Zero would be everybody of this group.
  if (pid === undefined) throw new Error('there is no process to kill')
  process.kill(pid, 'SIGKILL')
  await waitFor(
    'another process',
    async () => {
      const now = provider.status()
      return now.pid !== undefined && now.pid !== pid && now.state === 'ready'
    },
    { timeoutMs: patienceMs },
  )
}

/** Each caller makes its next request when the last one has ended. */
async function count(
  host: Host,
  proof: SwitchProof,
  { times, act }: { times: number; act: () => Promise<void> },
): Promise<Counted> {
  const counted: Counted = { calls: 0, failed: 0, times: 0, said: [] }
  const lost = (what: string): void => {
    counted.failed += 1
    if (counted.said.length < 5) counted.said.push(what)
  }
  host.told.end = (method, code) => {
    counted.calls += 1
    if (code !== 'ok') lost(`${method}: ${code}`)
  }
  let over = false
  const callers = Array.from({ length: proof.callers }, async (_, n) => {
    for (let round = n; !over; round++) {
      try {
        await oneRequest(host, round)
      } catch (error) {
        // What the guard refused is counted there.
        if (!isProviderError(error)) lost((error as Error).message)
        // paced: as long as the refusal itself asks for; the same gap is no second loss for whoever comes again sooner.
        else await sleep(error.retryAfterMs ?? 0)
      }
    }
  })
  try {
    while (counted.times < times || counted.calls < proof.calls) {
      await act()
      counted.times += 1
      const before = counted.calls - counted.failed
      // By the version, or the process, that is there now; after a fall also the breaker takes its time.
      await waitFor('callers to be answered', () => counted.calls - counted.failed >= before + proof.callers, {
        timeoutMs: patienceMs,
      })
    }
  } finally {
    over = true
    await Promise.all(callers)
    host.told.end = () => undefined
  }
  return counted
}

/** A lease, for which the engine launches and terminates a worker, and what only asks, in turn. */
async function oneRequest({ provider, lease, release }: Host, round: number): Promise<unknown> {
  if (round % 4 === 0) return release(await lease())
  if (round % 4 === 1) return provider.list({ limit: 10 })
  return provider.inspect([{ id: `w${'0'.repeat(26)}` }])
}
