/** The schemas of what the API takes and gives; the OpenAPI document and the client's types come from them. */
import { providerErrorCodes, recordPhases, resourcesSchema, workerCapabilitiesSchema } from '@muster/core'
import { z } from 'zod'
import { type Artifact, runOutcomes, runStates } from '../engine/model.ts'
import { problemSchema } from './problems.ts'
import type { OrphanItem, PoolView, ProviderView, WishView } from './pool-views.ts'
import { poolUsageSchema, usageSchema } from './usage-schemas.ts'
import type { ConditionView, LeaseView, RunView, WorkerView } from './views.ts'

/** Gives a schema its name among the document's components. */
export function named<S extends z.ZodType>(id: string, schema: S): S {
  z.globalRegistry.add(schema, { ...z.globalRegistry.get(schema), id })
  return schema
}

const id = z.string()
export const instant: z.ZodISODateTime = z.iso.datetime()
const ms = z.int().min(0)
const open = z.record(z.string(), z.unknown())
const command = z.array(z.string()).min(1).describe('Program and arguments; no shell is put around them.')

const exitSchema: z.ZodType<NonNullable<RunView['exit']>> = named(
  'Exit',
  z.object({
    code: z.int().min(0).max(255).describe('Absent when a signal ended it, or nobody knows.').exactOptional(),
    signal: z.string().exactOptional(),
    oomKilled: z.boolean().exactOptional(),
    memoryPeakBytes: z.number().describe('The most memory it had, where that is known; a page cache may count.').exactOptional(),
    reason: z.string(),
    at: instant.exactOptional(),
  }),
)

export const artifactSchema: z.ZodType<Artifact> = named(
  'Artifact',
  z.object({
    name: z.string(),
    path: z.string(),
    direction: z.enum(['in', 'out']),
    state: z.enum(['awaited', 'stored', 'delivered', 'missing', 'dropped']),
    sha256: z.string().exactOptional(),
    bytes: z.int().exactOptional(),
  }),
)

const wishSchema: z.ZodType<WishView> = named(
  'Wish',
  z.object({ by: z.string().describe('The principal.'), reason: z.string().exactOptional(), since: instant }),
)

export const poolSchema: z.ZodType<PoolView> = named(
  'Pool',
  z.object({
    name: z.string(),
    placement: z.array(z.string()).describe('Providers in order.'),
    work: z.enum(['auto', 'command', 'hold', 'agent']),
    image: z.string().exactOptional(),
    profile: z.string().exactOptional(),
    resources: resourcesSchema.exactOptional(),
    scale: z.object({ min: z.int(), max: z.int(), warm: z.int(), idleMs: ms }),
    uses: z.int().describe('Leases one worker serves, one after the other.'),
    lifetimeMs: ms,
    graceMs: ms,
    startDeadlineMs: ms,
    queueTimeoutMs: ms,
    workers: z.record(z.string(), z.int()).describe('Live workers by phase; absent is 0.'),
    queued: z.int().describe('Leases that have no worker yet.'),
    leases: z.int().describe('Leases that have one.'),
    waiting: z.string().describe('Why the first of the queue, or else the stock, waits; empty when nothing waits.'),
    state: z
      .enum(['active', 'paused', 'draining', 'leaving'])
      .describe(
        'paused: nothing is launched or handed out · draining: it keeps no worker that nobody holds · leaving: the configuration names it no longer.',
      ),
    wish: wishSchema.describe('Whose decision it is that it is not active.').exactOptional(),
    aside: z
      .int()
      .describe(
        'Live workers that are handed out to nobody: cordoned, or kept after a failed run. They count against the maximum.',
      ),
    keepFailedMs: ms.describe('A worker whose run failed is kept so long for a look.').exactOptional(),
    usage: poolUsageSchema.exactOptional(),
  }),
)

