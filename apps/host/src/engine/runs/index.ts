/** The run driver: every run of this host, driven to its end; {@link Runs} for the API. */
import { newId } from '../../store/ids.ts'
import type { AfterCommit, Tx } from '../../store/store.ts'
import { type Also, type Engine, EngineError } from '../api.ts'
import type { PassKillPoint } from '../killpoint.ts'
import type { Artifact, RunRecord, RunRequest } from '../model.ts'
import { type ExecRequest, missingProvider, RunError, type Runs } from '../runs-api.ts'
import { agentWork } from './agent-work.ts'
import { cancelRun } from './cancel.ts'
import { removeFolder, runDir, runsDir, type RunDeps, stdinPath } from './deps.ts'
import { createDesk } from './desk.ts'
import { driveRun } from './driver.ts'
import { inputsAndOutputs } from './exchange.ts'
import { keepRefusal, withKeep } from './keep.ts'
import { type DiskRoom, roomNow, tellReserved } from '../disk.ts'
import { reserveOf } from './reserve.ts'
import { leaseRefusal, leaseRequestOf, workRefusal } from './lease-request.ts'
import { createLogs } from './logs.ts'
import { counting, createPresence } from './presence.ts'
import { createRecords, openRequest, sealContext } from './records.ts'
import { type RunRetention, startRunRetention } from './retention.ts'
import { openSpool, type Spool } from './sealed-file.ts'
import { tellUnwritten } from './unwritten.ts'
import { partsOf, whyRun } from './why.ts'

export interface RunsOptions {
  engine: Engine
  /** The host's data folder. */
  dataDir: string
  killpoint: PassKillPoint
  /** Live runs at once. Default {@link MOST_RUNS}. */
  mostRuns?: number
  /** Asked for each round. Absent: everything is kept. */
  retention?(): RunRetention
  /** Told of each run that has ended, right after that is stored. */
  ended?: (run: RunRecord) => void
  /** Told how much room logs and outputs take, whenever retention has looked. */
  measured?: (bytes: number) => void
  /** What is left of the disk of a folder; default: what its file system says. */
  room?: (folder: string) => DiskRoom
  report(message: string, data: object): void
}

/** Each has a driver in memory, also while it waits for its inputs; as many as leases may wait in one pool. */
const MOST_RUNS = 50_000
/** Rows of one query. */
const most = 500
/** Read at once where labels are looked for: each may be large. */
const looked = 50

