/** Databases and the like beside a worker: sidecars of its Pod, each ready before the next and before the job. Pure. */
import type { LaunchSpec, ServiceSpec } from '@muster/core'
import { literal, probeOf, pullPolicyOf } from './containers.ts'
import type { Container, HostAlias, PodSpec } from '../objects.ts'
import { besideOf } from './security.ts'
import { type KubernetesSettings, refuse } from '../settings.ts'
import type { Folders } from './volumes.ts'

/** What a Pod calls its containers, and what a name of a host may be. */
const dnsLabel = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/

const container = (name: string): string => `s-${name}`

/** Refuses services that cannot be sidecars of one Pod. */
export function checkServices({ services = [] }: LaunchSpec, settings: KubernetesSettings): void {
  const names = new Set<string>()
  for (const [index, { name, image }] of services.entries()) {
    const at = `services.${index}`
    if (!dnsLabel.test(name)) throw refuse('invalid-spec', `${at}.name`, 'it is no name of a host')
    if (names.has(name)) throw refuse('invalid-spec', `${at}.name`, 'another service has this name')
    if (/\s/.test(image)) throw refuse('invalid-spec', `${at}.image`, 'it is no name of an image')
    names.add(name)
  }
  const stranger = Object.keys(settings.services ?? {}).find((name) => !names.has(name))
  if (stranger !== undefined) throw refuse('invalid-spec', `settings.services.${stranger}`, 'the worker has no such service')
}

/** Programs before the worker, then its services: what a Pod starts in this order, before the worker itself. */
export function beforeOf(spec: LaunchSpec, settings: KubernetesSettings, { mounts }: Folders): Container[] {
  const programs = (settings.init ?? []).map(({ name, image, command, env = {} }): Container => ({
    name: `i-${name}`,
    image,
    imagePullPolicy: pullPolicyOf(settings),
    command: command.map(literal),
    env: Object.entries(env).map(([key, value]) => ({ name: key, value: literal(value) })),
    securityContext: besideOf(spec.security?.user ?? (settings.user === 'image' ? 'image' : '1000:1000'), settings),
    volumeMounts: mounts,
  }))
  return [...programs, ...(spec.services ?? []).map((service) => sidecar(service, settings))]
}

/** An init container that goes on is a sidecar: Kubernetes starts what comes after it once its start-up probe has passed. */
function sidecar({ name, image, env = {}, command, readiness }: ServiceSpec, settings: KubernetesSettings): Container {
  const { user, cpu, memoryBytes } = settings.services?.[name] ?? {}
  const most = {
    ...(cpu === undefined ? {} : { cpu: `${Math.ceil(cpu * 1000)}m` }),
    ...(memoryBytes === undefined ? {} : { memory: String(memoryBytes) }),
  }
  return {
    name: container(name),
    image,
    imagePullPolicy: pullPolicyOf(settings),
    restartPolicy: 'Always',
    // Its image's own entry point stays.
    ...(command === undefined ? {} : { args: command.map(literal) }),
    env: Object.entries(env).map(([key, value]) => ({ name: key, value: literal(value) })),
    ...(readiness === undefined ? {} : { startupProbe: probeOf(readiness) }),
    ...(Object.keys(most).length === 0 ? {} : { resources: { requests: most, limits: most } }),
    securityContext: besideOf(user, settings),
  }
}

/** The names of the services as names of hosts: they share the worker's loopback. `hosts`: more of them. */
export function aliasesOf({ services = [] }: LaunchSpec, hosts: readonly HostAlias[] = []): Pick<PodSpec, 'hostAliases'> {
  const own = services.length === 0 ? [] : [{ ip: '127.0.0.1', hostnames: services.map(({ name }) => name) }]
  // Each address once.
  const byAddress = Map.groupBy([...own, ...hosts], ({ ip }) => ip)
  const hostAliases = [...byAddress].map(([ip, same]) => ({ ip, hostnames: same.flatMap(({ hostnames }) => hostnames) }))
  return hostAliases.length === 0 ? {} : { hostAliases }
}
