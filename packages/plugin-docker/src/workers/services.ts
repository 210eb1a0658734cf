/** Databases, browsers and the like beside a worker: containers on its own network, each ready before the next and before the job. */
import { once } from 'node:events'
import { request } from 'node:http'
import type { Duplex } from 'node:stream'
import { type Call, type LaunchSpec, ProviderError, type Readiness, type Resources, type ServiceSpec } from '@muster/core'
import type { ContainerInspect, CreateBody, Engine } from '../client.ts'
import type { EngineFacts } from '../engine/facts.ts'
import { makeHelper, startHelper } from '../engine/helpers.ts'
import { containerName, partLabel } from '../labels.ts'
import { limitsOf } from './limits.ts'
import { noResolver } from '../network/network.ts'
import { settingsOf } from '../settings.ts'
import { pause, raceAbort } from '@muster/provider-parts/waiting'

export interface ServicesParts {
  engine: Engine
  spec: LaunchSpec
  network: string
  call: Call
  /** Ends what only waits, also when the worker is terminated. */
  given: AbortSignal
  facts: Pick<EngineFacts, 'init' | 'logDriver' | 'limits'>
  /** Sees to it that the engine has an image, which the field `at` names; answers the name that it has it under. */
  have(image: string, at: string): Promise<string>
}

/** What an engine's health is asked for; its own checks begin after an interval. */
const POLL_MS = 100
const NANO = 1_000_000
/** An engine takes no less than a millisecond and asks a shell for each check: more often is only load. */
const LEAST_INTERVAL_MS = 50

/** Starts them in the order of the list; repeatable. One that ends, or does not get ready, is `invalid-spec` with its path. */
export async function startServices(parts: ServicesParts): Promise<void> {
  for (const [index, service] of (parts.spec.services ?? []).entries()) {
    const name = serviceName(parts.spec, service)
    const at = `services.${index}`
    parts.given.throwIfAborted()
    const image = await parts.have(service.image, `${at}.image`)
    await run(parts, { ...service, image }, name)
    await ready(parts, { service, name, at })
  }
}

function serviceName({ id }: LaunchSpec, { name }: ServiceSpec): string {
  return `${containerName(id)}-s-${name}`
}

async function run(
  { engine, spec, facts, network, call: { signal } }: ServicesParts,
  service: ServiceSpec,
  name: string,
): Promise<void> {
  await makeHelper(engine, { name, spec, body: serviceBody(spec, service, { network, facts }) }, signal)
  await startHelper(engine, name, signal)
}

/** The body of a service's create. Pure. */
export function serviceBody(
  spec: LaunchSpec,
  service: ServiceSpec,
  { network, facts }: Pick<ServicesParts, 'network' | 'facts'>,
): CreateBody {
  const { name, image, env = {}, command, readiness } = service
  const { swapBytes } = settingsOf(spec)
  return {
    Image: image,
    Hostname: name,
    Labels: { ...spec.tags, [partLabel.part]: 'service' },
    Env: Object.entries(env).map(([key, value]) => `${key}=${value}`),
    ...(command === undefined ? {} : { Cmd: command }),
    ...(readiness === undefined ? {} : { Healthcheck: healthOf(readiness) }),
    NetworkingConfig: { EndpointsConfig: { [network]: { Aliases: [name] } } },
    HostConfig: {
      NetworkMode: network,
      ...(isClosed(spec) ? noResolver : {}),
      RestartPolicy: { Name: 'no' },
      Init: facts.init,
      // A worker's limits are of no use to the machine while what is beside it has none.
      ...(facts.limits.pids ? { PidsLimit: PIDS } : {}),
      ...limitsOf({ ...spec, resources: resourcesOf(spec) }, swapBytes === undefined ? {} : { swapBytes }),
      // A database's image begins as root, gives its folder to its own user and becomes that: the engine's own set is what it was made for.
      CapDrop: ['NET_RAW'],
      SecurityOpt: ['no-new-privileges=true'],
      // Nobody reads it to the end, so it may not fill the disk.
      LogConfig: {
        Type: facts.logDriver,
        Config: { 'max-size': '10m', ...(facts.logDriver === 'local' ? { 'max-file': '2' } : {}) },
      },
    },
  }
}

