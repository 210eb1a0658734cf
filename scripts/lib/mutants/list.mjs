// The list of mutants: read strictly, all problems together.
import { readdirSync, readFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { join } from 'node:path'

/**
 * One wrong change of a source file, as data.
 * @typedef {object} Mutant
 * @property {string} file from the top of the repository
 * @property {string} text what stands there, exactly once
 * @property {string} instead
 * @property {string[]} tests the test files that must fail with it
 * @property {string} why what breaks for a user
 */

/** A mutant and where it stands. @typedef {Mutant & { line: number, source: string }} Ready */

/** Every file of a folder holds a list. @param {string} folder @returns {{ from: string, mutant: Mutant }[]} */
export function readLists(folder) {
  const names = readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort()
  return names.flatMap((name) => {
    const from = join(folder, name)
    const list = JSON.parse(readFileSync(from, 'utf8'))
    if (!Array.isArray(list)) throw new Error(`${from}: not a list of mutants`)
    return list.map((mutant) => ({ from, mutant }))
  })
}

/**
 * Finds the place of each mutant.
 * @param {{ from: string, mutant: Mutant }[]} listed
 * @param {(path: string) => string | undefined} read
 * @returns {{ ready: Ready[], problems: string[] }}
 */
export function findPlaces(listed, read) {
  /** @type {Ready[]} */
  const ready = []
  const problems = []
  const seen = new Set()
  for (const { from, mutant } of listed) {
    const key = JSON.stringify([mutant.file, mutant.text, mutant.instead])
    const found = seen.has(key) ? 'is listed twice: take one away' : placeOf(mutant, read)
    seen.add(key)
    if (typeof found === 'string') problems.push(`${from}: the mutant '${mutant.text ?? ''}' of ${mutant.file}: ${found}`)
    else ready.push({ ...mutant, ...found })
  }
  return { ready, problems }
}

/** @param {Mutant} mutant @param {(path: string) => string | undefined} read @returns {string | { line: number, source: string }} */
function placeOf(mutant, read) {
  const fault = formFault(mutant)
  if (fault !== undefined) return fault
  const { file, text, instead, tests } = mutant
  const source = read(file)
  if (source === undefined) return 'there is no such file: name the one that holds the text now, or take the mutant away'
  const absent = tests.find((path) => read(path) === undefined)
  if (absent !== undefined) return `there is no test ${absent}: name the one that must fail now`
  const parts = source.split(text)
  if (parts.length === 1) return 'its text is not in the file: write what stands there now, or take the mutant away'
  if (parts.length > 2) return `its text stands ${parts.length - 1} times in the file: take more of the line`
  const changed = parts.join(instead)
  try {
    stripTypeScriptTypes(changed)
  } catch (error) {
    return `it does not parse: ${/** @type {Error} */ (error).message}`
  }
  return { line: (parts[0] ?? '').split('\n').length, source: changed }
}

/** @param {Mutant} mutant */
function formFault(mutant) {
  const { file, text, instead, tests, why, ...rest } = mutant
  const [unknown] = Object.keys(rest)
  if (unknown !== undefined) return `it has the unknown key ${unknown}: file, text, instead, tests and why are all`
  if ([file, text, instead, why].some((one) => typeof one !== 'string') || !text || !why)
    return 'it needs file, text, instead and why, as texts'
  if (!Array.isArray(tests) || tests.length === 0) return 'it names no test that must fail'
  if (!tests.every((path) => /(?<!\.contract|\.integration)\.test\.ts$/.test(path)))
    return 'it names a test that is no unit test: only those are quick enough'
  return text === instead ? 'it changes nothing' : undefined
}
