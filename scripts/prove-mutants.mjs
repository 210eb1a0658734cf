// A part of `pnpm prove`: the mutation score of packages/core, its wire, the engine and the plugins room, by mutants that are made from the
// syntax of the sources, against the tests of their room that reach them. Resumable, a mutant for each core at a time; what is known is in .muster, the page is
// docs/mutants.md.
//
// All of them take hours: MUSTER_PROVE_SHARE=0.1 takes one of ten, chosen by MUSTER_PROVE_SEED. Each room says what its score must be.
import { execFileSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { fateOf } from './lib/mutants/fate.mjs'
import { editsOf } from './lib/mutants/generate.mjs'
import { mutantsPage } from './lib/mutants/page.mjs'
import { reachOf, visitsOf } from './lib/mutants/reach.mjs'
import { provedRooms, testsThatSee } from './lib/mutants/rooms.mjs'
import { digest, generated, sampleOf, scoreOf, stillKnown, triedOf } from './lib/mutants/sample.mjs'
import { switchedSource } from './lib/mutants/switched.mjs'
import { warmTests } from './lib/mutants/warm.mjs'
import { root } from './lib/paths.mjs'

/** @typedef {import('./lib/mutants/sample.mjs').Generated} Generated */
/** @typedef {import('./lib/mutants/sample.mjs').Fate} Fate */
/** @typedef {import('./lib/mutants/rooms.mjs').Room} Room */
/** @typedef {import('./lib/mutants/warm.mjs').Warm} Warm */
/** @typedef {{ commit: string, seed: number, fates: Record<string, Fate> }} State */

/** @param {string} room */
const stateFile = (room) => join(root, `.muster/prove-mutants-${room}.json`)
const share = Number(process.env['MUSTER_PROVE_SHARE'] ?? 1)
const only = process.argv.slice(2)
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim()
/** @type {Set<Warm>} */
const open = new Set()
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
  const leastOf = new Map(rooms.map(({ name, least }) => [name, least]))
  for (const { name, tried, score } of results)
    console.log(`${name}: ${tried.length} tried, ${score} %; to hold: ${leastOf.get(name)} %`)
  process.exitCode = results.every(({ name, score }) => score >= (leastOf.get(name) ?? 100)) ? 0 : 1
} finally {
  closeAll()
}

/** @param {Room} room */
async function prove(room) {
  const all = mutantsIn(room)
  const state = stateOf(room)
  if (state.commit !== commit) Object.assign(state, { commit, fates: stillKnown(state.fates) })
  const sample = sampleOf(all, state.seed, share)
  const left = sample.filter(({ key }) => state.fates[key] === undefined)
  console.log(`${room.name}: ${left.length} to try, of ${all.length}; seed ${state.seed}`)
  if (left.length > 0) await tryAll(room, state, { all, left })
  const tried = triedOf(sample, state.fates)
  const { seed } = state
  return { name: room.name, commit, seed, all: all.length, tried, score: scoreOf(tried.map(({ fate }) => fate)) }
}

/** @param {Room} room @param {State} state @param {{ all: Generated[], left: Generated[] }} mutants */
async function tryAll(room, state, { all, left }) {
  const ids = new Map(all.map(({ key }, at) => [key, at + 1]))
  const given = { first: room.tests[0] ?? '', count: all.length, sources: switchedSources(room, all, ids) }
  const [first = opened(given), ...others] = Array.from({ length: availableParallelism() }, () => opened(given))
  const visits = visitsOf(await knownReach(room, first))
  const queue = [...left]
  let saved = performance.now()
  /** @param {Warm} warm */
  const work = async (warm) => {
    for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
      const id = ids.get(mutant.key) ?? 0
      const began = performance.now()
      const fate = await fateOf(id, visits.get(id) ?? [], { warm, near: testsThatSee(room, mutant.file).near })
      state.fates[mutant.key] = fate
      const now = performance.now()
      tell(mutant, `${room.name}, ${queue.length} left, ${((now - began) / 1000).toFixed(2)} s ${fate}`)
      // A stop takes away what was tried since: seconds of it.
      if (now - saved < 5000) continue
      save(room, state)
      saved = now
    }
  }
  await Promise.all([first, ...others].map(work))
  save(room, state)
  closeAll()
}

/** @param {Parameters<typeof warmTests>[0]} room */
function opened(room) {
  const one = warmTests(room)
  open.add(one)
  return one
}

function closeAll() {
  for (const one of open) one.close()
  open.clear()
}

/** @param {Generated} mutant @param {string} head */
function tell({ file, line, operator, from, instead }, head) {
  console.log(`${head}: ${file}:${line} ${operator}: ${oneLine(from)} → ${oneLine(instead)}`)
}

/** By file. @param {Room} room @param {Generated[]} all @param {Map<string, number>} ids @returns {Record<string, string>} */
function switchedSources(room, all, ids) {
  return Object.fromEntries(
    room.sources.map((file) => {
      const own = all.filter((one) => one.file === file).map(({ edit, key }) => ({ edit, id: ids.get(key) ?? 0 }))
      return [file, switchedSource(readFileSync(join(root, file), 'utf8'), own)]
    }),
  )
}

/** Of the sources and tests as they are now. @param {Room} room @param {Warm} process */
async function knownReach({ name, tests }, process) {
  const file = join(root, `.muster/prove-reach-${name}.json`)
  const texts = globSync('{packages/core,apps/host,test}/**/*.ts', { cwd: root, exclude: (path) => path === 'node_modules' })
  const of = digest(
    texts
      .sort()
      .map((path) => readFileSync(join(root, path), 'utf8'))
      .join('\0'),
  )
  const known = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined
  if (known?.of === of) return known.reach
  console.log(`${name}: what each of ${tests.length} test files reaches`)
  const reach = await reachOf(tests, process)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, JSON.stringify({ of, reach }))
  return reach
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
  closeAll()
  process.exit(code)
}
