/** Which provider can, and which one shall, serve a demand. Pure. */
import { fieldsOf, type WorkerCapabilities } from '@muster/core'
import type { ProviderState } from '../plugins/api.ts'
import type { LeaseRefusal, PoolConfig } from './model.ts'
import { type Demand, draftSpec } from './spec.ts'

/** The first thing in which a provider cannot do what is asked. */
export interface Misfit {
  /** Path of the field in the spec, as `resources.gpus`; `work` for the mode. */
  field: string
  asked: string
  has: string
}

/** Inline files and env together, a bound of the wire; more goes by inputs. */
const INLINE_BYTES = 256 * 1024

export function misfit(demand: Demand, capabilities: WorkerCapabilities): Misfit | undefined {
  if (!capabilities.work.includes(demand.mode)) return { field: 'work', asked: demand.mode, has: capabilities.work.join(', ') }
  if (demand.mode === 'hold' && capabilities.exec?.exitCode !== true)
    return { field: 'work', asked: 'hold, with exit codes by exec', has: 'no exec with exit codes' }
  const { image, profile } = demand.template
  if (capabilities.image === 'required' && image === undefined && profile === undefined)
    return { field: 'image', asked: 'none', has: 'only workers from an image' }
  if (capabilities.image === 'none' && image !== undefined) return { field: 'image', asked: image, has: 'no images' }
  const spec = draftSpec(demand)
  for (const field of fieldsOf(spec)) {
    if (field === 'lifetimeMs' || capabilities.fields.includes(field)) continue
    return { field, asked: shown(spec, field), has: 'not supported' }
  }
  let envBytes = 0
  for (const [name, value] of Object.entries(spec.env ?? {})) envBytes += Buffer.byteLength(name) + Buffer.byteLength(value)
  if (envBytes > capabilities.envBytes)
    return { field: 'env', asked: `${envBytes} bytes`, has: `at most ${capabilities.envBytes} bytes` }
  const inline = (spec.files ?? []).reduce((sum, file) => sum + file.base64.length, envBytes)
  if (inline > INLINE_BYTES) return { field: 'files', asked: `${inline} bytes inline`, has: `at most ${INLINE_BYTES} bytes` }
  return undefined
}

/** Fields whose values may be secret are shown by name only. */
function shown(spec: unknown, path: string): string {
  if (path === 'env' || path === 'files' || path === 'services' || path === 'settings') return 'given'
  let value: unknown = spec
  for (const part of path.split('.')) value = (value as Record<string, unknown> | undefined)?.[part]
  if (value === undefined) return path.slice(path.lastIndexOf('.') + 1)
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : 'given'
}

/** What a provider refuses to make. */
export interface Refused {
  /** The field, and the provider's own words. */
  what: string
  /** It may be asked anew then; absent: no time changes it. */
  until?: number
  /** Its state decides, so whoever asks waits; otherwise it never can, as far as it knows. */
  forNow?: boolean
}

/** What passes, and what the provider said of it. */
export interface Passing {
  until: number
  said?: string
}

/** One provider of a pool's placement, as it stands now. */
export interface Candidate {
  name: string
  /** Absent: the configuration names it, but no such provider runs. */
  capabilities?: WorkerCapabilities
  state: ProviderState
  /** It is away, and may be back by itself until then: what comes after it in the order is not taken before. */
  backBy?: number
  /** Remembered as without capacity for this size until then. */
  exhausted?: Passing
  /** Of so many fewer workers than it had when it was: they are asked for before. */
  roomMade?: number
  /** This lease, or this pool's stock, failed there and shall not go back before. */
  avoid?: Passing
  /** Launches are held until then (throttled, or rights refused). */
  heldUntil?: number
  /** An operator lets no launch go to it: who, and why. */
  disabled?: string
  /** It said `unsupported` for this shape. */
  unsupported?: Refused
  /** Launches under way and waiting, and how many may be. */
  backlog: number
  backlogLimit: number
}

export interface Turned {
  provider: string
  reason: string
  /** When it may be different; absent: not by waiting for a time. */
  until?: number
  /** It never will for this demand. */
  never?: true
  /** Those after it wait until then too: their order is an operator's word. */
  first?: true
}

export type Choice =
  | { provider: string; turned: Turned[] }
  | { provider: undefined; turned: Turned[]; until?: number; never: boolean }

/** The first provider in order that can and may take a launch now, and why those before it were not taken. */
export function choose(demand: Demand, candidates: readonly Candidate[], now: number): Choice {
  const turned: Turned[] = []
  for (const candidate of candidates) {
    const reason = turnedDown(demand, candidate, now)
    if (reason === undefined) return { provider: candidate.name, turned }
    turned.push({ provider: candidate.name, ...reason })
    if (reason.first === true) break
  }
  const times = turned.flatMap((one) => (one.until === undefined ? [] : [one.until]))
  return {
    provider: undefined,
    turned,
    never: turned.every((one) => one.never === true),
    ...(times.length === 0 ? {} : { until: Math.min(...times) }),
  }
}

