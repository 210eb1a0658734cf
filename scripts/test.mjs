// `npm test [-- --no-check] [--coverage] [--on-muster] [vitest's arguments]`: the checks, then every test that can run on this machine. Prints
// one total. With MUSTER_TEST_TOTALS it is appended to that file too, and what failed to the one beside it. With --on-muster lint, types
// and the unit tests run on Muster, and only there; the floor of coverage is then held over all parts together.
import { spawnSync } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { floor, heldAgainstFloor, mergeCoverage } from './lib/coverage.mjs'
import { root } from './lib/paths.mjs'
import { failuresOf, sumTotals, totalsLine } from './lib/totals.mjs'
import { workspaces } from './lib/workspaces.mjs'

const own = ['--no-check', '--coverage', '--on-muster']
const args = process.argv.slice(2)
const [checking, covering, onMuster] = [!args.includes('--no-check'), args.includes('--coverage'), args.includes('--on-muster')]
const vitestArgs = args.filter((arg) => !own.includes(arg))

const folder = mkdtempSync(join(tmpdir(), 'muster-test-'))
const file = join(folder, 'totals')
const results = onMuster ? testOnMuster() : testHere()
const total = sumTotals(readOr(file))
const failures = readOr(failuresOf(file))
rmSync(folder, { recursive: true, force: true })

const line = totalsLine(total)
const outer = process.env['MUSTER_TEST_TOTALS']
if (outer) {
  appendFileSync(outer, `${line}\n`)
  appendFileSync(failuresOf(outer), failures)
}
// In a larger run its sum is the last line, and this is one of several.
console.log(outer ? `(npm test: ${line})` : line)
process.exitCode = results.every((code) => code === 0) && total.failed === 0 && total.passed > 0 ? 0 : 1

function testHere() {
  return [
    ...(checking ? [run([join(root, 'scripts/check.mjs')])] : []),
    vitest([...vitestArgs, ...(covering ? ['--coverage'] : [])]),
  ]
}

function testOnMuster() {
  const artifacts = join(folder, 'artifacts')
  const only = checking ? [] : ['--only', 'unit']
  const onWorkers = run([join(root, 'scripts/check-muster.mjs'), '--artifacts', artifacts, ...only])
  const shards = ['unit-1', 'unit-2'].map((name) => unpack(artifacts, name, folder))
  for (const shard of shards) {
    appendFileSync(file, readOr(join(shard, 'totals')))
    appendFileSync(failuresOf(file), readOr(failuresOf(join(shard, 'totals'))))
  }
  // Declarations of the packages: what the checks of packages and API read.
  const types = join(unpack(artifacts, 'types', folder), 'types.tar')
  if (existsSync(types)) spawnSync('tar', ['-xf', types, '-C', root], { stdio: 'inherit' })
  const checks = ['format', 'dead-code', 'house', 'build', 'packages', 'api']
  const part = join(folder, 'coverage')
  const cover = ['--coverage', '--coverage.reporter', 'json', '--coverage.reportsDirectory', part]
  return [
    onWorkers,
    ...(checking ? [run([join(root, 'scripts/check.mjs'), ...checks])] : []),
    vitest(['--project', 'contract', '--project', 'integration', ...vitestArgs, ...(covering ? cover : [])], {
      MUSTER_COVERAGE_PART: '1',
      // Of a bundle no line is counted.
      ...(covering ? { MUSTER_TEST_SOURCE: '1' } : {}),
    }),
    ...(covering ? [holdFloor([...shards.map(partOf), { file: join(part, 'coverage-final.json'), root }])] : []),
  ]
}

/** The folder that the job left. @param {string} artifacts @param {string} name @param {string} into */
function unpack(artifacts, name, into) {
  const place = join(into, name)
  mkdirSync(place)
  const tar = join(artifacts, `${name}.tar`)
  if (existsSync(tar)) spawnSync('tar', ['-xf', tar, '--strip-components=1', '-C', place], { stdio: 'inherit' })
  return place
}

/** @param {string} shard */
function partOf(shard) {
  return { file: join(shard, 'coverage/coverage-final.json'), root: readOr(join(shard, 'root')).trim() }
}

/** @param {{ file: string, root: string }[]} parts */
function holdFloor(parts) {
  const absent = parts.filter((part) => !existsSync(part.file))
  if (absent.length > 0) {
    console.log(`coverage: not held against the floor, since ${absent.length} of ${parts.length} parts failed`)
    return 1
  }
  const packages = heldAgainstFloor(
    mergeCoverage(parts, root),
    workspaces().map((path) => join(root, path)),
  )
  for (const one of packages) console.log(toldOf(one))
  const low = packages.filter((one) => one.low)
  appendFileSync(failuresOf(file), low.map((one) => `${toldOf(one)}\n`).join(''))
  appendFileSync(file, `${totalsLine({ passed: packages.length - low.length, failed: low.length, skipped: 0 })}\n`)
  return low.length === 0 ? 0 : 1
}

/** @param {{ folder: string, lines: number, branches: number, low: boolean }} covered */
function toldOf({ folder: path, lines, branches, low }) {
  const figures = `coverage: ${relative(root, path).padEnd(24)} lines ${lines} %, branches ${branches} %`
  return low ? `FAILED: ${figures}, below ${floor.lines} and ${floor.branches}` : figures
}

/** @param {string[]} given @param {Record<string, string>} [env] */
function vitest(given, env) {
  return run([join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--configLoader', 'native', ...given], env)
}

/** @param {string[]} command @param {Record<string, string>} [env] */
function run(command, env = {}) {
  return (
    spawnSync(process.execPath, command, {
      cwd: root,
      stdio: 'inherit',
      env: { ...process.env, ...env, MUSTER_TEST_TOTALS: file },
    }).status ?? 1
  )
}

/** @param {string} path */
function readOr(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