export const workerSchema: z.ZodType<WorkerView> = named(
  'WorkerInfo',
  z.object({
    id,
    pool: z.string(),
    provider: z.string(),
    phase: z.enum(recordPhases),
    uses: z.int(),
    attempt: z.int(),
    cordoned: z.boolean().describe('An operator has taken it out of hand-outs; it is left alone.'),
    cordonReason: z.string().exactOptional(),
    keptUntil: instant.describe('Its run failed, and it is kept for a look: commands still go in.').exactOptional(),
    keptFor: id.describe('The run that failed in it.').exactOptional(),
    lease: id.exactOptional(),
    part: z.string().describe('The machine or region it lives in.').exactOptional(),
    observedPhase: z.string().describe('What the provider said last.').exactOptional(),
    ready: z.string().exactOptional(),
    createdAt: instant,
    launchedAt: instant.exactOptional(),
    readyAt: instant.exactOptional(),
    expiresAt: instant.exactOptional(),
    observedAt: instant.exactOptional(),
    nextAttemptAt: instant.exactOptional(),
    endedAt: instant.exactOptional(),
    end: z.string().describe('gone · lost · refused · never-made · disowned: forgotten by an operator.').exactOptional(),
    terminateReason: z.string().exactOptional(),
    granted: resourcesSchema.exactOptional(),
    usage: usageSchema.describe('The last sample, of a worker that lives, where its provider tells.').exactOptional(),
    exit: exitSchema.exactOptional(),
    problem: z.object({ code: z.enum(providerErrorCodes), message: z.string(), final: z.boolean() }).exactOptional(),
    spec: open.describe('As launched; of env values and file contents only the size.'),
  }),
)

export const leaseSchema: z.ZodType<LeaseView> = named(
  'Lease',
  z.object({
    id,
    pool: z.string(),
    state: z
      .enum(['queued', 'assigned', 'active', 'ended'])
      .describe('assigned: a worker is being made or readied for it · active: the worker is ready.'),
    principal: z.string(),
    ttlMs: ms,
    tries: z.int().describe('Times it was moved to another placement.'),
    requirements: open.describe('Of env values only the size.'),
    worker: id.exactOptional(),
    run: id.describe('The run that owns it.').exactOptional(),
    requestedAt: instant,
    assignedAt: instant.exactOptional(),
    activeAt: instant.exactOptional(),
    expiresAt: instant.exactOptional(),
    queueDeadline: instant.exactOptional(),
    endedAt: instant.exactOptional(),
    end: z.string().describe('released · expired · lost · refused · cancelled · failed').exactOptional(),
    endReason: z.string().exactOptional(),
  }),
)

export interface LeaseAnswer {
  lease: LeaseView
  worker?: WorkerView
}
export const leaseAnswerSchema: z.ZodType<LeaseAnswer> = named(
  'LeaseAnswer',
  z.object({ lease: leaseSchema, worker: workerSchema.exactOptional() }),
)

export const runSchema: z.ZodType<RunView> = named(
  'Run',
  z.object({
    id,
    kind: z.enum(['run', 'exec']).describe("exec: a command in somebody's worker, which it does not end."),
    pool: z.string(),
    state: z.enum(runStates),
    command,
    stdin: z.boolean(),
    principal: z.string(),
    labels: z.record(z.string(), z.string()),
    artifacts: z.array(artifactSchema),
    cancelRequested: z.boolean(),
    lease: id.exactOptional(),
    worker: id.exactOptional(),
    outcome: z
      .enum(runOutcomes)
      .describe(
        'infrastructure: it never ran, its worker was lost, or it passed and what it left could not be had · unknown: nobody can tell.',
      )
      .exactOptional(),
    exit: exitSchema.exactOptional(),
    reason: z.string().exactOptional(),
    logProblem: z
      .string()
      .describe('Why the end of its log may not be there; absent: all that its command said is.')
      .exactOptional(),
    timeoutMs: ms.exactOptional(),
    trace: z.string().describe('W3C trace id of all that is done for it.').exactOptional(),
    keepFailedMs: ms.describe('Its worker is kept so long for a look when it fails.').exactOptional(),
    createdAt: instant,
    queuedAt: instant.exactOptional(),
    startedAt: instant.exactOptional(),
    endedAt: instant.exactOptional(),
    deadline: instant.exactOptional(),
  }),
)

const providerStates = z.enum(['starting', 'ready', 'degraded', 'quarantined', 'failed', 'stopped'])