/** Takes up every run that has not ended. */
export async function startRuns(options: RunsOptions): Promise<Runs> {
  const { engine, dataDir, killpoint, report, mostRuns = MOST_RUNS } = options
  const stopping = new AbortController()
  const records = createRecords(engine, options.ended)
  const spools = new Map<string, Promise<Spool>>()
  const driving = new Set<Promise<void>>()
  const logs = createLogs({ records, dataDir, stopping: stopping.signal })
  const desk = createDesk(engine)
  const { room = roomNow } = options
  const tight = (is: boolean): void => tellReserved(engine.conditions, is)
  const deps: RunDeps = {
    engine,
    records,
    dataDir,
    killpoint,
    report,
    stopping: stopping.signal,
    desk,
    logGrown: logs.grown,
    reserve: reserveOf({ clock: engine.clock, room: () => room(dataDir), told: tight }),
    room: () => room(runsDir({ dataDir })),
    unwritten: tellUnwritten(engine.conditions),
    spool(id) {
      const known = spools.get(id)
      if (known !== undefined) return known
      const open = openSpool(stdinPath({ dataDir }, id), { sealer: engine.sealer, context: `${sealContext(id)}:stdin` })
      spools.set(id, open)
      // What failed is opened anew when it is asked for next.
      open.catch(() => spools.delete(id))
      return open
    },
  }
  const cancel: Runs['cancel'] = (id, how) => cancelRun(deps, id, how)
  const presence = createPresence({ engine, records, cancel: (id, reason) => cancel(id, { principal: 'host', reason }) })

  /** Until the run has ended and nothing sealed is left of it. */
  function drive(run: RunRecord): void {
    presence.watch(run)
    const work = driveRun(deps, run.id)
      .then(async () => {
        if (stopping.signal.aborted) return
        await (await spools.get(run.id))?.close()
        spools.delete(run.id)
        for (const part of ['in', 'stdin']) await removeFolder(`${runDir(deps, run.id)}/${part}`)
      })
      .catch((error: unknown) => report('what is left of a run could not be removed', { run: run.id, error: String(error) }))
      .finally(() => {
        presence.forget(run.id)
        if (!stopping.signal.aborted) deps.unwritten.forget(run.id)
        driving.delete(work)
      })
    driving.add(work)
  }

  function row(
    id: string,
    { kind, pool, request, principal }: { kind: 'run' | 'exec'; pool: string; request: RunRequest; principal: string },
  ): RunRecord {
    const now = engine.clock.now()
    const artifact =
      (direction: 'in' | 'out') =>
      ({ name, path }: { name: string; path: string }): Artifact => ({ name, path, direction, state: 'awaited' })
    return {
      id,
      kind,
      pool,
      principal,
      lease_id: null,
      worker_id: null,
      state: request.inputs.length > 0 ? 'uploading' : 'queued',
      rev: 1,
      request: JSON.stringify(openRequest(request)),
      request_sealed: engine.sealer.seal(JSON.stringify(request), sealContext(id)),
      exec_id: null,
      created_at: now,
      queued_at: request.inputs.length > 0 ? null : now,
      started_at: null,
      ended_at: null,
      deadline: null,
      cancel_requested: 0,
      outcome: null,
      exit: null,
      reason: null,
      log_problem: null,
      log_end: null,
      ahead: null,
      artifacts: JSON.stringify([...request.inputs.map(artifact('in')), ...request.outputs.map(artifact('out'))]),
    }
  }

  async function inserted(
    tx: Tx,
    after: AfterCommit,
    { run, also, leaseId, workerId }: { run: RunRecord; also?: Also<RunRecord>; leaseId?: string; workerId?: string },
  ): Promise<RunRecord> {
    await records.insert(tx, after, run)
    await engine.journal.append(tx, after, {
      rule: 'run-created',
      decision: run.state === 'uploading' ? 'the run waits for its inputs' : 'the run was taken in',
      pool: run.pool,
      runId: run.id,
      leaseId,
      workerId,
      inputs: { kind: run.kind, principal: run.principal, request: JSON.parse(run.request) as unknown },
      change: 'It is cancelled before it ends.',
    })
    await also?.(tx, after, run)
    return run
  }

  function checkRoom(): void {
    if (stopping.signal.aborted) throw new EngineError('stopping', 'the host is stopping')
    if (driving.size >= mostRuns) throw new EngineError('busy', `${mostRuns} runs live already`)
  }

  async function create(request: RunRequest, { principal }: { principal: string }, also?: Also<RunRecord>): Promise<RunRecord> {
    checkRoom()
    const id = newId('r')
    const run =
      request.lease === undefined
        ? await createInPool(id, { request: withKeep(engine, request), principal, also })
        : await createInLease(id, { request, principal, also })
    killpoint('run-created')
    drive(run)
    return run
  }

  async function createInPool(
    id: string,
    { request, principal, also }: { request: RunRequest; principal: string; also: Also<RunRecord> | undefined },
  ): Promise<RunRecord> {
    const pool = request.pool ?? ''
    const wish = leaseRequestOf({ engine }, { id, pool, request, principal })
    const refusal =
      keepRefusal(request, engine.leases.check(wish)) ?? workRefusal(wish.requirements.mode ?? 'hold', pool, request)
    if (refusal !== undefined) throw new EngineError('refused', refusal.message, refusal)
    const run = row(id, { kind: 'run', pool, request, principal })
    if (run.state === 'uploading') return engine.store.write((tx, after) => inserted(tx, after, { run, ...(also && { also }) }))
    let made = run
    await engine.leases.request(wish, async (tx, after, lease) => {
      made = { ...run, lease_id: lease.id }
      await inserted(tx, after, { run: made, leaseId: lease.id, ...(also && { also }) })
    })
    return made
  }

  async function createInLease(
    id: string,
    { request, principal, also }: { request: RunRequest; principal: string; also: Also<RunRecord> | undefined },
  ): Promise<RunRecord> {
    const lease = engine.leases.get(request.lease ?? '')
    if (lease === undefined) {
      const known = await engine.leases.find(request.lease ?? '')
      throw new RunError(
        known === undefined ? 'not-found' : 'ended',
        known === undefined ? `no lease ${request.lease}` : `lease ${known.id} has ended`,
      )
    }
    const refusal = leaseRefusal(engine, lease, request)
    if (refusal !== undefined) throw new EngineError('refused', refusal.message, refusal)
    const run: RunRecord = { ...row(id, { kind: 'run', pool: lease.pool, request, principal }), lease_id: lease.id }
    return engine.store.write((tx, after) => inserted(tx, after, { run, leaseId: lease.id, ...(also && { also }) }))
  }

  async function exec(
    workerId: string,
    request: ExecRequest,
    { principal, also }: { principal: string; also?: Also<RunRecord> },
  ): Promise<RunRecord> {
    checkRoom()
    const worker = engine.workers.get(workerId)
    if (worker === undefined) throw new RunError('not-found', `no live worker ${workerId}`)
    const provider = engine.providerOf(worker)
    if (provider === undefined) throw missingProvider(worker)
    if (provider.capabilities.exec === undefined) throw new RunError('unsupported', `provider '${worker.provider}' has no exec`)
    if (!['starting', 'idle', 'leased', 'draining'].includes(worker.phase))
      throw new RunError('not-ready', `worker ${workerId} is ${worker.phase}`)
    const id = newId('r')
    const full: RunRequest = { ...request, requirements: {}, inputs: [], outputs: [] }
    const run: RunRecord = {
      ...row(id, { kind: 'exec', pool: worker.pool, request: full, principal }),
      state: 'starting',
      worker_id: workerId,
      exec_id: newId('x'),
    }
    const made = await engine.store.write((tx, after) => inserted(tx, after, { run, workerId, ...(also && { also }) }))
    drive(made)
    return made
  }

  for (const run of await records.load()) drive(run)
  if (options.retention !== undefined)
    startRunRetention({
      engine,
      dataDir,
      retention: options.retention,
      stopping: stopping.signal,
      report,
      ...(options.measured === undefined ? {} : { measured: options.measured }),
    })

  const data = { ...inputsAndOutputs(deps), ...logs.api }
  return {
    create,
    exec,
    cancel,
    get: (id) => records.get(id),
    find: (id) => records.find(id),
    async list({ pool, worker, state, labels, ended = false, limit = 100, before }) {
      const wanted = Object.entries(labels ?? {})
      const page = wanted.length === 0 ? Math.min(limit, most) : looked
      let query = engine.store.read.selectFrom('runs').selectAll().orderBy('id', 'desc').limit(page)
      // What is in another state has not ended: only the live ones are looked through for it.
      if (!ended || (state !== undefined && state !== 'ended')) query = query.where('ended_at', 'is', null)
      if (pool !== undefined) query = query.where('pool', '=', pool)
      if (worker !== undefined) query = query.where('worker_id', '=', worker)
      if (state !== undefined) query = query.where('state', '=', state)
      if (before !== undefined) query = query.where('id', '<', before)
      if (wanted.length === 0) return query.execute()
      const found: RunRecord[] = []
      // Labels are no columns: pages are looked through until enough fit, the last page is short.
      for (let after = before; ;) {
        const rows = await (after === undefined ? query : query.where('id', '<', after)).execute()
        found.push(...rows.filter((one) => hasLabels(one, wanted)))
        after = rows.at(-1)?.id
        if (found.length >= limit || rows.length < page) return found.slice(0, limit)
        // A query answers at once: without this, nothing else would be done until the last page.
        await new Promise((resolve) => setImmediate(resolve))
      }
    },
    wait: (id, until, signal) => waitRun(records, { id, until, ...(signal && { signal }) }),
    attach: (id) => presence.attach(id),
    ...data,
    ...counting(presence, data),
    agent: agentWork({ engine, records, desk }),
    why: async (id, page) => {
      const run = await records.find(id)
      return run === undefined ? [] : whyRun(engine.journal, run, page)
    },
    whyDroppedBefore: async (id) => {
      const run = await records.find(id)
      return run === undefined ? undefined : engine.journal.droppedBefore(partsOf(run))
    },
    async stop() {
      stopping.abort(new DOMException('the host is stopping', 'AbortError'))
      presence.stop()
      await Promise.all(driving)
      for (const spool of spools.values()) await (await spool).close()
    },
  }
}

function hasLabels(run: RunRecord, wanted: readonly [string, string][]): boolean {
  const has = (JSON.parse(run.request) as { labels?: Record<string, string> }).labels ?? {}
  return wanted.every(([key, value]) => has[key] === value)
}

async function waitRun(
  records: ReturnType<typeof createRecords>,
  { id, until, signal }: { id: string; until: (run: RunRecord) => boolean; signal?: AbortSignal },
): Promise<RunRecord> {
  signal?.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<RunRecord>()
  const look = (run: RunRecord): void => {
    if (run.ended_at !== null || until(run)) resolve(run)
  }
  const abort = (): void => reject(signal?.reason as Error)
  const unwatch = records.observe(id, look)
  signal?.addEventListener('abort', abort, { once: true })
  try {
    const now = await records.find(id)
    if (now === undefined) throw new RunError('not-found', `no run ${id}`)
    look(now)
    return await promise
  } finally {
    unwatch()
    signal?.removeEventListener('abort', abort)
  }
}
