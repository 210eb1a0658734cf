/** Whether a path of the engine's machine is what it seems: asked of the engine itself, wherever it runs. */
import { randomBytes } from 'node:crypto'
import { posix } from 'node:path'
import type { LaunchSpec } from '@muster/core'
import { type Place, statPath } from '../inside/archive.ts'
import { isStatus } from '../errors.ts'
import { containerName, containerPath, partLabel } from '../labels.ts'
import { refuse } from '../settings.ts'
import { bindsOf } from './storage.ts'

/** The folder of each part of a path, and the part: `/srv/a` is `srv` in `/` and `a` in `/srv`. */
export function stepsOf(path: string): { folder: string; name: string }[] {
  const parts = path.split('/').filter(Boolean)
  return parts.map((name, index) => ({ folder: `/${parts.slice(0, index).join('/')}`, name }))
}

/**
 * Refuses a bind whose path is a link or has one in it: an engine would follow it. Looks through a container that is made and never
 * started, whose mounts are the folders on the way, each without what is mounted below. Answers the paths that passed; `known` are not
 * looked at.
 */
export async function checkLinks(spec: LaunchSpec, place: Place, known: ReadonlySet<string>): Promise<string[]> {
  const { engine, signal } = place
  const binds = bindsOf(spec).filter(({ path }) => !known.has(path) && path !== '/')
  if (binds.length === 0) return []
  const steps = binds.flatMap(({ path, at }) => stepsOf(path).map((step) => ({ ...step, at, path })))
  const folders = [...new Set(steps.map(({ folder }) => folder))]
  const target = (folder: string): string => `/muster-look/${folders.indexOf(folder)}`
  const look = { ...place, id: `${spec.id}-look-${randomBytes(4).toString('hex')}` }
  const path = containerPath(look.id)
  const body = {
    Image: spec.image ?? '',
    Entrypoint: ['never-started'],
    Labels: { ...spec.tags, [partLabel.part]: 'look' },
    HostConfig: {
      Mounts: folders.map((folder) => ({
        Type: 'bind',
        Source: folder,
        Target: target(folder),
        ReadOnly: true,
        BindOptions: { NonRecursive: true, Propagation: 'rslave' },
      })),
    },
  }
  const remove = (): Promise<void> =>
    engine.json<void>({ method: 'DELETE', path, query: { force: true, v: true }, signal }).catch((error: unknown) => {
      if (!isStatus(error, 404)) throw error
    })
  await engine.json({ method: 'POST', path: '/containers/create', query: { name: containerName(look.id) }, body, signal })
  try {
    for (const step of steps) {
      const stat = await statPath(look, posix.join(target(step.folder), step.name))
      if (stat === undefined) throw refuse('unsupported', step.at, `${step.path} is not there`)
      if (stat.link) throw refuse('unsupported', step.at, `${step.path} is a link, or has one in it`)
    }
  } finally {
    await remove()
  }
  return binds.map(({ path: checked }) => checked)
}
