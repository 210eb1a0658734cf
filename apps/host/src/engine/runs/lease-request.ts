/** What lease a run asks for: above all, which way of working. */
import type { WorkerCapabilities } from '@muster/core'
import type { Engine } from '../api.ts'
import type { LeaseRequest, PoolConfig, Refusal, RunRequest } from '../model.ts'
import type { WorkMode } from '../spec.ts'

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

/** What an agent cannot give to its run: nobody reaches into its worker. */
export function agentRefusal({ pools }: Pick<Engine, 'pools'>, pool: string, request: RunRequest): Refusal | undefined {
  const own = request.requirements.mode === undefined && pools.get(pool)?.config.work === 'agent'
  const keeps = (request.keepFailedMs ?? 0) > 0
  if (!own || (!request.stdin && !keeps)) return undefined
  const [field, asked, has] = request.stdin
    ? ['stdin', 'standard input', 'commands that read none']
    : ['keepFailed', 'a worker that is kept when it fails', 'workers that end with their agent']
  return {
    code: 'cannot-be-served',
    message: `pool ${pool} cannot serve this: ${field} is ${asked}, and the agents of the pool have ${has}`,
    hint: `Ask without ${field}${request.stdin ? ' (muster run --no-stdin)' : ''}, or name a pool whose workers hold.`,
    nearest: { pool, field, asked, has },
  }
}
