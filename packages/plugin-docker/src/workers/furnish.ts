/** What must stand before a worker's first process: checked paths, locks of caches, networks, rules, services. Repeatable by anybody, like the launch itself. */
import { ProviderError } from '@muster/core'
import type { Place } from '../inside/archive.ts'
import type { Engine } from '../client.ts'
import { isStatus } from '../errors.ts'
import type { EngineFacts } from '../engine/facts.ts'
import { raiseGate } from '../network/gate.ts'
import { makeHelper } from '../engine/helpers.ts'
import { checkLinks } from './links.ts'
import { type NetworkMake, planOf } from '../network/network.ts'
import { startServices } from './services.ts'
import { settingsOf } from '../settings.ts'
import { type Cache, cachesOf } from './storage.ts'
import type { Supply, Supplying } from './supply.ts'
import { raceAbort } from '@muster/provider-parts/waiting'
import { partLabel } from '../labels.ts'

/** What one provider remembers between launches. */
export interface Furnished {
  /** Paths that were looked at and are no links. */
  paths: Set<string>
  networks: Networks
  /** The image that has iptables. */
  firewall?: string | undefined
  /** The name that the engine has an image under. */
  nameHere(image: string): string
  supply: Supply
}

export interface Furnishing extends Supplying {
  facts: EngineFacts
  place: Place
}

export async function furnish(work: Furnishing, known: Furnished): Promise<void> {
  const { spec, call, facts, place } = work
  // As its engine has it: what stands beside the worker is made of its image too.
  const here = { ...spec, image: known.nameHere(spec.image ?? '') }
  for (const path of await checkLinks(here, place, known.paths)) known.paths.add(path)
  const settings = settingsOf(spec)
  for (const cache of cachesOf(spec, settings)) if (cache.lock === 'exclusive') await lock({ ...work, spec: here }, cache)
  const { networks, gate, services } = planOf(spec, settings)
  for (const network of networks) await known.networks.of(network, work)
  const { engine } = place
  const given = AbortSignal.any([call.signal, work.doomed])
  if (gate !== undefined) {
    const image = await known.supply({ image: known.firewall ?? '' }, work)
    await raiseGate({ engine, spec, settings, gate, services, image, call, given })
  }
  if (services === undefined) return
  const have = (image: string, at: string): Promise<string> => known.supply({ image, at }, work)
  await startServices({ engine, spec, facts, network: services, call, given, have })
}

/** Makes networks, each once in this process however many workers wait for it. */
export interface Networks {
  of(network: NetworkMake, work: Furnishing): Promise<void>
}

export function createNetworks(): Networks {
  const making = new Map<string, Promise<void>>()
  return {
    async of(network, { place }) {
      const flight = making.get(network.name) ?? makeNetwork(network, place.engine).finally(() => making.delete(network.name))
      making.set(network.name, flight)
      await raceAbort(flight, place.signal)
    },
  }
}

/** An engine makes a network in some 100 ms; on a machine under full load it was seen to take seconds. */
const NETWORK_TIMEOUT_MS = 30_000

/** An engine takes two networks of one name: of two that were made at once, one stays. */
async function makeNetwork({ name, internal, labels, ipv6 }: NetworkMake, engine: Engine): Promise<void> {
  const signal = AbortSignal.timeout(NETWORK_TIMEOUT_MS)
  const named = async (): Promise<string[]> => {
    const query = { filters: { name: [`^${name}$`] } }
    const rows = await engine.json<{ Id: string; Name: string }[]>({ method: 'GET', path: '/networks', query, signal })
    return rows
      .filter((row) => row.Name === name)
      .map(({ Id }) => Id)
      .toSorted()
  }
  if ((await named()).length > 0) return
  const addresses = ipv6 === undefined ? {} : { EnableIPv6: true, IPAM: { Config: [{ Subnet: ipv6 }] } }
  // Without an address on the bridge the machine itself is not there for those inside.
  const closed = internal ? { Internal: true, Options: { 'com.docker.network.bridge.inhibit_ipv4': 'true' } } : {}
  const body = { Name: name, CheckDuplicate: true, Driver: 'bridge', Labels: labels, ...closed, ...addresses }
  try {
    await engine.json({ method: 'POST', path: '/networks/create', body, signal })
  } catch (error) {
    if (!isStatus(error, 409)) throw error
  }
  const several = await named()
  let left = several.length
  // One that is in use stays; the others are the later ones of a race, and nobody has joined them.
  for (const id of several.toReversed()) {
    if (left <= 1) return
    try {
      await engine.json({ method: 'DELETE', path: `/networks/${id}`, signal })
      left--
    } catch (error) {
      if (isStatus(error, 404)) left--
      else if (!isStatus(error, 403)) throw error
    }
  }
}

/**
 * Takes a cache for this worker alone. An engine gives a container's name once: the lock is a container that never starts. It goes
 * with its worker, and is found by the worker's tags should that go otherwise.
 */
async function lock({ spec, place }: Furnishing, { volume, at, name: cache }: Cache): Promise<void> {
  const { engine, signal } = place
  const name = volume.replace('muster-cache-', 'muster-lock-')
  const body = { Image: spec.image ?? '', Entrypoint: ['never-started'], Labels: { ...spec.tags, [partLabel.part]: 'lock' } }
  const holder = await makeHelper(engine, { name, spec, body }, signal)
  if (holder === spec.id) return
  throw new ProviderError('capacity', `another worker has the cache ${cache}: ${holder}`, { effect: 'none', path: at })
}
