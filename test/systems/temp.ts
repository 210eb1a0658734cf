/** Temporary folders that are wholly gone afterwards. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { runProcess } from './process.ts'

export interface TempFolder {
  readonly path: string
  /** Unmounts what is mounted below, then removes the folder. Idempotent. */
  remove(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Makes a folder of mode 0700 below the system's temporary folder, named after `label`. */
export async function tempFolder(label: string): Promise<TempFolder> {
  const path = await mkdtemp(join(tmpdir(), `muster-${label}-`))
  const remove = async (): Promise<void> => removeFolder(path)
  return { path, remove, [Symbol.asyncDispose]: remove }
}

/** Unmounts everything mounted below a folder (deepest first) and removes it with its content. */
export async function removeFolder(path: string): Promise<void> {
  for (const mount of (await mountsBelow(path)).reverse()) {
    // A mount that something still uses is detached: it vanishes with its last user.
    const { code } = await runProcess(['umount', mount])
    if (code !== 0) await runProcess(['umount', '-l', mount])
  }
  await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
}

/** The mount points at and below a folder, in the order they were mounted. */
export async function mountsBelow(path: string): Promise<string[]> {
  // Fields of a line, see proc_pid_mountinfo(5): the fifth is the mount point, with octal escapes.
  const table = await readFile('/proc/self/mountinfo', 'utf8').catch(() => '')
  const points = table.split('\n').map((line) => unescapeMount(line.split(' ')[4] ?? ''))
  return points.filter((point) => point === path || point.startsWith(`${path}/`))
}

function unescapeMount(field: string): string {
  return field.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}
