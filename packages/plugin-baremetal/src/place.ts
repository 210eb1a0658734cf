/**
 * The folder in which a provider's workers live.
 *
 * The data folder of the host is 0700, and so may be every folder above it: under root, workers with users of their own could not enter
 * it, and it must not be opened for them. So under root the default is a folder of its own outside,
 * `/var/lib/muster/<provider>-<digest of the data folder>`, which with its parents is 0711: workers pass through, but cannot list it. It stays
 * that of its owner where the data folder is moved. Without root, workers are the same user and live in the data folder, by its path.
 */
import { createHash } from 'node:crypto'
import { readdir, readFile, readlink, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ProviderError } from '@muster/core'
import { unfit } from './errors.ts'
import { closedTo, install, makeFolder } from './files.ts'
import { keepHome } from './moved.ts'
import { isDraftOfLiving } from './proc.ts'
import { script } from './script.ts'

export interface Place {
  root: string
  /** One folder for each worker, under its id. */
  workers: string
  /** Folders of workers before they are whole, and after they are gone. */
  making: string
  trash: string
  /** A file here changes with each worker that does: what `watch` looks at. */
  changes: string
  script: string
}

export interface PlaceOptions {
  root: string
  /** The data folder that this place belongs to, and whose it is. */
  data: string
  owner: string
  /** Boot id of the machine. */
  boot: string
  /** Do workers have users of their own? */
  isolated: boolean
}

/** Under root, the default place of all that must not lie in a data folder. */
export const machineFolder = '/var/lib/muster'

/** Makes the folders and the script, and takes away what killed processes left. Fails with an error that says what to mend. */
export async function preparePlace({ root, data, owner, boot, isolated }: PlaceOptions): Promise<Place> {
  const at = (name: string): string => join(root, name)
  const place: Place = {
    root,
    workers: at('workers'),
    making: at('making'),
    trash: at('trash'),
    changes: at('changes'),
    script: at(`worker-${createHash('sha256').update(script).digest('hex').slice(0, 12)}.sh`),
  }
  // A user that only passes through needs no more than the right to search.
  const passable = isolated ? 0o711 : 0o700
  try {
    if (dirname(root) === machineFolder) {
      await makeFolder(machineFolder, passable)
      await makeFolder(root, passable)
      await install(at('home'), data, 0o600)
      await install(at('owner'), owner, 0o600)
      await sweepMachine()
    }
    if (root === data) await keepHome(root, { owner, boot })
    await makeFolder(root, passable)
    await makeFolder(place.workers, passable)
    for (const folder of [place.making, place.trash, place.changes]) await makeFolder(folder, 0o700)
    await install(place.script, script, 0o644)
  } catch (error) {
    if (error instanceof ProviderError) throw error
    throw unfit(
      `cannot prepare ${root}: ${(error as Error).message}`,
      'Let the host write there, or name another folder as `root` in the config.',
      error,
    )
  }
  const closed = isolated ? await closedTo(root) : undefined
  if (closed !== undefined)
    throw unfit(
      `the users of workers cannot pass ${closed} on the way to ${root}`,
      `Name a folder outside ${closed} as \`root\` in the provider’s config.`,
    )
  await sweep(place, boot)
  return place
}

/** Removes what killed processes left half made or half removed. */
async function sweep(place: Place, boot: string): Promise<void> {
  await sweepMaking(place.making, boot)
  for (const name of await readdir(place.trash)) {
    const remover = Number(name.split('.').at(-1))
    const busy = await readlink(`/proc/${remover}/cwd`).then(Boolean, () => false)
    if (!busy) await rm(join(place.trash, name), { recursive: true, force: true })
  }
}

/** Removes drafts of workers whose makers were killed. Answers the workers' ids. */
export async function sweepMaking(making: string, boot: string): Promise<string[]> {
  const ids: string[] = []
  for (const name of await readdir(making)) {
    if (await isDraftOfLiving(name, boot)) continue
    await rm(join(making, name), { recursive: true, force: true, maxRetries: 5 })
    ids.push(name.split('.')[0] ?? '')
  }
  return ids
}

/** A place outside the data folder outlives it: one that belongs to a folder that is no more, and has no worker, goes. */
async function sweepMachine(): Promise<void> {
  for (const name of await readdir(machineFolder)) {
    const root = join(machineFolder, name)
    const home = await readFile(join(root, 'home'), 'utf8').catch(() => undefined)
    if (home === undefined || (await stat(home).catch(() => undefined)) !== undefined) continue
    const used = await Promise.all(['workers', 'making'].map((part) => readdir(join(root, part)).catch(() => [])))
    if (used.flat().length === 0) await rm(root, { recursive: true, force: true })
  }
}
