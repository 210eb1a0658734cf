/** What of a folder travels: everything but what is ignored, in one order, and nothing that lies outside. */
import { lstat, readdir, readlink, realpath } from 'node:fs/promises'
import { dirname, join, relative, resolve, sep } from 'node:path'
import ignore from 'ignore'

export interface ScannedEntry {
  /** Relative to the folder, with `/`. */
  path: string
  kind: 'folder' | 'file' | 'link'
  bytes: number
  /** May it be executed? Nothing else of its mode travels. */
  executable: boolean
  /** Of a link, as it stands there. */
  target?: string
}

/** Something in the workspace cannot travel. */
export class WorkspaceError extends Error {
  override readonly name = 'WorkspaceError'
}

/** Version control is no part of what a job works on, and often larger than all else; the data of a daemon holds its secrets. */
const always = ['.git', '.muster']

/**
 * Everything below `root` but what the lines of `ignored` (syntax of .gitignore) name, sorted by path, so that the same folder gives the
 * same list. Throws WorkspaceError for a link that leads out and for what is no file, folder or link.
 */
export async function scanFolder(root: string, ignored: readonly string[]): Promise<ScannedEntry[]> {
  const matcher = ignore().add([...always, ...ignored])
  const base = await realpath(root).catch((error: NodeJS.ErrnoException) => {
    throw new WorkspaceError(`the workspace ${root} cannot be read: ${error.code ?? error.message}`)
  })
  const entries: ScannedEntry[] = []
  await visit('')
  return entries

  async function visit(folder: string): Promise<void> {
    const children = await readdir(join(base, folder), { withFileTypes: true })
    // By code unit, not by locale: every machine has the same order.
    for (const child of children.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = folder === '' ? child.name : `${folder}/${child.name}`
      if (matcher.ignores(child.isDirectory() ? `${path}/` : path)) continue
      if (child.isDirectory()) {
        entries.push({ path, kind: 'folder', bytes: 0, executable: true })
        await visit(path)
      } else if (child.isSymbolicLink()) {
        const target = await readlink(join(base, path))
        await refuseEscape(base, path, target)
        entries.push({ path, kind: 'link', bytes: 0, executable: false, target })
      } else if (child.isFile()) {
        const { size, mode } = await lstat(join(base, path))
        entries.push({ path, kind: 'file', bytes: size, executable: (mode & 0o111) !== 0 })
      } else throw new WorkspaceError(`${path} is no file, folder or link: add it to 'ignore'`)
    }
  }
}

/** A link must stay inside as text and, where it leads somewhere, in truth: links on its way may lead out together. */
async function refuseEscape(base: string, path: string, target: string): Promise<void> {
  const asText = resolve(base, dirname(path), target)
  const inTruth = await realpath(join(base, path)).catch(() => asText)
  for (const place of [asText, inTruth]) {
    const step = relative(base, place)
    if (target.startsWith('/') || step === '..' || step.startsWith(`..${sep}`))
      throw new WorkspaceError(
        `the link ${path} leads out of the workspace, to ${target}: add it to 'ignore', or make it relative and inside`,
      )
  }
}
