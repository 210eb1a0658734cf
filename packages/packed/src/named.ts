/** The files that `files` of a package.json names, where they lie: what there is to pack, and what makes one build another. */
import { readdir, stat } from 'node:fs/promises'
import { basename, join, relative } from 'node:path'

/** A file itself, or the files of a folder, by their paths in the package; undefined when neither is there. */
export async function filesBelow(folder: string, way: string): Promise<string[] | undefined> {
  const path = join(folder, way)
  const found = await stat(path).catch(() => undefined)
  if (found?.isFile() === true) return [way]
  if (found?.isDirectory() !== true) return undefined
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  return entries.filter((one) => one.isFile()).map((one) => relative(folder, join(one.parentPath, one.name)))
}

/** Written by Python as it runs, and by no author. */
export function isDerived(path: string): boolean {
  return path.split('/').includes('__pycache__') || basename(path).endsWith('.pyc')
}
