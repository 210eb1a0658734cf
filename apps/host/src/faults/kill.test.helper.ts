/**
 * Proofs of invariant 2: the daemon kills itself at a named point while it works, is started again on the same data, and everything is as
 * if nothing had been: each run ended once and right, with every byte of its log once, one worker for each live record, none without
 * one, and at the end nothing. One site serves several proofs in turn: the daemon that recovers is armed for the next.
 */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Run } from '@muster/client'
import type { RunningProcess } from '@muster/test/systems/process'
import { waitFor } from '@muster/test/systems/wait'
import type { KillPoint } from '../engine/killpoint.ts'
import { everyMs, makeSite, patienceMs, type Site } from './daemon.test.helper.ts'
import type { OpenVendor, Vendor } from './vendors.test.helper.ts'

export interface Proofs {
  point: KillPoint
  /** At which passing of the point each daemon in turn kills itself; one proof each. */
  passings: readonly number[]
  vendor: OpenVendor
}

export interface Proved {
  /** Kills; in the other proofs the work had ended before the point was passed so often, and the rest was checked all the same. */
  killed: number
}

/** Lines of each stream; enough that a kill falls between them. */
const lines = 40
const script = `n=0; while [ $n -lt ${lines} ]; do n=$((n+1)); echo out $n; echo err $n >&2; done; exit 3`
const wanted = (word: string): string => Array.from({ length: lines }, (_, n) => `${word} ${n + 1}\n`).join('')

/** Within the same work: once, and once more while it recovers. More would try the same moment of the same life again. */
const KILLS_IN_A_ROUND = 2
/** As many as the highest passing that is tried. */
const ORPHANS = 4

/** Rejects with what is wrong, and with what the daemons said. */
export async function prove(proofs: Proofs): Promise<Proved> {
  const vendor = await proofs.vendor()
  const site = await makeSite(vendor.files())
  const lives = livesOf(site, proofs)
  try {
    await Promise.race([lives.failed, allRounds({ site, vendor, lives, proofs })])
    await lives.end()
    for (const [id, times] of vendor.made?.(site) ?? []) equal(`times that ${id} was made`, times, 1)
    return { killed: lives.killed() }
  } catch (error) {
    const what = `${vendor.name}, ${proofs.point} at ${proofs.passings.join(', ')}, after ${lives.killed()} kills`
    throw new Error(`${what}: ${(error as Error).message}\n${site.output().slice(-8000)}`, { cause: error })
  } finally {
    lives.leave()
    await site.dispose()
    await vendor.dispose?.()
  }
}

interface Lives {
  /** Rejects when a daemon ends in any other way than at its point. */
  readonly failed: Promise<never>
  killed(): number
  /** Passings that are not tried yet. */
  left(): number
  /** A daemon runs that kills itself at the next passing, and its successor too. */
  arm(): Promise<void>
  /** A daemon runs that does not kill itself. */
  calm(): Promise<void>
  /** Ends the daemon in order. */
  end(): Promise<void>
  /** Starts no other any more. */
  leave(): void
}

/** The daemons of a site, one after the other. */
function livesOf(site: Site, { point, passings }: Pick<Proofs, 'point' | 'passings'>): Lives {
  const left = [...passings]
  let killed = 0
  let mayDie = 0
  let current: { daemon: RunningProcess; armed: boolean } | undefined
  const { promise: failed, reject: fail } = Promise.withResolvers<never>()
  failed.catch(() => undefined)

  async function start(): Promise<void> {
    const armed = mayDie > 0 && left[0] !== undefined
    const daemon = await site.start(armed ? { MUSTER_KILL_AT: `${point}:${left[0]}` } : {})
    current = { daemon, armed }
    void daemon.exited.then(succeed).catch(fail)

    async function succeed({ code, signal }: { code: number | null; signal: string | null }): Promise<void> {
      if (current?.daemon !== daemon) return
      current = undefined
      if (!armed || signal !== 'SIGKILL') throw new Error(`the daemon ended by itself: exit ${code}, signal ${signal}`)
      left.shift()
      killed += 1
      mayDie -= 1
      await start()
    }
  }

  async function end(): Promise<void> {
    if (current === undefined) return
    current = undefined
    await site.stop()
  }

  async function restart(): Promise<void> {
    await end()
    await start()
    // A client that was answered once repeats its calls until the next daemon answers.
    await site.ready()
  }

  return {
    failed,
    killed: () => killed,
    left: () => left.length,
    async arm() {
      mayDie = KILLS_IN_A_ROUND
      if (current?.armed !== true) await restart()
    },
    async calm() {
      mayDie = 0
      if (current?.armed !== false) await restart()
    },
    end,
    leave() {
      current = undefined
    },
  }
}

