/** What lease a run asks for: above all, which way of working. */
import type { WorkerCapabilities } from '@muster/core'
import type { Engine } from '../api.ts'
import type { LeaseRecord, LeaseRequest, LiveWorker, PoolConfig, Refusal, Requirements, RunRequest } from '../model.ts'
import { mergeTemplate, modeOf, type WorkMode } from '../spec.ts'
import { modeOfSpec, runOfLease } from '../words.ts'

/** A lease of a run has no clock of its own: the run ends it. */
const noTtlMs = 24 * 3_600_000

/** Which way of working a run takes, and the lease it asks for. */
export function leaseRequestOf(
  { engine }: { engine: Engine },
  { id, pool, request, principal }: { id: string; pool: string; request: RunRequest; principal: string },
): LeaseRequest {
  const config = engine.pools.get(pool)?.config
  const mode = modeFor(engine, config, request)
  const { requirements, env, queueTimeoutMs, traceparent } = request
  const byCommand = mode === 'command'
  return {
    pool,
    principal,
    ttlMs: noTtlMs,
    ofRun: id,
    requirements: { ...requirements, mode, ...(byCommand && env !== undefined ? { env: { ...requirements.env, ...env } } : {}) },
    ...(queueTimeoutMs === undefined ? {} : { queueTimeoutMs }),
    ...(traceparent === undefined ? {} : { traceparent }),
    ...(byCommand
      ? {
          command: {
            argv: request.command,
            ...(request.files === undefined ? {} : { files: request.files }),
            ...(request.workdir === undefined ? {} : { workdir: request.workdir }),
          },
        }
      : {}),
  }
}

/** `command` is the cheapest on cold capacity; what goes in or comes out, warm workers and re-use need `hold`. */
function modeFor(engine: Engine, config: PoolConfig | undefined, request: RunRequest): WorkMode {
  if (request.requirements.mode !== undefined) return request.requirements.mode
  if (config?.work === 'agent') return 'agent'
  // A worker that is its command is over with it: nothing could be kept for a look.
  const keeps = (request.keepFailedMs ?? 0) > 0
  const needsExec = keeps || request.stdin || request.inputs.length > 0 || request.outputs.length > 0
  if (needsExec || config === undefined || config.work === 'hold') return 'hold'
  if (config.work === 'command') return 'command'
  const stocks = config.scale.warm > 0 || config.scale.min > 0 || config.uses > 1
  const providers = config.placement.map((name) => engine.providerOf({ provider: name })?.capabilities)
  // What a provider cannot give to a worker that is its command, exec can.
  const parts = (['env', 'files', 'workdir'] as const).filter((part) => request[part] !== undefined)
  const fits = (can: WorkerCapabilities | undefined): boolean =>
    can?.work.includes('command') === true && can.exitCode && parts.every((part) => can.fields.includes(part))
  return !stocks && providers.every(fits) ? 'command' : 'hold'
}

/** Why a run that is worked on in this way could not have all that it asks for; nothing of it is left out in silence. */
export function workRefusal(work: WorkMode, pool: string, request: RunRequest): Refusal | undefined {
  const lack = work === 'agent' ? agentLacks(request) : work === 'command' ? commandLacks(request) : undefined
  if (lack === undefined) return undefined
  const { field, asked, has, instead } = lack
  return {
    code: 'cannot-be-served',
    message: `pool ${pool} cannot serve this: ${field} is ${asked}, and ${has}`,
    hint: `Ask without ${field}${field === 'stdin' ? ' (muster run --no-stdin)' : ''}, or ${instead}.`,
    nearest: { pool, field, asked, has },
  }
}

/** Why a run cannot be in this lease: there the worker is what it is, whatever a pool would give to others. */
export function leaseRefusal(
  engine: Pick<Engine, 'pools' | 'workers'>,
  lease: LeaseRecord,
  request: RunRequest,
): Refusal | undefined {
  if (lease.of_run === 1) return foreign(lease)
  const worker = lease.worker_id === null ? undefined : engine.workers.get(lease.worker_id)
  const unmet = wishUnmet(templateOfLease(engine, lease, worker), request.requirements)
  if (unmet !== undefined)
    return {
      code: 'cannot-be-served',
      message: `lease ${lease.id} cannot serve this: ${unmet.field} is ${unmet.asked}, and its worker has ${unmet.has}`,
      hint: `Ask without ${unmet.field}, or name a pool instead of the lease.`,
      nearest: { pool: lease.pool, ...unmet },
    }
  const work = workOfLease(engine, lease, worker)
  const { mode } = request.requirements
  if (mode === undefined || mode === work) return workRefusal(work, lease.pool, request)
  const has = work === 'agent' ? 'an agent that takes it up' : 'a worker that holds'
  return {
    code: 'cannot-be-served',
    message: `lease ${lease.id} cannot serve this: mode is ${mode}, and the lease has ${has}`,
    hint: 'Ask for no mode, or name a pool instead of the lease.',
    nearest: { pool: lease.pool, field: 'mode', asked: mode, has: work },
  }
}