/** Databases have hundreds of processes and threads, browsers a few thousand; a machine usually has room for 32,768. */
const PIDS = 4096

/** Its worker's, but for the devices. */
function resourcesOf({ resources: { cpu, memoryBytes, pids } = {} }: LaunchSpec): Resources {
  return {
    ...(cpu === undefined ? {} : { cpu }),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    ...(pids === undefined ? {} : { pids }),
  }
}

/** Has their network no way out? */
function isClosed({ network }: LaunchSpec): boolean {
  return network?.egress === 'none' || network?.egress === 'restricted'
}

function healthOf({ check, intervalMs, timeoutMs, failures }: Readiness): object {
  if (check.kind !== 'exec') return { Test: ['NONE'] }
  return {
    Test: ['CMD', ...check.command],
    Interval: Math.max(intervalMs, LEAST_INTERVAL_MS) * NANO,
    Timeout: Math.max(timeoutMs, LEAST_INTERVAL_MS) * NANO,
    Retries: failures,
  }
}

interface Waited {
  service: ServiceSpec
  name: string
  at: string
}

async function ready(parts: ServicesParts, { service, name, at }: Waited): Promise<void> {
  const { engine, network, given: signal } = parts
  const { readiness } = service
  let failed = 0
  for (;;) {
    const container = await engine.json<ContainerInspect>({ method: 'GET', path: `/containers/${name}/json`, signal })
    const { Running: running, ExitCode: code, OOMKilled: killed } = container.State
    if (!running) throw broken(at, `the service ${service.name} ended with code ${code}${killed ? ', out of memory' : ''}`)
    const health = (container.State as { Health?: { Status: string } }).Health?.Status
    if (health === 'unhealthy') throw broken(`${at}.readiness`, `the service ${service.name} does not get ready`)
    if (health === 'healthy') return
    if (health === undefined || health === 'none') {
      if (readiness === undefined) return
      if (await answers(container, { network, readiness, reach: engine.reach }, signal)) return
      if (++failed >= readiness.failures) throw broken(`${at}.readiness`, `the service ${service.name} does not get ready`)
      await pause(readiness.intervalMs, signal)
    } else await pause(POLL_MS, signal)
  }
}

function broken(path: string, message: string): ProviderError {
  return new ProviderError('invalid-spec', message, { effect: 'possible', path })
}

/** One look over the engine's bridge, which its own machine reaches: from here, or through the line to it. */
async function answers(
  container: ContainerInspect,
  { network, readiness: { check, timeoutMs }, reach }: { network: string; readiness: Readiness } & Pick<Engine, 'reach'>,
  signal: AbortSignal,
): Promise<boolean> {
  const host = (container.NetworkSettings.Networks as Record<string, { IPAddress?: string }>)[network]?.IPAddress
  if (host === undefined || host === '' || check.kind === 'exec' || reach === undefined) return false
  const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
  const reaching = reach(host, check.port)
  try {
    const socket = await raceAbort(reaching, limit)
    return check.kind === 'tcp' || (await serves(socket, { host, ...check }, limit))
  } catch {
    signal.throwIfAborted()
    return false
  } finally {
    // One that stands too late is not wanted any more.
    reaching.then(
      (socket) => socket.destroy(),
      () => {},
    )
  }
}

/** An answer that is no failure (2xx, 3xx). */
async function serves(
  socket: Duplex,
  { host, port, path }: { host: string; port: number; path: string },
  signal: AbortSignal,
): Promise<boolean> {
  const asked = request({ host, port, path, signal, createConnection: () => socket })
  asked.end()
  try {
    const [{ statusCode = 0 }] = (await once(asked, 'response', { signal })) as [{ statusCode?: number }]
    return statusCode >= 200 && statusCode < 400
  } finally {
    asked.destroy()
  }
}
