// Which tests reach which mutants: all tests of a room once, each file with all that it imports read anew.
/** @typedef {import('./warm-runner.mjs').Answer} Answer */
/** @typedef {NonNullable<Answer['reach']>} FileReach */
/** A test file for a mutant: what of it reaches the mutant, how long that takes, and the slowest test. @typedef {{ file: string, fresh: boolean, only?: number[], ms: number, most: number }} Visit */

/** @param {string[]} files @param {import('./warm.mjs').Warm} warm @returns {Promise<Record<string, FileReach>>} */
export async function reachOf(files, warm) {
  /** @type {Record<string, FileReach>} */
  const all = {}
  for (const file of files) {
    const ran = await warm.run({ file, active: 0, fresh: true, reach: true }, 600_000)
    if (ran.outcome !== 'passed' || !ran.reach)
      throw new Error(`${file}: must be green first: ${JSON.stringify(ran).slice(0, 500)}`)
    all[file] = ran.reach
  }
  return all
}

/** @param {Record<string, FileReach>} reach @returns {Map<number, Visit[]>} of each mutant that is reached at all, the quickest first */
export function visitsOf(reach) {
  /** @type {Map<number, Visit[]>} */
  const visits = new Map()
  for (const [file, { early, loose, tests }] of Object.entries(reach)) {
    const whole = tests.reduce((sum, { ms }) => sum + ms, 0)
    const most = Math.max(0, ...tests.map(({ ms }) => ms))
    /** @type {Map<number, Visit>} */
    const own = new Map()
    for (const [at, test] of tests.entries())
      for (const id of test.ms > slowMs ? [] : test.ids) {
        const visit = own.get(id) ?? { file, fresh: false, only: [], ms: 0, most: 0 }
        own.set(id, { ...visit, only: [...(visit.only ?? []), at], ms: visit.ms + test.ms, most: Math.max(visit.most, test.ms) })
      }
    // Beside the tests, nobody knows which of them would tell.
    for (const id of loose) own.set(id, { file, fresh: false, ms: whole, most })
    for (const id of early) own.set(id, { file, fresh: true, ms: whole + freshMs, most })
    for (const [id, visit] of own) visits.set(id, [...(visits.get(id) ?? []), visit])
  }
  for (const some of visits.values()) some.sort((a, b) => a.ms - b.ms)
  return visits
}

/** A test that takes longer is not asked: what lives would cost a minute each. It would only have killed some more. */
const slowMs = 1500
/** About what it takes to read everything anew. */
const freshMs = 400
