// Which mutants of a room are tried, in which order, and what is known of them already.
import { createHash } from 'node:crypto'

/**
 * @typedef {object} Generated
 * @property {string} file
 * @property {number} line
 * @property {string} operator
 * @property {string} from
 * @property {string} instead
 * @property {string} source the whole file with it
 * @property {import('./generate.mjs').Edit} edit
 * @property {string} key the same as long as the file is
 */

/** @typedef {'killed' | 'timed out' | 'survived'} Fate */

/** @param {string} file @param {string} source @param {import('./generate.mjs').Edit[]} edits @returns {Generated[]} */
export function generated(file, source, edits) {
  const version = digest(source)
  return edits.map((edit) => {
    const { operator, start, end, instead } = edit
    return {
      file,
      line: source.slice(0, start).split('\n').length,
      operator,
      from: source.slice(start, end),
      instead,
      source: source.slice(0, start) + instead + source.slice(end),
      edit,
      key: `${file} ${version} ${start}-${end} ${operator} ${digest(instead)}`,
    }
  })
}

/** A share of them, the same for the same seed; a larger share holds the smaller one. @param {Generated[]} all @param {number} seed @param {number} share */
export function sampleOf(all, seed, share) {
  const ordered = all.map((one) => ({ one, at: digest(`${seed} ${one.key}`) })).sort((a, b) => (a.at < b.at ? -1 : 1))
  return ordered.slice(0, Math.ceil(all.length * share)).map(({ one }) => one)
}

/** What was killed stays so while its file is the same: tests only come. What lived is tried again at another commit. @param {Record<string, Fate>} fates */
export function stillKnown(fates) {
  return Object.fromEntries(Object.entries(fates).filter(([, fate]) => fate !== 'survived'))
}

/**
 * A sample with what is known of each. Throws while something is not tried: what is known beside it, of earlier commits and larger shares,
 * is mostly killed, and its score would rise with each of them.
 * @param {Generated[]} sample @param {Record<string, Fate>} fates
 */
export function triedOf(sample, fates) {
  const tried = sample.flatMap((mutant) => {
    const fate = fates[mutant.key]
    return fate === undefined ? [] : [{ ...mutant, fate }]
  })
  const left = sample.length - tried.length
  if (left > 0) throw new Error(`${left} of ${sample.length} are not tried yet: there is no score`)
  return tried
}

/** Stryker's mutation score: of all that were tried, in percent. @param {Fate[]} fates */
export function scoreOf(fates) {
  const killed = fates.filter((fate) => fate !== 'survived').length
  return fates.length === 0 ? 0 : Math.floor((killed * 1000) / fates.length) / 10
}

/** @param {string} text */
export function digest(text) {
  return createHash('sha256').update(text).digest('hex').slice(0, 12)
}
