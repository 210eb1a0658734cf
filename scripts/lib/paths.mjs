// Where things are, relative to the repository, and nothing else.
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')
export const tools = join(root, '.tools')
export const toolsBin = join(tools, 'node_modules/.bin')
export const cache = join(root, '.cache')
/** The pinned Node and pnpm. */
export const node = join(toolsBin, 'node')
export const pnpm = join(toolsBin, 'pnpm')
export const musterBin = join(root, 'apps/host/bin/muster.mjs')
