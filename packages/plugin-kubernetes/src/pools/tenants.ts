/** Makes the namespace of a tenant, looks after it, and takes it away. */
import { type Call, type ListQuery, ProviderError } from '@muster/core'
import { setTimeout as delay } from 'node:timers/promises'
import { isStatus } from '../api/failure.ts'
import type { Cluster } from '../client.ts'
import { providerSelector } from '../labels.ts'
import type { Kept, NamespaceObject, NetworkPolicy } from '../objects.ts'
import { plainPod } from './plain-pod.ts'
import { contentsOf, isKept, keptOf, lacksOf, type TenantConfig, usedOf } from './tenant.ts'

export interface Tenant {
  readonly config: TenantConfig
  /** Preparations of pools under way: nothing is taken away under them. */
  preparing: number
  leaving: Promise<void> | undefined
}

export interface TenantParts {
  cluster: Cluster
  tags: ListQuery['tags']
  tenant: Tenant
}

export function createTenant(config: TenantConfig): Tenant {
  return { config, preparing: 0, leaving: undefined }
}

/** Quotas, limits and the account of a new namespace are known to an API server within a second or two. */
const READY_MS = 15_000
const ASK_MS = 250
/** What ended workers leave goes within seconds, and is counted anew after that. */
const EMPTY_MS = 10_000
/** A namespace that is being removed has to lose its objects one by one. */
const LEAVES_MS = 2_000

/** Holds the namespace for a preparation: with `make` it is there and bounded before the work begins. */
export async function inTenant<T>(parts: TenantParts, call: Call, work: () => Promise<T>): Promise<T> {
  const { tenant } = parts
  if (tenant.config.make !== true) return work()
  while (tenant.leaving !== undefined) await tenant.leaving
  tenant.preparing += 1
  try {
    await keep(parts, call)
    return await work()
  } finally {
    tenant.preparing -= 1
  }
}

async function keep({ cluster, tags, tenant }: TenantParts, { signal }: Call): Promise<void> {
  const found = await cluster.readNamespace(signal)
  if (found !== undefined) checkKept(found, tags)
  for (const object of keptOf(tenant.config, cluster.namespace, tags)) await keepOne(cluster, object, signal)
  if (found !== undefined) return
  const plain = plainPod(cluster.namespace, tags)
  const until = Date.now() + READY_MS
  for (;;) {
    try {
      await cluster.createPod(plain, { dryRun: true, signal })
      return
    } catch (error) {
      // What else refuses it is told to whoever launches.
      if (!isStatus(error, 403) || Date.now() > until) return
    }
    await delay(ASK_MS, undefined, { signal })
  }
}

async function keepOne(cluster: Cluster, object: Kept, signal: AbortSignal): Promise<void> {
  try {
    await cluster.keep(object, signal)
  } catch (error) {
    if (!isStatus(error, 409, 'Conflict')) throw error
    const place = `the namespace ${cluster.namespace}`
    const what = object.kind === 'Namespace' ? place : `the ${object.kind} ${object.metadata.name} of ${place}`
    const { message } = error as Error
    throw new ProviderError('conflict', `${what} was changed by somebody else: ${message}`, {
      ...{ effect: 'none', cause: error },
      hint: 'Change `tenant` in the config of the provider to what it is now, or set it back with kubectl.',
    })
  }
}

function checkKept(found: NamespaceObject, tags: ListQuery['tags']): void {
  const { name, deletionTimestamp } = found.metadata
  if (!isKept(found, tags))
    throw new ProviderError('conflict', strangers(name), { effect: 'none', path: 'config.namespace', hint: STRANGERS_HINT })
  if (deletionTimestamp !== undefined)
    throw new ProviderError('transient', `the namespace ${name} is being removed`, { effect: 'none', retryAfterMs: LEAVES_MS })
}

const strangers = (name: string): string => `the namespace ${name} is there, and was not made by this provider`
const STRANGERS_HINT = 'Name another one, or leave `tenant.make` out: then it is checked only.'

/** With the last pool, where the operator wants it: what is not empty stays, and the log says what is in it. */
export async function leaveTenant(parts: TenantParts, call: Call): Promise<void> {
  const { tenant } = parts
  if (tenant.config.remove !== true || tenant.preparing > 0 || tenant.leaving !== undefined) return
  const { promise, resolve } = Promise.withResolvers<void>()
  tenant.leaving = promise
  try {
    await removeEmpty(parts, call)
  } finally {
    tenant.leaving = undefined
    resolve()
  }
}

async function removeEmpty({ cluster, tags }: TenantParts, { signal, log }: Call): Promise<void> {
  if ((await cluster.list('Service', providerSelector(tags), signal)).length > 0) {
    log.debug('the namespace of the tenant stays: other pools are in it', { namespace: cluster.namespace })
    return
  }
  const found = await cluster.readNamespace(signal)
  if (found === undefined || !isKept(found, tags)) return
  const until = Date.now() + EMPTY_MS
  for (;;) {
    const { items } = await cluster.listPods({ selector: '', limit: 1 }, signal)
    const contents = items.length > 0 ? ['pods'] : contentsOf(await cluster.listQuotas(signal))
    if (contents?.length === 0) return await cluster.removeNamespace(found.metadata.uid ?? '', signal)
    if (Date.now() > until) {
      const what = contents?.join(', ') ?? 'what is not counted'
      log.warn('the namespace of the tenant stays: it is not empty', { namespace: cluster.namespace, what })
      return
    }
    await delay(ASK_MS, undefined, { signal })
  }
}

/** How it stands with the namespace. */
export interface TenantLook {
  facts: Record<string, string>
  notes: string[]
  failure?: { message: string; hint: string }
  /** Nothing can be tried in it yet. */
  absent?: true
}

export async function lookAtTenant({ cluster, tags, tenant: { config } }: TenantParts, signal: AbortSignal): Promise<TenantLook> {
  const { namespace: name } = cluster
  const make = config.make === true
  const namespace = await cluster.readNamespace(signal)
  if (namespace === undefined) {
    if (make)
      return { facts: { tenant: 'not made yet' }, notes: [`the namespace ${name} is made with its first pool`], absent: true }
    return { facts: {}, notes: [], failure: { message: `there is no namespace ${name}`, hint: hintOf(config, name) } }
  }
  if (make && !isKept(namespace, tags))
    return { facts: {}, notes: [], failure: { message: strangers(name), hint: STRANGERS_HINT } }
  const [quotas, policies] = await Promise.all([cluster.listQuotas(signal), cluster.list('NetworkPolicy', '', signal)])
  const lacks = lacksOf(config, { namespace, quotas, policies: policies as NetworkPolicy[] })
  const used = usedOf(quotas)
  const facts = { tenant: make ? 'made' : 'checked', ...(used === '' ? {} : { quota: used }) }
  if (lacks.length === 0) return { facts, notes: [] }
  const message = `the namespace ${name} is not a tenant's own: ${lacks.join('; ')}`
  // What is ours is set right with the next preparation of a pool.
  return make ? { facts, notes: [message] } : { facts, notes: [], failure: { message, hint: hintOf(config, name) } }
}

function hintOf(config: TenantConfig, namespace: string): string {
  const list = { apiVersion: 'v1', kind: 'List', items: keptOf({ ...config, remove: false }, namespace) }
  return `Apply this with kubectl, or let the plugin do so with \`tenant.make\`:\n${JSON.stringify(list)}`
}
