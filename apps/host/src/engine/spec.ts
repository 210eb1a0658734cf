/** From a pool and a request to the frozen LaunchSpec of one worker. Pure, but for the digest that is passed in. */
import type { LaunchSpec, OwnerTags, Work, WorkerCapabilities } from '@muster/core'
import type { LeaseRequest, PoolConfig, Requirements, WorkerTemplate } from './model.ts'

export type WorkMode = 'command' | 'hold' | 'agent'

/** What a worker must be for one lease, or for the pool's own stock. */
export interface Demand {
  template: WorkerTemplate
  mode: WorkMode
  command?: NonNullable<LeaseRequest['command']>
  /** Equal for workers that can stand in for each other. */
  shape: string
  /** Equal for workers that need the same capacity at a vendor. */
  size: string
}

export type Digest = (text: string) => string

/** A way of working: what the request says, else the pool, else a command where one is given. */
export function modeOf(pool: PoolConfig, request?: Pick<LeaseRequest, 'requirements' | 'command'>): WorkMode {
  if (request?.requirements.mode !== undefined) return request.requirements.mode
  if (pool.work !== 'auto') return pool.work
  return request?.command === undefined ? 'hold' : 'command'
}

export function demandOf(
  pool: PoolConfig,
  request: Pick<LeaseRequest, 'requirements' | 'command'> | undefined,
  digest: Digest,
): Demand {
  const template = request === undefined ? pool.worker : mergeTemplate(pool.worker, request.requirements)
  const mode = modeOf(pool, request)
  const { image, profile, resources, os, arch } = template
  return {
    template,
    mode,
    shape: digest(canonical({ template, mode, pool: pool.name })),
    size: digest(canonical({ image: image === undefined ? undefined : 'image', profile, resources, os, arch })),
    ...(request?.command === undefined || mode !== 'command' ? {} : { command: request.command }),
  }
}

/** The pool's template with a request's own wishes. A profile replaces an image and an image a profile. */
export function mergeTemplate(base: WorkerTemplate, wish: Requirements): WorkerTemplate {
  const { mode: _mode, env, labels, resources, image, profile, ...same } = wish
  const merged: WorkerTemplate = { ...base, ...same }
  if (image !== undefined) {
    merged.image = image
    delete merged.profile
  }
  if (profile !== undefined) {
    merged.profile = profile
    delete merged.image
  }
  if (env !== undefined) merged.env = { ...base.env, ...env }
  if (labels !== undefined) merged.labels = { ...base.labels, ...labels }
  if (resources !== undefined) merged.resources = { ...base.resources, ...resources }
  return merged
}

export interface SpecParts {
  id: string
  owner: string
  provider: string
  epoch: number
  lifetimeMs: number
  capabilities: WorkerCapabilities
  /** Of an agent. */
  self?: { ticket: string; url: string }
}

/** The spec of a new worker; from here on it is only repeated, byte for byte. */
export function buildSpec(pool: PoolConfig, demand: Demand, parts: SpecParts): LaunchSpec {
  const tags: OwnerTags = {
    'muster-owner': parts.owner,
    'muster-provider': parts.provider,
    'muster-pool': pool.name,
    'muster-worker': parts.id,
    'muster-epoch': String(parts.epoch),
  }
  // The host ends every worker at its lifetime; a provider that can do it as well is told.
  const told = parts.capabilities.fields.includes('lifetimeMs')
  const body = bodyOf(demand, parts.self)
  return { ...body, id: parts.id, tags, ...(told ? { lifetimeMs: parts.lifetimeMs } : {}) }
}

/** A demand as a spec without identity, to see which fields it uses. */
export function draftSpec(demand: Demand): LaunchSpec {
  const none = '-'
  return {
    ...bodyOf(demand),
    id: none,
    tags: { 'muster-owner': none, 'muster-provider': none, 'muster-pool': none, 'muster-worker': none, 'muster-epoch': none },
  }
}

function bodyOf(demand: Demand, self?: SpecParts['self']): Omit<LaunchSpec, 'id' | 'tags'> {
  const { template, command } = demand
  const files = [...(template.files ?? []), ...(command?.files ?? [])]
  return {
    ...template,
    work: workOf(demand, self),
    ...(files.length === 0 ? {} : { files }),
    ...(command?.workdir === undefined ? {} : { workdir: command.workdir }),
  }
}

function workOf({ mode, command }: Demand, self: SpecParts['self']): Work {
  if (mode === 'command') return { mode, command: command?.argv ?? [] }
  return mode === 'agent' ? { mode, ticket: { $secret: self?.ticket ?? '' }, url: self?.url ?? '' } : { mode }
}

/** The spec as it may be shown and stored in the open: without env values, file contents and secrets. */
export function openSpec(spec: LaunchSpec): Record<string, unknown> {
  const { env, files, services, work, ...same } = spec
  return {
    ...same,
    work: work.mode === 'agent' ? { mode: 'agent' } : work,
    ...(env === undefined ? {} : { env: hideValues(env) }),
    ...(files === undefined ? {} : { files: files.map(hideFile) }),
    ...(services === undefined
      ? {}
      : {
          services: services.map((service) =>
            service.env === undefined ? service : { ...service, env: hideValues(service.env) },
          ),
        }),
  }
}

/** A request as it may be shown and stored in the open. */
export function openRequest(request: LeaseRequest): Record<string, unknown> {
  const { requirements, command, ...same } = request
  return {
    ...same,
    requirements: requirements.env === undefined ? requirements : { ...requirements, env: hideValues(requirements.env) },
    ...(command === undefined
      ? {}
      : { command: command.files === undefined ? command : { ...command, files: command.files.map(hideFile) } }),
  }
}

function hideValues(env: Record<string, string>): Record<string, number> {
  return Object.fromEntries(Object.entries(env).map(([name, value]) => [name, Buffer.byteLength(value)]))
}

function hideFile(file: { path: string; base64: string; mode?: number }): { path: string; bytes: number; mode?: number } {
  const { base64, ...same } = file
  return { ...same, bytes: Math.floor((base64.length * 3) / 4) }
}

/** JSON with sorted keys: equal values give equal text. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
}