/** For sentences. */
export function secondsTo(until: number, now: number): number {
  return Math.ceil((until - now) / 1000)
}

export function again({ until }: { until?: number }): { until?: number } {
  return until === undefined ? {} : { until }
}

export function reasonOf({ turned }: Choice): string {
  return turned.map((one) => `${one.provider}: ${one.reason}`).join('; ')
}

const NEVER: Passing = { until: -Infinity }

function turnedDown(demand: Demand, candidate: Candidate, now: number): Omit<Turned, 'provider'> | undefined {
  if (candidate.capabilities === undefined) return { reason: 'it is not running', never: true }
  const lacks = misfit(demand, candidate.capabilities)
  if (lacks !== undefined) return { reason: `${lacks.field}: asked ${lacks.asked}, has ${lacks.has}`, never: true }
  const refused = refusal(candidate.unsupported, now)
  if (refused?.never === true) return refused
  if (candidate.disabled !== undefined) return { reason: candidate.disabled }
  const { state, backBy } = candidate
  const timed = ({ until, said }: Passing, reason: string): Omit<Turned, 'provider'> | undefined =>
    until > now ? { reason: said === undefined ? reason : `${reason}: ${said}`, until } : undefined
  const held =
    refused ??
    ((candidate.roomMade ?? 0) > 0 ? undefined : timed(candidate.exhausted ?? NEVER, 'it had no capacity for this size')) ??
    timed(candidate.avoid ?? NEVER, 'the last try there failed') ??
    timed({ until: candidate.heldUntil ?? -Infinity }, 'its launches are held')
  if (state !== 'ready') {
    const reason = `it is ${state}`
    return held === undefined && backBy !== undefined && backBy > now ? { reason, until: backBy, first: true } : { reason }
  }
  return (
    held ?? (candidate.backlog >= candidate.backlogLimit ? { reason: 'its launches under way are at their limit' } : undefined)
  )
}

function refusal(refused: Refused | undefined, now: number): Omit<Turned, 'provider'> | undefined {
  if (refused === undefined || (refused.until !== undefined && refused.until <= now)) return undefined
  const { what, until, forNow } = refused
  const again = until === undefined ? {} : { until }
  return forNow === true
    ? { reason: `for now it refuses ${what}`, ...again }
    : { reason: `it does not support ${what}`, never: true, ...again }
}

/** A pool and the capabilities of its placement, for refusals. */
export interface PoolOffer {
  pool: PoolConfig
  demand: Demand
  providers: readonly { name: string; capabilities?: WorkerCapabilities }[]
}

/**
 * Why a request can never be served by the pool it names; undefined when it can. The nearest pool is the one whose best provider
 * differs in a single field from what was asked, or differs in none; the asked one comes first among equals.
 */
export function refuse(asked: PoolOffer, others: readonly PoolOffer[]): LeaseRefusal | undefined {
  const own = nearestMisfit(asked)
  if (own === undefined) return undefined
  const other = others.find((offer) => nearestMisfit(offer) === undefined)
  const where = other === undefined ? asked.pool.name : other.pool.name
  return {
    code: 'cannot-be-served',
    message: `no worker of pool ${asked.pool.name} can be this: ${own.field} is ${own.asked}, the pool has ${own.has}`,
    hint:
      other === undefined
        ? `Ask without ${own.field}, or give a pool a provider that has it.`
        : `Pool ${other.pool.name} could serve it.`,
    nearest: { pool: where, field: own.field, asked: own.asked, has: own.has },
  }
}

/** Undefined when some provider of the pool fits; else the misfit of the first one. */
function nearestMisfit(offer: PoolOffer): Misfit | undefined {
  if (offer.pool.scale.max === 0) return { field: 'scale.max', asked: 'a worker', has: '0' }
  const fixed = offer.pool.work
  if (fixed !== 'auto' && fixed !== offer.demand.mode) return { field: 'work', asked: offer.demand.mode, has: fixed }
  if (offer.demand.mode === 'command' && offer.demand.command === undefined)
    return { field: 'command', asked: 'none', has: 'only workers that are a command' }
  let first: Misfit | undefined
  for (const provider of offer.providers) {
    const lacks =
      provider.capabilities === undefined
        ? { field: 'placement', asked: 'a provider', has: `${provider.name}, which is not running` }
        : misfit(offer.demand, provider.capabilities)
    if (lacks === undefined) return undefined
    first ??= lacks
  }
  return first ?? { field: 'placement', asked: 'a provider', has: 'none' }
}

/** The refusal of a pool that does not exist, with the name that is nearest. */
export function unknownPool(name: string, names: readonly string[]): LeaseRefusal {
  const nearest = [...names].sort((a, b) => distance(name, a) - distance(name, b))[0]
  return {
    code: 'unknown-pool',
    message: `there is no pool ${name}`,
    hint: names.length === 0 ? 'The configuration names no pool.' : `Pools: ${names.join(', ')}.`,
    ...(nearest === undefined ? {} : { nearest: { pool: nearest, field: 'pool', asked: name, has: nearest } }),
  }
}

/** Levenshtein's edit distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
