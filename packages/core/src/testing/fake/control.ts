/** The other side of the fake vendor, for tests: sets faults while the plugin runs, reads what happened, breaks what exists. */
import { readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { WorkerId } from '../../spec.ts'
import { allProcesses, processesOf, readText, signalQuietly } from './cell.ts'
import type { Fault } from './config.ts'
import { faultFile } from './faults.ts'
import { realLife } from './life.ts'
import { namesIn, openVendor, type VendorEvent, type WorkerRecord } from './vendor.ts'

export interface FakeControl {
  readonly dir: string
  /** From the next call on these are the script's faults, in every process. Their counts go on. */
  faults(faults: readonly Fault[]): void
  /** Forgets how often faults were used. */
  forgetUses(): void
  /** The vendor's log so far, oldest first. */
  events(): VendorEvent[]
  /** How often the vendor did this for the worker (or for any): `count('create', id)`. */
  count(op: string, worker?: WorkerId): number
  /** Whatever exists, whoever owns it. */
  workers(): WorkerRecord[]
  /** The worker is gone without anybody's doing: killed, and shown as lost, or not shown at all. */
  lose(id: WorkerId, how?: 'lost' | 'absent'): Promise<void>
  /** The part cannot be reached, until the returned function is called. */
  outage(part: string): () => void
  /** The vendor answers nothing, until the returned function is called. */
  stall(): () => void
  /** The vendor takes this secret only. */
  token(value: string): void
  /** What is left at the vendor of these workers (of any): folders and processes. Empty means gone. */
  leftovers(ids?: readonly WorkerId[]): string[]
  /** Ends everything and takes the folder away. */
  destroy(): Promise<void>
}

export function fakeControl(dir: string): FakeControl {
  const vendor = openVendor({ dir, life: realLife, now: Date.now, goneMs: 0 })

  /** Nobody ever reads half of it. */
  function replace(name: string, text: string): void {
    const fresh = join(dir, `${name}.new`)
    writeFileSync(fresh, text)
    renameSync(fresh, join(dir, name))
  }

  /** All stand still first, twice for what was being forked: of a machine that is lost, no part tells how another ended. */
  function freeze(id: WorkerId): void {
    for (let pass = 0; pass < 2; pass++) for (const pid of processesOf(vendor.folder(id))) signalQuietly(pid, 'SIGSTOP')
  }

  function events(): VendorEvent[] {
    const lines = readText(join(dir, 'calls.log'))?.split('\n') ?? []
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as VendorEvent)
  }

  function leftovers(ids: readonly WorkerId[] = vendor.ids()): string[] {
    // A request that was never accepted leaves a half file: that is no worker.
    const there = (id: WorkerId): boolean => namesIn(vendor.folder(id)).some((name) => !name.startsWith('half.'))
    const folders = ids.filter(there).map((id) => `worker ${id}`)
    const homes = new Map(ids.map((id) => [vendor.folder(id), id]))
    const processes = allProcesses().filter(({ worker }) => homes.has(worker))
    return [...folders, ...processes.map(({ pid, worker }) => `process ${pid} of ${homes.get(worker)}`)]
  }

  return {
    dir,
    faults(faults) {
      replace(faultFile, JSON.stringify(faults))
    },
    forgetUses() {
      for (const name of readdirSync(join(dir, 'used'))) rmSync(join(dir, 'used', name))
    },
    events,
    count: (op, worker) =>
      events().filter((event) => event.op === op && (worker === undefined || event.worker === worker)).length,
    workers: () => vendor.ids().flatMap((id) => vendor.get(id) ?? []),
    async lose(id, how = 'lost') {
      freeze(id)
      if (how === 'absent') await vendor.remove(id)
      else {
        vendor.mark(id, 'lost')
        for (const pid of processesOf(vendor.folder(id))) signalQuietly(pid, 'SIGKILL')
      }
      vendor.tell(id)
    },
    outage(part) {
      const mark = join(dir, 'outage', part)
      writeFileSync(mark, '')
      return () => rmSync(mark, { force: true })
    },
    stall() {
      const mark = join(dir, 'stalled')
      writeFileSync(mark, '')
      return () => rmSync(mark, { force: true })
    },
    token(value) {
      replace('token', value)
    },
    leftovers,
    async destroy() {
      for (const id of vendor.ids()) await vendor.remove(id)
      // Also those whose worker was taken away under them.
      for (const { pid, worker } of allProcesses()) if (worker.startsWith(join(dir, 'workers'))) signalQuietly(pid, 'SIGKILL')
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
