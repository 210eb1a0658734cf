// The rooms whose mutation score is held, and which unit tests of a room see a file.
import { globSync, readFileSync } from 'node:fs'
import { basename, dirname, join, normalize } from 'node:path'
import { root } from '../paths.mjs'

/** least: the score to hold, in percent. @typedef {{ name: string, sources: string[], tests: string[], least: number }} Room */

/** @returns {Room[]} */
export function provedRooms() {
  return [
    // The wire and the plugins room, which keep other people's code in, are held to more than the rest. The conformance suite is a test
    // itself: each of its tests is held by a seeded defect.
    roomOf('core', 'packages/core/src', { sources: /^packages\/core\/src\/(?!wire\/)/ }),
    roomOf('wire', 'packages/core/src', { sources: /^packages\/core\/src\/wire\//, least: 85 }),
    roomOf('engine', 'apps/host/src/engine'),
    // What starts and holds processes has its tests against processes. The trusted root is data: keys by which no test signs.
    roomOf('plugins', 'apps/host/src/plugins', {
      sources: /(?<!\/trusted-root\.ts)$/,
      tests: /(?<!\.integration)\.test\.ts$/,
      least: 85,
    }),
  ]
}

const unit = /(?<!\.contract|\.integration)\.test\.ts$/

/** @param {string} name @param {string} folder @param {{ sources?: RegExp, tests?: RegExp, least?: number }} [of] absent: all, and its unit tests @returns {Room} */
function roomOf(name, folder, { sources = /^/, tests = unit, least = 80 } = {}) {
  const all = globSync(`${folder}/**/*.ts`, { cwd: root }).sort()
  const helpers = /\/testing\/|\.test\.(?:helper|child)\.ts$/
  return {
    name,
    least,
    sources: all.filter((path) => sources.test(path) && !path.endsWith('.test.ts') && !helpers.test(path)),
    tests: all.filter((path) => tests.test(path)),
  }
}

/**
 * The tests that come to a file by their imports: first those that name it, or have its name, then all others.
 * @param {Room} room @param {string} file @param {(path: string) => string[]} [importsOf]
 */
export function testsThatSee({ tests }, file, importsOf = readImports) {
  const own = file.replace(/\.ts$/, '.test.ts')
  /** @type {string[]} */
  const near = []
  /** @type {string[]} */
  const far = []
  for (const test of tests) {
    if (test === own || importsOf(test).includes(file)) near.push(test)
    else if (reaches(test, file, importsOf)) far.push(test)
  }
  // Of many, those that are about it: the others come after all.
  const about = near.filter((test) => basename(test).split('.')[0] === basename(file, '.ts'))
  return about.length > 0 ? { near: about, far: [...near.filter((test) => !about.includes(test)), ...far] } : { near, far }
}

/** @param {string} from @param {string} to @param {(path: string) => string[]} importsOf */
function reaches(from, to, importsOf) {
  const seen = new Set([from])
  const open = [from]
  for (let path = open.pop(); path !== undefined; path = open.pop())
    for (const next of importsOf(path)) {
      if (next === to) return true
      if (!seen.has(next)) open.push(next)
      seen.add(next)
    }
  return false
}

/** @type {Map<string, string[]>} */
const known = new Map()

/** Values only: a type is gone when the file runs. @param {string} path @returns {string[]} */
function readImports(path) {
  const before = known.get(path)
  if (before !== undefined) return before
  const text = readFileSync(join(root, path), 'utf8')
  const found = [...text.matchAll(/^(?:import|export)(?! type\b)[^'"]*?from '(\.[^']+)'|import\('(\.[^']+)'\)/gm)]
  const paths = found.map(([, one, other]) => normalize(join(dirname(path), one ?? other ?? '')))
  known.set(path, paths)
  return paths
}
