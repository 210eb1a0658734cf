/** The folder in a worker where its runner keeps runs: which it is, and how it is made beforehand. */
import { type Place, putEntries, type SmallEntry, statPath } from './archive.ts'
import type { ContainerInspect } from '../client.ts'
import { label } from '../labels.ts'
import { marks, runFolderIn, stateRoot } from '../translate.ts'

/** Where the runner of a worker keeps its runs. */
export function runFolderOf(container: ContainerInspect): string {
  return runFolderIn({ readOnlyRoot: container.HostConfig.ReadonlyRootfs === true })
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

/** Is it one that was suspended to disk, and goes on? As it goes on the one mark becomes the other: asked in this order, one is seen. */
export async function wasResumed(container: ContainerInspect, place: Place): Promise<boolean> {
  if (container.Config.Labels[label.holds] === undefined) return false
  const folder = runFolderOf(container)
  if ((await statPath(place, `${folder}/${marks.suspended}`)) !== undefined) return true
  return (await statPath(place, `${folder}/${marks.resumed}`)) !== undefined
}
