import { readdir } from 'node:fs/promises'

/** The names in a folder; none where it is not there. Rejects with any other error of the file system. */
export async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return []
  }
}
