/** Places of workers whose data folder was moved: found again by whose they are, or refused while what runs in them goes by the old path. */
import { createHash } from 'node:crypto'
import { readdir, readFile, readlink, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { unfit } from './errors.ts'
import { install } from './files.ts'
import { readState } from './folder.ts'
import { isAlive, parseIdentity } from './proc.ts'

export function placeDigest(provider: string, folder: string): string {
  return createHash('sha256').update(`${provider}\0${folder}`).digest('hex').slice(0, 12)
}

export interface MachinePlace {
  /** The folder of all places. */
  machine: string
  provider: string
  owner: string
  /** Of the provider; without links. */
  data: string
}

/**
 * Name of the folder in which the workers of this provider are: that of its data folder, or of where that was before. Where workers of a
 * deployment that was moved from here go on in the folder of this path, it is one of the owner's.
 */
export async function machinePlace({ machine, provider, owner, data }: MachinePlace): Promise<string> {
  const own = `${provider}-${placeDigest(provider, data)}`
  const beside = `${provider}-${placeDigest(provider, `${data}\0${owner}`)}`
  const isOurs = (name: string): Promise<boolean> => isOf(join(machine, name), owner)
  for (const name of [own, beside]) if (await isOurs(name)) return name
  const hasWorkers = async (name: string): Promise<boolean> => (await namesIn(join(machine, name, 'workers'))).length > 0
  /** A deployment that began there since. */
  const isAnothers = async (home: string): Promise<boolean> => {
    for (const name of await namesIn(machine)) {
      const [lives, whose] = await Promise.all(['home', 'owner'].map((note) => noteOf(join(machine, name, note))))
      if (lives === home && whose !== undefined && whose !== owner) return true
    }
    return false
  }
  const pattern = new RegExp(`^${provider}-[0-9a-f]{12}$`)
  for (const name of await namesIn(machine)) {
    if (!pattern.test(name)) continue
    const root = join(machine, name)
    const home = await noteOf(join(root, 'home'))
    if (home === undefined || !(await hasWorkers(name)) || !(await isOurs(name))) continue
    const now = await realpath(home).catch(() => undefined)
    if (now === undefined || now === data || (await isAnothers(home))) return name
    throw unfit(
      `${data} has the owner of ${home}, whose workers are in ${root}`,
      `Where it is a copy: start the daemon with --new-owner. Where it was moved: take ${home} out of the way.`,
    )
  }
  return (await hasWorkers(own)) ? beside : own
}

/** By its own note; one of before it had any is that of its workers. */
async function isOf(root: string, owner: string): Promise<boolean> {
  const noted = await noteOf(join(root, 'owner'))
  if (noted !== undefined) return noted === owner
  for (const id of await namesIn(join(root, 'workers')))
    if ((await readState(join(root, 'workers', id)))?.tags['muster-owner'] === owner) return true
  return false
}

interface Living {
  owner: string
  /** Boot id of the machine. */
  boot: string
}

/** Of a place inside the data folder. What runs there has opened its files by the path of before, and goes on with them by that alone. */
export async function keepHome(root: string, by: Living): Promise<void> {
  const note = join(root, 'home')
  const home = await noteOf(note)
  if (home === root) return
  // A link from there leads here: both are one.
  const isLinked = home !== undefined && (await realpath(home).catch(() => undefined)) === root
  if (isLinked) return
  if (home !== undefined && (await hasLiving(root, by)))
    throw unfit(
      `the data folder was moved: its workers run in ${home}, and it is ${root} now`,
      `Move it back, or put a link there until they have ended: ln -s ${root} ${home}`,
    )
  await install(note, root, 0o600)
}

async function hasLiving(root: string, { owner, boot }: Living): Promise<boolean> {
  for (const id of await namesIn(join(root, 'workers'))) {
    const folder = join(root, 'workers', id)
    const supervisor = parseIdentity(await readlink(join(folder, 'supervisor')).catch(() => ''))
    if (supervisor === undefined || !(await isAlive(supervisor, boot))) continue
    if ((await readState(folder))?.tags['muster-owner'] === owner) return true
  }
  return false
}

function noteOf(file: string): Promise<string | undefined> {
  return readFile(file, 'utf8').catch(() => undefined)
}

function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => [])
}
