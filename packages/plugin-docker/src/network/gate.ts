/**
 * Restricted egress: a small container that holds the worker's network and its rules. The worker joins the network of the gate; the
 * rules stand in the kernel before its first process, and go with the network.
 */
import { lookup } from 'node:dns/promises'
import { type Call, type LaunchSpec, ProviderError } from '@muster/core'
import type { ContainerInspect, Engine } from '../client.ts'
import { EngineFailure } from '../errors.ts'
import { type AllowedPlace, type Destination, destinationOf, parseAllow, rulesFor } from './firewall.ts'
import { makeHelper, startHelper } from '../engine/helpers.ts'
import { addressed, endpointOf, exposedPorts, type NetworkPlan, noResolver } from './network.ts'
import { runProgram } from '../engine/programs.ts'
import type { DockerSettings } from '../settings.ts'
import { raceAbort } from '@muster/provider-parts/waiting'
import { partLabel } from '../labels.ts'

export interface GateParts {
  engine: Engine
  spec: LaunchSpec
  settings: DockerSettings
  gate: NonNullable<NetworkPlan['gate']>
  /** Where services are, which may be reached. */
  services?: string | undefined
  /** Has iptables. */
  image: string
  call: Call
  /** Ends what only waits, also when the worker is terminated; what an engine is asked to make is not left half-made for it. */
  given: AbortSignal
}

const holdScript = 'trap "exit 0" TERM; while sleep 2147483 & wait $!; do :; done'
// Another process that launches the same worker may hold the lock of the rules; it has it for some 10 ms.
const rulesScript = 'printf "%s" "$MUSTER_V4" | iptables-restore -w 10 && printf "%s" "$MUSTER_V6" | ip6tables-restore -w 10'

/** Makes the gate and sets its rules; repeatable. Answers only when they stand. */
export async function raiseGate(parts: GateParts): Promise<void> {
  const { engine, spec, gate, call } = parts
  const { signal } = call
  const places = (spec.network?.allow ?? []).map((text, index) => parseAllow(text, `network.allow.${index}`))
  const destinations = destinationsOf(places, await create(parts, await resolved(places, parts)))
  for (const network of gate.networks.slice(1)) await connect(engine, { network, container: gate.name }, signal)
  await startHelper(engine, gate.name, signal)
  const subnets = parts.services === undefined ? [] : await subnetsOf(engine, parts.services, signal)
  const all = [...destinations, ...subnets.map((cidr) => destinationOf(cidr))]
  const env = [`MUSTER_V4=${rulesFor(4, all)}`, `MUSTER_V6=${rulesFor(6, all)}`]
  const { code, output } = await runProgram({
    engine,
    path: `/containers/${gate.name}`,
    argv: ['/bin/sh', '-c', rulesScript],
    env,
    signal: call.signal,
  })
  if (code === 0) return
  throw new ProviderError('unsupported', `the rules of restricted egress do not stand: ${output.slice(0, 500)}`, {
    effect: 'possible',
    path: 'network.egress.restricted',
    hint: "The image of the provider's config.firewall needs /bin/sh, iptables-restore and ip6tables-restore that the kernel takes.",
  })
}

/** Answers the addresses that it has put before the worker: of a gate that was there, its own. */
async function create({ engine, spec, settings, gate, image, call }: GateParts, hosts: string[]): Promise<string[]> {
  const { ExtraHosts = [], ...rest } = addressed(settings.network)
  const [first = ''] = gate.networks
  const body = {
    Image: image,
    Hostname: spec.id,
    Labels: { ...spec.tags, [partLabel.part]: 'gate' },
    Entrypoint: ['/bin/sh'],
    Cmd: ['-c', holdScript],
    User: '0:0',
    Healthcheck: { Test: ['NONE'] },
    ...exposedPorts(settings.network),
    ...endpointOf(first, settings),
    HostConfig: {
      ...rest,
      NetworkMode: first,
      ExtraHosts: [...(ExtraHosts as string[]), ...hosts],
      ...noResolver,
      CapDrop: ['ALL'],
      CapAdd: ['NET_ADMIN', 'NET_RAW'],
      SecurityOpt: ['no-new-privileges=true'],
      ReadonlyRootfs: true,
      // Where iptables locks.
      Tmpfs: { '/run': 'rw,nosuid,nodev,noexec,size=1m' },
      PidsLimit: 32,
      Memory: GATE_BYTES,
      MemorySwap: GATE_BYTES,
    },
  }
  await makeHelper(engine, { name: gate.name, spec, body }, call.signal)
  const path = `/containers/${gate.name}/json`
  const { HostConfig } = await engine.json<ContainerInspect>({ method: 'GET', path, signal: call.signal })
  return ((HostConfig.ExtraHosts as string[] | null | undefined) ?? []).slice((ExtraHosts as string[]).length)
}

/** A shell that sleeps needs less than 1 MB; iptables with thousands of rules some 20. */
const GATE_BYTES = 64 * 1024 * 1024

/** The names among the places, as `name:address`: they are asked for once, here, and put before the worker. */
async function resolved(places: readonly AllowedPlace[], { given }: GateParts): Promise<string[]> {
  const hosts: string[] = []
  for (const [index, { host, kind }] of places.entries()) {
    if (kind === 'address') continue
    const found = await raceAbort(lookup(host, { all: true }), given).catch((cause: unknown) => {
      given.throwIfAborted()
      throw new ProviderError('transient', `${host} has no address now`, {
        effect: 'none',
        path: `network.allow.${index}`,
        cause,
      })
    })
    hosts.push(...found.map(({ address }) => `${host}:${address}`))
  }
  return hosts
}

/** `hosts` as `name:address`. */
function destinationsOf(places: readonly AllowedPlace[], hosts: readonly string[]): Destination[] {
  return places.flatMap(({ host, kind, port }) => {
    if (kind === 'address') return [destinationOf(host, port)]
    const own = hosts.filter((line) => line.startsWith(`${host}:`)).map((line) => line.slice(host.length + 1))
    return own.map((address) => destinationOf(address, port))
  })
}

async function connect(
  engine: Engine,
  { network, container }: { network: string; container: string },
  signal: AbortSignal,
): Promise<void> {
  try {
    await engine.json({ method: 'POST', path: `/networks/${network}/connect`, body: { Container: container }, signal })
  } catch (error) {
    if (!(error instanceof EngineFailure) || !/already exists in network|already attached/i.test(error.message)) throw error
  }
}

async function subnetsOf(engine: Engine, network: string, signal: AbortSignal): Promise<string[]> {
  const { IPAM } = await engine.json<{ IPAM: { Config: { Subnet?: string }[] | null } }>({
    method: 'GET',
    path: `/networks/${network}`,
    signal,
  })
  return (IPAM.Config ?? []).flatMap(({ Subnet }) => (Subnet === undefined ? [] : [Subnet]))
}

/** The container whose network a worker has: its own, or its gate. */
export async function networkHolder(engine: Engine, container: ContainerInspect, signal: AbortSignal): Promise<ContainerInspect> {
  const mode = container.HostConfig.NetworkMode ?? ''
  if (!mode.startsWith('container:')) return container
  const path = `/containers/${mode.slice('container:'.length)}/json`
  const holder = await engine.json<ContainerInspect>({ method: 'GET', path, signal })
  return { ...container, NetworkSettings: holder.NetworkSettings }
}
