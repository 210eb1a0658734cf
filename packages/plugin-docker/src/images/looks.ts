/** What launches learn of images: each is looked at once, through a container of it that nobody has started. */
import { posix } from 'node:path'
import type { LaunchSpec } from '@muster/core'
import { ownerOf, type Place, statPath } from '../inside/archive.ts'
import type { ContainerInspect } from '../client.ts'
import type { Ids } from '../engine/users.ts'

export interface ImageLook {
  /** Has it /bin/sh? */
  shell: boolean
  /** May not even its owner write into its `/`? */
  closed: boolean
}

export interface ImageLooks {
  /** `fresh`: it was looked at just now, which took a while. */
  of(place: Place, container: ContainerInspect, spec: Pick<LaunchSpec, 'mounts'>): Promise<ImageLook & { fresh: boolean }>
  /** User and group of the worker's processes. To read an image's accounts takes an engine some 60 ms, once for each user of an image. */
  owner(place: Place, container: ContainerInspect, spec: Pick<LaunchSpec, 'mounts'>): Promise<Ids>
}

/** An engine has some hundred images; what was learnt first goes first. */
const KNOWN = 1000

const accountFiles = ['/etc/passwd', '/etc/group']

export function createImageLooks(): ImageLooks {
  const looks = new Map<string, ImageLook>()
  const owners = new Map<string, Ids>()
  return {
    async of(place, { Image }, { mounts = [] }) {
      const known = looks.get(Image)
      if (known !== undefined) return { ...known, fresh: false }
      const shell = await statPath(place, '/bin/sh')
      const root = await statPath(place, '/')
      const look = { shell: shell !== undefined, closed: root?.ownerWrites !== true }
      // What a mount hides or closes is there for all others of the image.
      if (look.shell || mounts.length === 0) keep(looks, Image, look)
      return { ...look, fresh: true }
    },
    async owner(place, container, { mounts = [] }) {
      // Accounts that a mount puts there are not the image's.
      const own = mounts.every(({ target }) => !accountFiles.some((file) => isAtOrBelow(file, target)))
      const key = `${container.Image} ${container.Config.User}`
      const owner = (own ? owners.get(key) : undefined) ?? (await ownerOf(place, container))
      if (own) keep(owners, key, owner)
      return owner
    },
  }
}

function keep<T>(known: Map<string, T>, key: string, value: T): void {
  known.set(key, value)
  const [oldest] = known.keys()
  if (known.size > KNOWN && oldest !== undefined) known.delete(oldest)
}

function isAtOrBelow(path: string, folder: string): boolean {
  const relative = posix.relative(posix.resolve('/', folder), path)
  return !relative.startsWith('..')
}
