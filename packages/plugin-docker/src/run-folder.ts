/** The folder in a worker where its runner keeps runs: who can make it, and when it is made beforehand. */
import { holderOf, type Place, putEntries, type SmallEntry } from './archive.ts'
import type { ContainerInspect } from './client.ts'
import { stateRoot } from './translate.ts'
import type { Ids } from './users.ts'

/** Where the runner of a worker keeps its runs. */
export function runFolderOf(container: ContainerInspect): string {
  return container.HostConfig.ReadonlyRootfs === true ? `${stateRoot}/run` : stateRoot
}

const folder = { mode: 0o1777, owner: { uid: 0, gid: 0 } }

/** The runner's folder for all users of the worker, as an entry of its root; each run in it is open to its own user only. */
export const runFolder: SmallEntry = { ...folder, path: stateRoot }

/** Makes the runner's folder. */
export async function prepareRunFolder(place: Place, container: ContainerInspect): Promise<void> {
  // Under a read-only root only the volume can be written, and an engine leaves a volume's own top folder as it is.
  if (container.HostConfig.ReadonlyRootfs === true) await putEntries(place, [{ ...folder, path: 'run' }], stateRoot)
  else await putEntries(place, [runFolder])
}

/**
 * Can a worker's root without capabilities make the folder itself? It may write only where the folder's own mode lets it, and an
 * image's `/` can be somebody else's or read-only. Asked once an image: it spares each worker a tar, which is slow.
 */
export function createRoots(): (place: Place, container: ContainerInspect, owner: Ids) => Promise<boolean> {
  /** By the image's id, and by who the worker's root is. */
  const known = new Map<string, boolean>()
  return async (place, container, owner) => {
    if (owner.uid !== 0 || container.HostConfig.ReadonlyRootfs === true) return false
    const key = `${container.Image} ${place.root?.uid}`
    const open = known.get(key) ?? (await isOpen(place))
    known.set(key, open)
    return open
  }
}

const WRITE_AND_ENTER = 0o300

async function isOpen(place: Place): Promise<boolean> {
  const top = await holderOf(place, '/')
  return top?.uid === 0 && (top.mode & WRITE_AND_ENTER) === WRITE_AND_ENTER
}
