// One mutant against the tests that reach it: those that are about its file first, then the quickest, until one falls.
/** @typedef {import('./reach.mjs').Visit} Visit */
/** @typedef {import('./sample.mjs').Fate} Fate */
/** @typedef {import('./warm.mjs').Warm} Warm */

/** A test that never ends: this, and many times what the slowest took without the mutant. */
const leastTestMs = 2000
const times = 5
/** A loop that never turns: so much later no test has ended. */
const hungMs = 6000

/** @param {number} id @param {Visit[]} visits @param {{ warm: Pick<Warm, 'run' | 'renew'>, near: string[] }} how @returns {Promise<Fate>} */
export async function fateOf(id, visits, { warm, near }) {
  const first = visits.filter(({ file }) => near.includes(file))
  for (const visit of [...first, ...visits.filter((one) => !first.includes(one))]) {
    const fate = (await fateAt(id, visit, warm)) ?? (await again(id, visit, warm))
    if (fate !== 'survived') return fate
  }
  return 'survived'
}

/** In a new process: the one before was not as it should be. @param {number} id @param {Visit} visit @param {Pick<Warm, 'run' | 'renew'>} warm */
async function again(id, visit, warm) {
  warm.renew()
  const fate = await fateAt(id, visit, warm)
  if (fate !== undefined) return fate
  // A test that fails without it as well says nothing of it.
  warm.renew()
  return 'survived'
}

/** Undefined: the tests fail, but not for the mutant. @param {number} id @param {Visit} visit @param {Pick<Warm, 'run' | 'renew'>} warm @returns {Promise<Fate | undefined>} */
async function fateAt(id, visit, warm) {
  const { file, fresh, only, most } = visit
  const testMs = leastTestMs + times * most
  const some = only === undefined ? {} : { only }
  const ran = await warm.run({ file, active: id, fresh, ...some, testMs }, testMs + hungMs)
  // What is found out once for all was found out before, without it.
  if (ran.outcome === 'passed' && !ran.hit && !fresh) return fateAt(id, { ...visit, fresh: true }, warm)
  if (ran.outcome === 'passed') return 'survived'
  if (!ran.hit) return undefined
  if (ran.outcome === 'hung') return 'timed out'
  const one = ran.failed === undefined ? {} : { only: [ran.failed] }
  const without = await warm.run({ file, active: 0, fresh: false, ...one, testMs }, testMs + hungMs)
  if (without.outcome !== 'passed') return undefined
  return ran.outcome === 'timed out' ? 'timed out' : 'killed'
}