interface Work {
  site: Site
  vendor: Vendor
  lives: Lives
  proofs: Proofs
}

/** As much work as there are proofs, or less if the daemon was killed often enough before. */
async function allRounds({ site, vendor, lives, proofs: { point, passings } }: Work): Promise<void> {
  const orphans = point.startsWith('orphan-')
  let rounds = 0
  for (let tried = 0; lives.left() > 0 && tried < passings.length; tried++) {
    if (orphans) await plantOrphans(site, lives)
    await lives.arm()
    if (!orphans) rounds += 1
    await (orphans ? nothingLeft(site, vendor) : round(site, vendor))
  }
  if (orphans) {
    await lives.calm()
    rounds += 1
    await round(site, vendor)
  }
  equal('number of runs', (await site.client.runs.list({ ended: 'true' })).items.length, 2 * rounds)
}

/** Two runs and a lease, then nothing is left of them. */
async function round(site: Site, vendor: Vendor): Promise<void> {
  const runs = await Promise.all([follow(site, { pool: 'cold', output: false }), follow(site, { pool: 'hold', output: true })])
  for (const { run, stdout, stderr } of runs) {
    equal(`outcome of ${run.pool}`, run.outcome, 'failed')
    equal(`exit of ${run.pool}`, run.exit?.code, 3)
    equal(`stdout of ${run.pool}`, stdout, wanted('out'))
    equal(`stderr of ${run.pool}`, stderr, wanted('err'))
  }
  await leaseAndLeave(site)
  await nothingLeft(site, vendor)
}

interface Followed {
  run: Run
  stdout: string
  stderr: string
}

async function follow({ client }: Site, { pool, output }: { pool: string; output: boolean }): Promise<Followed> {
  const outputs = output ? [{ name: 'o', path: 'o' }] : []
  const command = ['sh', '-c', output ? `mkdir -p o; echo kept > o/f; ${script}` : script]
  const { id } = await client.runs.create({ pool, command, outputs })
  const text = { stdout: '', stderr: '' }
  for await (const { stream, data } of client.runs.logs(id)) text[stream] += Buffer.from(data).toString()
  const run = await client.runs.wait(id)
  if (output) equal('bytes of the output', (run.artifacts.find((one) => one.name === 'o')?.bytes ?? 0) > 0, true)
  return { run, ...text }
}

/** A lease that is taken and given back: the points of leases and of the end of a worker. */
async function leaseAndLeave({ client }: Site): Promise<void> {
  const { id } = await client.leases.create({ pool: 'hold', ttlMs: 600_000 })
  await client.leases.wait(id)
  await client.leases.release(id)
}

/** Invariant 2, then the end of everything. */
async function nothingLeft(site: Site, vendor: Vendor): Promise<void> {
  const owner = ownerOf(site.data)
  await waitFor(
    'one worker for each live record, and none without',
    async () => {
      const records = (await site.client.workers.list()).items.map((one) => one.id).sort()
      const exist = (await vendor.existing({ data: site.data, owner })).sort()
      return { records, exist }
    },
    { until: ({ records, exist }) => records.length === 0 && exist.length === 0, timeoutMs: patienceMs, everyMs },
  )
}

/** Workers that the vendor has and the store has not: made in order, then their records are taken out. */
async function plantOrphans({ client, data }: Site, lives: Lives): Promise<void> {
  await lives.calm()
  await Promise.all(
    Array.from({ length: ORPHANS }, async () => {
      const { id } = await client.leases.create({ pool: 'hold', ttlMs: 600_000 })
      await client.leases.wait(id)
    }),
  )
  await lives.end()
  const db = new DatabaseSync(join(data, storeFile))
  db.exec('delete from workers; delete from leases')
  db.close()
}

const storeFile = 'muster.db'

function ownerOf(data: string): string {
  const db = new DatabaseSync(join(data, storeFile), { readOnly: true })
  try {
    return String(db.prepare("select value from meta where key = 'owner'").get()?.['value'])
  } finally {
    db.close()
  }
}

function equal(what: string, is: unknown, should: unknown): void {
  if (is !== should)
    throw new Error(`${what} is ${JSON.stringify(is)?.slice(0, 2000)}, not ${JSON.stringify(should)?.slice(0, 2000)}`)
}

/** A daemon, its vendor and a client each: this many keep two cores busy without starving one another. */
const atOnce = 4
let open = 0
const waiting: (() => void)[] = []

/** Runs the work when there is room for it. */
export async function limited<T>(work: () => Promise<T>): Promise<T> {
  if (open >= atOnce) await new Promise<void>((resolve) => waiting.push(resolve))
  open += 1
  try {
    return await work()
  } finally {
    open -= 1
    waiting.shift()?.()
  }
}
