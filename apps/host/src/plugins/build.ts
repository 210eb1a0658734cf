/** What makes one build of a plugin in a folder another: nothing but its files can tell two of one version apart. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { treeOf } from '@muster/packed/digest'
import { filesBelow, isDerived } from '@muster/packed/named'

export interface Build {
  /** Folder of the package. */
  root: string
  /** Absolute path of the one file that runs. */
  main: string
  /** Paths of the package that are packed: files, and folders with all below. */
  files: readonly string[]
}

/** Of the one file that a bundle is. */
export async function bundleDigest({ main }: Build): Promise<string> {
  return createHash('sha256')
    .update(await readFile(main))
    .digest('hex')
}

/** Of all that is packed, where an interpreter runs it: the entry loads the others. What was renamed at that moment is as if it were not there. */
export async function filesDigest({ root, main, files }: Build): Promise<string> {
  const found = await Promise.all(files.map((way) => filesBelow(root, way).catch(() => undefined)))
  const names = new Set([relative(root, main), ...found.flatMap((one) => one ?? [])])
  const entries = await Promise.all(
    [...names]
      .filter((name) => !isDerived(name))
      .map(async (name): Promise<[string, Buffer]> => [name, await readFile(join(root, name)).catch(() => Buffer.alloc(0))]),
  )
  return treeOf(new Map(entries))
}
