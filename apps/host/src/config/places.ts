/** Files and addresses that a configuration names for the daemon's own use: whether they can be what they are meant for. */
import { mkdirSync, statSync, type Stats } from 'node:fs'
import { dirname } from 'node:path'
import type { LoadedConfig } from './load.ts'
import type { Problem } from './problem.ts'

/** `sun_path` of the BSDs and macOS, less the final NUL; Linux has 107. */
export const SOCKET_PATH_BYTES = 103

export function checkPlaces({ config, problem: at }: LoadedConfig): Problem[] {
  if (config === undefined) return []
  const { data, socket, listen, metrics } = config
  const problems: Problem[] = []
  const blocked = blockedBy(data)
  if (blocked !== undefined)
    problems.push(at(['host', 'data'], { reason: `${blocked} is no folder`, fix: 'name another folder for the data' }))
  const bytes = Buffer.byteLength(socket.path ?? '')
  if (bytes > SOCKET_PATH_BYTES)
    problems.push(
      at(['host', 'socket', 'path'], {
        reason: `a unix socket has a path of ${SOCKET_PATH_BYTES} bytes at the most, and this one has ${bytes}`,
        fix: 'name a shorter one',
      }),
    )
  if (metrics.listen !== undefined && metrics.listen.port !== 0 && sameAddress(metrics.listen, listen))
    problems.push(
      at(['host', 'metrics', 'listen'], {
        reason: 'the API listens there, and has /metrics too',
        fix: 'name another port, or remove it',
      }),
    )
  return problems
}

/** The nearest part of the path that is there, where that is no folder. */
function blockedBy(path: string): string | undefined {
  const found = look(path)
  if (found !== undefined) return found.isDirectory() ? undefined : path
  return dirname(path) === path ? undefined : blockedBy(dirname(path))
}

function look(path: string): Stats | undefined {
  try {
    return statSync(path)
  } catch {
    return undefined
  }
}

function sameAddress(one: { host: string; port: number }, other: { host: string; port: number }): boolean {
  return one.port === other.port && one.host === other.host
}

/**
 * Makes a folder with those above it, each of this mode, one after the other: Node's own way never ends where a folder cannot be made
 * in one that is there, as in /proc. Error: that of the system.
 */
export function makeFolders(path: string, mode: number): void {
  if (look(path)?.isDirectory() === true) return
  const above = dirname(path)
  if (above !== path) makeFolders(above, mode)
  try {
    mkdirSync(path, { mode })
  } catch (error) {
    // Made meanwhile by somebody else.
    if (look(path)?.isDirectory() !== true) throw error
  }
}
