// A part of `pnpm prove`: the mutation score of packages/core and of the engine, by mutants that are made from the syntax of the sources,
// against all unit tests of their room. Resumable, one mutant at a time; what is known is in .muster, the page is docs/mutants.md.
//
// All of them take a day: MUSTER_PROVE_SHARE=0.01 takes one of a hundred, chosen by MUSTER_PROVE_SEED. The score of a room must be 80 %.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { dirname, join } from 'node:path'
import { editsOf } from './lib/mutants/generate.mjs'
import { mutantsPage } from './lib/mutants/page.mjs'
import { provedRooms, testsThatSee } from './lib/mutants/rooms.mjs'
import { generated, sampleOf, scoreOf, stillKnown, triedOf } from './lib/mutants/sample.mjs'
import { testRunner } from './lib/mutants/vitest.mjs'
import { root } from './lib/paths.mjs'

/** @typedef {import('./lib/mutants/sample.mjs').Generated} Generated */
/** @typedef {import('./lib/mutants/sample.mjs').Fate} Fate */
/** @typedef {import('./lib/mutants/rooms.mjs').Room} Room */
/** @typedef {{ commit: string, seed: number, fates: Record<string, Fate> }} State */

const leastScore = 80
/** Tests have time-outs of their own; this ends a loop that never turns. */
const leastMs = 60_000
/** All tests of a room, on a machine that does much else. */
const roomMs = 1_200_000

/** @param {string} room */
const stateFile = (room) => join(root, `.muster/prove-mutants-${room}.json`)
const share = Number(process.env['MUSTER_PROVE_SHARE'] ?? 1)
const only = process.argv.slice(2)
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim()
const tests = testRunner()
process.once('SIGINT', () => stop(130)).once('SIGTERM', () => stop(143))
try {
  const rooms = provedRooms()
  const names = rooms.map(({ name }) => name)
  const unknown = only.filter((name) => !names.includes(name))
  if (unknown.length > 0) throw new Error(`no room ${unknown.join(', ')}; there are: ${names.join(', ')}`)
  /** @type {import('./lib/mutants/page.mjs').Result[]} */
  const results = []
  for (const room of rooms.filter(({ name }) => only.length === 0 || only.includes(name))) results.push(await prove(room))
  const page = join(root, 'docs/mutants.md')
  const before = existsSync(page) ? readFileSync(page, 'utf8') : ''
  writeFileSync(page, mutantsPage({ rooms: names, results, reasons: readReasons(), before }))
  for (const { name, tried, score } of results) console.log(`${name}: ${tried.length} tried, ${score} %`)
  process.exitCode = results.every(({ score }) => score >= leastScore) ? 0 : 1
} finally {
  tests.close()
}

/** @param {Room} room */
async function prove(room) {
  const all = mutantsIn(room)
  const state = stateOf(room)
  if (state.commit !== commit) Object.assign(state, { commit, fates: stillKnown(state.fates) })
  const sample = sampleOf(all, state.seed, share)
  const left = sample.filter(({ key }) => state.fates[key] === undefined)
  console.log(`${room.name}: ${left.length} to try, of ${all.length}; seed ${state.seed}`)
  if (left.length > 0) await tryAll(room, state, left)
  const tried = triedOf(sample, state.fates)
  const { seed } = state
  return { name: room.name, commit, seed, all: all.length, tried, score: scoreOf(tried.map(({ fate }) => fate)) }
}

/** @param {Room} room @param {State} state @param {Generated[]} left */
async function tryAll(room, state, left) {
  const before = await tests.run(room.tests, { timeoutMs: roomMs })
  if (before.outcome !== 'passed') throw new Error(`${room.name}: its tests must be green first\n${before.failed}`)
  for (const [at, mutant] of left.entries()) {
    // As long as all of them took, on the same machine.
    const fate = await fateOf(room, mutant, Math.max(leastMs, before.seconds * 1000))
    state.fates[mutant.key] = fate
    save(room, state)
    const what = `${mutant.file}:${mutant.line} ${mutant.operator}`
    console.log(`${room.name} ${at + 1}/${left.length} ${fate}: ${what}: ${oneLine(mutant.from)} → ${oneLine(mutant.instead)}`)
  }
}

/** @param {Room} room @param {Generated} mutant @param {number} timeoutMs @returns {Promise<Fate>} */
async function fateOf(room, { file, source }, timeoutMs) {
  const { near, far } = testsThatSee(room, file)
  // Most fall to the tests that are about them; only what is left needs them all.
  for (const some of [near, far]) {
    if (some.length === 0) continue
    const { outcome, loaded } = await tests.run(some, { change: { file, source }, timeoutMs })
    if (outcome === 'hung') return 'timed out'
    if (outcome === 'failed' && loaded) return 'killed'
  }
  return 'survived'
}

/** Those that are TypeScript at all. @param {Room} room @returns {Generated[]} */
function mutantsIn(room) {
  return room.sources.flatMap((file) => {
    const source = readFileSync(join(root, file), 'utf8')
    return generated(file, source, editsOf(source)).filter(parses)
  })
}

/** @param {Generated} mutant */
function parses({ source }) {
  try {
    stripTypeScriptTypes(source)
    return true
  } catch {
    return false
  }
}

/** @returns {import('./lib/mutants/page.mjs').Reason[]} */
function readReasons() {
  return JSON.parse(readFileSync(join(root, 'test/mutants/survivors/reasons.json'), 'utf8'))
}

/** @param {Room} room @returns {State} */
function stateOf({ name }) {
  const given = process.env['MUSTER_PROVE_SEED']
  try {
    const old = /** @type {State} */ (JSON.parse(readFileSync(stateFile(name), 'utf8')))
    return given === undefined ? old : { ...old, seed: Number(given) }
  } catch {
    return { commit, seed: Number(given ?? Date.now() % 1e6), fates: {} }
  }
}

/** @param {Room} room @param {State} state */
function save({ name }, state) {
  mkdirSync(dirname(stateFile(name)), { recursive: true })
  writeFileSync(stateFile(name), JSON.stringify(state, null, 1))
}

/** @param {string} text */
function oneLine(text) {
  const flat = text.replaceAll(/\s+/g, ' ')
  return flat.length > 60 ? `${flat.slice(0, 59)}…` : flat
}

/** @param {number} code */
function stop(code) {
  tests.close()
  process.exit(code)
}
