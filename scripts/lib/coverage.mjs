// Coverage of several test runs as one, and the floor it is held against.
import { readFileSync } from 'node:fs'
import { createCoverageMap, createCoverageSummary } from '@vitest/istanbul-lib-coverage'

/** Lines and branches that tests reach, in percent, child processes counted: the floor for every package. */
export const floor = { lines: 85, branches: 80 }

/**
 * One map of parts that may come from other machines' folders.
 * @param {{ file: string, root: string }[]} parts a `coverage-final.json` each, and the folder in which it was made
 * @param {string} root the folder that takes the place of theirs
 */
export function mergeCoverage(parts, root) {
  const map = createCoverageMap({})
  for (const part of parts) {
    /** @type {Record<string, { path: string }>} */
    const files = JSON.parse(readFileSync(part.file, 'utf8'))
    const moved = Object.entries(files).map(([path, file]) => {
      if (!path.startsWith(`${part.root}/`)) throw new Error(`${part.file} tells of ${path}, which is not below ${part.root}`)
      const here = root + path.slice(part.root.length)
      return [here, { ...file, path: here }]
    })
    map.merge(Object.fromEntries(moved))
  }
  return map
}

/**
 * A line for every package, and those that are below the floor. A package without a line of code is no package.
 * @param {ReturnType<typeof mergeCoverage>} map
 * @param {string[]} packages absolute folders
 */
export function heldAgainstFloor(map, packages) {
  return packages.map((folder) => {
    const summary = createCoverageSummary()
    for (const path of map.files()) if (path.startsWith(`${folder}/`)) summary.merge(map.fileCoverageFor(path).toSummary())
    const { lines, branches } = summary
    // "Unknown" of an empty summary is no number.
    const [line, branch] = [lines, branches].map((part) => (part.total === 0 ? 100 : Number(part.pct)))
    const low = lines.total === 0 || (line ?? 0) < floor.lines || (branch ?? 0) < floor.branches
    return { folder, lines: line ?? 0, branches: branch ?? 0, low }
  })
}
