// The packages of the monorepo.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './paths.mjs'

/** Their folders, relative to the repository. */
export function workspaces() {
  return ['packages', 'apps'].flatMap((folder) =>
    readdirSync(join(root, folder))
      .map((name) => `${folder}/${name}`)
      .filter((path) => existsSync(join(root, path, 'package.json')))
      .sort(),
  )
}

/** Those that have a build, and so a `dist` once it is done. */
export function builtWorkspaces() {
  return workspaces().filter((folder) => manifestOf(folder).scripts?.build !== undefined)
}

/**
 * @param {string} folder
 * @returns {{ name: string, version: string, private?: boolean, muster?: string, scripts?: Record<string, string>, exports?: Record<string, unknown> } & Record<string, unknown>}
 */
export function manifestOf(folder) {
  return JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'))
}
