/** Files that are there whole, or as they were. */
import { randomBytes } from 'node:crypto'
import { rename, rm, writeFile } from 'node:fs/promises'

export interface WriteWhole {
  /** Before `umask`; default 0o666. */
  mode?: number
  /** The name that it has until then, by which a draft that was left is known; default: beside the file. */
  draft?: string
  /** Asked once it is written, and before it takes the place: its error leaves everything as it was. */
  check?: () => Promise<void>
}

/** By rename. Whoever may write the folder as well leads nobody to a file elsewhere: a draft's name is new, or it is an error. */
export async function writeWhole(file: string, content: Uint8Array | string, how: WriteWhole = {}): Promise<void> {
  const { mode = 0o666, draft = `${file}.new-${draftId()}`, check } = how
  try {
    await writeFile(draft, content, { flag: 'wx', mode, flush: true })
    await check?.()
    await rename(draft, file)
  } finally {
    await rm(draft, { force: true })
  }
}

/** 16 digits that nobody guesses. */
export function draftId(): string {
  return randomBytes(8).toString('hex')
}
