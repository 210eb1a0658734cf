/**
 * One proof of invariant 2: the daemon kills itself at a named point while it works, is started again on the same data, and everything
 * is as if nothing had been: each run ended once and right, with every byte of its log once, one worker for each live record, none
 * without one, and at the end nothing.
 */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Run } from '@muster/client'
import type { RunningProcess } from '@muster/test/systems/process'
import { waitFor } from '@muster/test/systems/wait'
import type { KillPoint } from '../engine/killpoint.ts'
import { everyMs, makeSite, patienceMs, type Site } from './daemon.test.helper.ts'
import type { OpenVendor, Vendor } from './vendors.test.helper.ts'

export interface Proof {
  point: KillPoint
  /** At which passing of the point. */
  passing: number
  vendor: OpenVendor
}

export interface Proved {
  /** False when the work ended before the point was passed so often; the rest was checked all the same. */
  killed: boolean
}

/** Lines of each stream; enough that a kill falls between them. */
const lines = 40
const script = `n=0; while [ $n -lt ${lines} ]; do n=$((n+1)); echo out $n; echo err $n >&2; done; exit 3`
const wanted = (word: string): string => Array.from({ length: lines }, (_, n) => `${word} ${n + 1}\n`).join('')

/** Rejects with what is wrong, and with what the daemons said. */
export async function prove({ point, passing, vendor: open }: Proof): Promise<Proved> {
  const vendor = await open()
  const site = await makeSite(vendor.files())
  try {
    if (point.startsWith('orphan-')) await plantOrphan(site)
    return await work(site, { point, passing, vendor })
  } catch (error) {
    throw new Error(`${vendor.name}, ${point}:${passing}: ${(error as Error).message}\n${site.output().slice(-8000)}`, {
      cause: error,
    })
  } finally {
    await site.dispose()
    await vendor.dispose?.()
  }
}

async function work(
  site: Site,
  { point, passing, vendor }: Pick<Proof, 'point' | 'passing'> & { vendor: Vendor },
): Promise<Proved> {
  const { client } = site
  const daemon = await site.start({ MUSTER_KILL_AT: `${point}:${passing}` })
  // A client that was answered once repeats its calls until the next daemon answers. An orphan can be found before that.
  await Promise.race([site.ready(), daemon.exited])
  if (point.startsWith('orphan-')) await Promise.race([nothingLeft(site, vendor), daemon.exited])
  const early = !daemon.running()
  if (early) await startAgain(site, daemon)
  const runs = Promise.all([follow(site, { pool: 'cold', output: false }), follow(site, { pool: 'hold', output: true })])
  const all = runs.then(() => leaseAndLeave(site)).then(() => nothingLeft(site, vendor))
  // What fails here is reported below, after the next daemon had its turn.
  all.catch(() => undefined)
  if (!early) await Promise.race([daemon.exited, all])
  const killed = !daemon.running()
  if (killed && !early) await startAgain(site, daemon)
  for (const { run, stdout, stderr } of await runs) {
    equal(`outcome of ${run.pool}`, run.outcome, 'failed')
    equal(`exit of ${run.pool}`, run.exit?.code, 3)
    equal(`stdout of ${run.pool}`, stdout, wanted('out'))
    equal(`stderr of ${run.pool}`, stderr, wanted('err'))
  }
  equal('number of runs', (await client.runs.list({ ended: 'true' })).items.length, 2)
  await all
  await site.stop()
  for (const [id, times] of vendor.made?.(site) ?? []) equal(`times that ${id} was made`, times, 1)
  return { killed }
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

async function startAgain(site: Site, dead: RunningProcess): Promise<void> {
  const { code, signal } = await dead.exited
  if (signal !== 'SIGKILL') throw new Error(`the daemon ended by itself: exit ${code}, signal ${signal}`)
  await site.start()
  await site.ready()
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

/** A worker that the vendor has and the store has not: made in order, then its record is taken out. */
async function plantOrphan(site: Site): Promise<void> {
  await site.start()
  await site.ready()
  const { id } = await site.client.leases.create({ pool: 'hold', ttlMs: 600_000 })
  await site.client.leases.wait(id)
  await site.stop()
  const db = new DatabaseSync(join(site.data, storeFile))
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
