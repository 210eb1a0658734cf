/** Small durable steps on files. */
import { randomBytes } from 'node:crypto'
import { access, chmod, constants, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join, parse } from 'node:path'

/** Makes what happened to a folder's names survive a power cut. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

export interface WriteOptions {
  mode: number
  /** On disk before the promise resolves. */
  sync?: boolean
}

/** Writes a file that is not there yet. */
export async function writeNew(path: string, text: string | Uint8Array, { mode, sync = false }: WriteOptions): Promise<void> {
  const handle = await open(path, 'wx', mode)
  try {
    await handle.writeFile(text)
    // The process's umask took part in the mode above.
    await handle.chmod(mode)
    if (sync) await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Makes a folder and what is missing above it, all of one mode. What is there already keeps its mode: it may be somebody's own. */
export async function makeFolder(path: string, mode: number): Promise<void> {
  const first = await mkdir(path, { recursive: true })
  if (first === undefined) return
  // Its umask took part in the modes.
  for (let at = path; ; at = dirname(at)) {
    await chmod(at, mode)
    if (at === first) return
  }
}

/** Puts a file in its place whole, unless it is there with this text already. */
export async function install(path: string, text: string, mode: number): Promise<void> {
  if ((await readFile(path, 'utf8').catch(() => undefined)) === text) return
  const draft = `${path}.${randomBytes(6).toString('hex')}`
  try {
    await writeNew(draft, text, { mode })
    await rename(draft, path)
  } catch (error) {
    await rm(draft, { force: true })
    // By the name that its reader knows, and that is the same each time: a host tells each reason once.
    if (error instanceof Error) error.message = error.message.replaceAll(draft, path)
    throw error
  }
}

/** The first folder on the way to `path`, `path` included, that users other than its owner and group cannot pass. */
export async function closedTo(path: string): Promise<string | undefined> {
  const steps: string[] = []
  for (let at = path; ; at = dirname(at)) {
    steps.unshift(at)
    if (at === parse(at).root) break
  }
  for (const step of steps) {
    if (((await stat(step)).mode & 0o001) === 0) return step
  }
  return undefined
}

/** The file that a command of this name is, looked for as a shell does. */
export async function findCommand(name: string, path: string): Promise<string | undefined> {
  for (const folder of path.split(':')) {
    if (folder === '') continue
    const file = join(folder, name)
    const found = await access(file, constants.X_OK)
      .then(async () => (await stat(file)).isFile())
      .catch(() => false)
    if (found) return file
  }
  return undefined
}
