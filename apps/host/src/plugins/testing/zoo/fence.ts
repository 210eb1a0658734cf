/** Limits round all that a test starts, plugins without a cage too: what no limit of the host holds harms no machine. */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Presence } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { cagesAreHere, placesOf } from '../../cage.ts'

/** A machine has more of both, and a zoo needs less. */
const memoryBytes = 6 * 2 ** 30
const pids = 4000
let count = 0

export interface Fence {
  /** Into it, with all that it starts from then on. */
  take(pid: number): Promise<void>
  /** Once all in it has ended. */
  drop(): Promise<void>
}

/** Without one nothing of the zoo is started: on a machine that cannot hold it, it would be a danger to more than its test. */
export async function findFence(): Promise<Presence<typeof openFence>> {
  if (await cagesAreHere()) return { name: 'cgroup', system: openFence }
  return { name: 'cgroup', absent: 'no limits can be set round what eats without end' }
}

async function openFence(): Promise<Fence> {
  const [mounts, own] = await Promise.all(['/proc/self/mountinfo', '/proc/self/cgroup'].map((file) => readFile(file, 'utf8')))
  const name = `muster-zoo-${process.pid}-${++count}`
  const folders = placesOf(mounts ?? '', own ?? '').map(({ folder }) => join(folder, name))
  for (const folder of folders) {
    await mkdir(folder)
    for (const [file, value] of [
      ['pids.max', pids],
      ['memory.max', memoryBytes],
      ['memory.limit_in_bytes', memoryBytes],
    ] as const)
      if (existsSync(join(folder, file))) await writeFile(join(folder, file), String(value))
  }
  return {
    async take(pid) {
      for (const folder of folders) await writeFile(join(folder, 'cgroup.procs'), String(pid))
    },
    async drop() {
      // The kernel takes a moment to forget processes; and what a host had no time for, as it ended, the next one of the same place removes.
      for (const folder of folders) await waitFor(`${folder} to be empty`, () => removeAll(folder).then(() => true))
    },
  }
}

/** Error: there are processes in it. */
async function removeAll(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true }))
    if (entry.isDirectory()) await rmdir(join(folder, entry.name))
  await rmdir(folder)
}
