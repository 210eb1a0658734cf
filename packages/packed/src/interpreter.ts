/** Where the program is that runs a plugin of another language than JavaScript. */
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'

/** Of the machine's own software: nothing that a variable of somebody's session could change. */
const folders = ['/usr/local/bin', '/usr/bin', '/bin'] as const

/** Its absolute path. Error: it is in none of the folders. */
export function interpreterPath(name: string): string {
  for (const folder of folders) {
    const path = join(folder, name)
    if (isProgram(path)) return path
  }
  throw new Error(`the program ${name}, which runs it, is in none of ${folders.join(', ')}`)
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