export const providerSchema: z.ZodType<ProviderView> = named(
  'Provider',
  z.object({
    name: z.string(),
    alias: z.string(),
    plugin: z.object({ name: z.string(), version: z.string(), contract: z.string() }),
    level: z
      .enum(['L1', 'L2', 'L3'])
      .describe(
        'How far its plugin is kept in: L1 a process of its own, L2 with permissions of Node (in another language: as a user of its own), L3 as a user of its own too (in another language: and without a network that it does not ask for). `muster plugins show` says what holds.',
      ),
    state: providerStates,
    since: instant,
    reason: z.string().exactOptional(),
    hint: z.string().exactOptional(),
    notes: z.array(z.string()).describe('What an operator should know, as `no isolation: same user`.'),
    facts: z.record(z.string(), z.string()),
    pid: z.int().exactOptional(),
    restarts: z.int(),
    breaker: z.enum(['closed', 'open', 'half-open']),
    inFlight: z.int(),
    oldestCall: z
      .object({ method: z.string(), since: instant })
      .describe('The oldest open call whose answer does not last, as a log does. A launch may take minutes.')
      .exactOptional(),
    silentSince: instant
      .describe("Its process answers nothing since then, not even the host's own question; absent: it answers.")
      .exactOptional(),
    retiring: z.int().describe('Processes of before that end once their open calls have.'),
    crashBundle: z.string().exactOptional(),
    disabled: wishSchema.describe('No launch goes to it; absent: they do.').exactOptional(),
    kept: z
      .object({
        version: z.string(),
        state: providerStates,
        since: instant,
        reason: z.string().exactOptional(),
        hint: z.string().exactOptional(),
        pid: z.int().exactOptional(),
        restarts: z.int(),
      })
      .describe('The version of its plugin before, which goes on for workers that this one does not account for.')
      .exactOptional(),
    orphans: z
      .object({
        known: z.int().describe('Are there now: left alone for `host.orphanGrace`, or asked to end.'),
        removed: z.int().describe('Were removed by this daemon since its start.'),
        removedAt: instant.describe('The last of these.').exactOptional(),
      })
      .describe('Workers there with our tag and without a record.'),
    capabilities: workerCapabilitiesSchema,
  }),
)

export const orphanSchema: z.ZodType<OrphanItem> = named(
  'Orphan',
  z.object({
    id,
    pool: z.string().describe('As its tag says.'),
    state: z.enum(['quarantined', 'removing']),
    firstSeen: instant,
    dueAt: instant.describe('It is left alone until then: `host.orphanGrace`.'),
    due: z.boolean().describe('That time is over: the next look at its provider may remove it.'),
  }),
)

export const conditionSchema: z.ZodType<ConditionView> = named(
  'Condition',
  z.object({
    scope: z.string().describe('host · provider · pool'),
    name: z.string(),
    type: z.string(),
    message: z.string(),
    hint: z.string(),
    since: instant,
    updatedAt: instant,
  }),
)

export const problem: typeof problemSchema = named('Problem', problemSchema)

/** A yes or no in a query. */
export const flag: z.ZodType<boolean, 'true' | 'false' | undefined> = z
  .enum(['true', 'false'])
  .default('false')
  .transform((value) => value === 'true')

export interface PageParts {
  ended: z.ZodType<boolean>
  limit: z.ZodType<number>
  before: z.ZodExactOptional<z.ZodString>
}

/** What every list takes; `kinds` are the first letters that ids of its items have. */
export function pageParts(kinds: string): PageParts {
  return {
    ended: flag.describe('Ended ones too.'),
    limit: z.coerce
      .number()
      .int()
      .min(1)
      .max(500)
      .default(100)
      .describe('Most items; a page of large ones ends sooner, and has a `next`.'),
    before: z
      .string()
      .regex(new RegExp(`^[${kinds}][0-9a-z]{26}$`), 'not a `next` that this list gave')
      .describe('`next` of the page before.')
      .exactOptional(),
  }
}

/** A page of a list; pages go from the newest to the oldest. */
export function pageOf<T>(id: string, item: z.ZodType<T>): z.ZodType<{ items: T[]; next?: string }> {
  return named(id, z.object(pageFields(item)))
}

/** What every page has. */
export function pageFields<T>(item: z.ZodType<T>): { items: z.ZodArray<z.ZodType<T>>; next: z.ZodExactOptional<z.ZodString> } {
  return {
    items: z.array(item),
    next: z.string().describe('Ask with `before` for the page after this one; absent: there is none.').exactOptional(),
  }
}