/** It would be told the exit and the log of the run whose lease it is. */
function foreign(lease: LeaseRecord): Refusal {
  const { id, pool } = lease
  const ofRun = runOfLease(lease) ?? 'another'
  return {
    code: 'cannot-be-served',
    message: `lease ${id} cannot serve this: it is the lease of run ${ofRun}, and ends with it`,
    hint: 'Name a pool or a lease of your own; `muster exec` runs a command beside that of a run.',
    nearest: { pool, field: 'lease', asked: id, has: ofRun },
  }
}

/** The first wish that the worker of a lease does not meet: it is there or on its way, and becomes nothing else. */
function wishUnmet(has: Traits, wish: Requirements): Pick<Lack, 'field' | 'asked' | 'has'> | undefined {
  // What it has may be a secret, and is told to nobody.
  if (wish.env !== undefined) return { field: 'env', asked: Object.keys(wish.env).join(', '), has: 'what it was made with' }
  const is = new Map(traitsOf(has))
  for (const [field, asked] of traitsOf(wish))
    if (is.get(field) !== asked) return { field, asked: String(asked), has: String(is.get(field) ?? 'none') }
  return undefined
}

type Traits = Omit<Requirements, 'env' | 'mode'>

function traitsOf({ image, profile, os, arch, resources, labels }: Traits): [string, string | number][] {
  const below = (field: string, parts: object = {}): [string, string | number][] =>
    Object.entries(parts).map(([key, value]) => [`${field}.${key}`, value as string | number])
  return [...Object.entries({ image, profile, os, arch }), ...below('resources', resources), ...below('labels', labels)].filter(
    (trait): trait is [string, string | number] => trait[1] !== undefined,
  )
}

/** What its worker is; before it has one, what its worker will be. */
function templateOfLease({ pools }: Pick<Engine, 'pools'>, lease: LeaseRecord, worker: LiveWorker | undefined): Traits {
  if (worker !== undefined) return JSON.parse(worker.spec) as Traits
  const { requirements } = JSON.parse(lease.request) as Pick<LeaseRequest, 'requirements'>
  return mergeTemplate(pools.get(lease.pool)?.config.worker ?? {}, requirements)
}

/** Of its worker; before it has one, what its worker will be. */
function workOfLease({ pools }: Pick<Engine, 'pools'>, lease: LeaseRecord, worker: LiveWorker | undefined): WorkMode {
  if (worker !== undefined) return modeOfSpec(worker.spec)
  const request = JSON.parse(lease.request) as Pick<LeaseRequest, 'requirements' | 'command'>
  const pool = pools.get(lease.pool)?.config
  return pool === undefined ? (request.requirements.mode ?? 'hold') : modeOf(pool, request)
}

interface Lack {
  field: string
  asked: string
  has: string
  instead: string
}

/** Nobody reaches into the worker of an agent. */
function agentLacks({ stdin, keepFailedMs = 0 }: RunRequest): Lack | undefined {
  const instead = 'name a pool whose workers hold'
  if (stdin) return { field: 'stdin', asked: 'standard input', has: 'its agents have commands that read none', instead }
  if (keepFailedMs === 0) return undefined
  const asked = 'a worker that is kept when it fails'
  return { field: 'keepFailed', asked, has: 'its agents have workers that end with them', instead }
}

/** A worker that is its command begins with it, and is over with it. */
function commandLacks({ stdin, inputs, outputs }: RunRequest): Lack | undefined {
  const instead = 'for mode hold'
  const has = 'a worker that is its command has none'
  if (stdin) return { field: 'stdin', asked: 'standard input', has, instead }
  if (inputs.length > 0) return { field: 'inputs', asked: inputs.map(({ name }) => name).join(', '), has, instead }
  if (outputs.length > 0) return { field: 'outputs', asked: outputs.map(({ name }) => name).join(', '), has, instead }
  return undefined
}
