// `pnpm check [stage …]`: everything that can be said about the code without running it. All stages run, then all failures are shown.
import { spawnSync } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { cache, root, toolsBin } from './lib/paths.mjs'
import { hashOf } from './lib/step.mjs'
import { totalsLine } from './lib/totals.mjs'
import { workspaces } from './lib/workspaces.mjs'

/** @type {Record<string, string[][]>} in order: `packages` and `api` read what `types` and `build` made */
const stages = {
  types: [['tsc', '-b']],
  lint: [['oxlint']],
  format: [['oxfmt', '--check', '.']],
  'dead-code': [['knip']],
  house: [['node', 'scripts/check-house.mjs']],
  build: [['pnpm', 'run', 'build']],
  packages: [['node', 'scripts/check-packages.mjs']],
  api: [['node', 'scripts/api.mjs', '--check']],
}

const wanted = process.argv.slice(2)
const unknown = wanted.filter((name) => !(name in stages))
if (unknown.length > 0) {
  console.error(`check: no stage ${unknown.join(', ')}; there are: ${Object.keys(stages).join(', ')}`)
  process.exit(2)
}

forgetStaleTypes()
const env = { ...process.env, PATH: [join(root, 'node_modules/.bin'), toolsBin, process.env.PATH].join(delimiter) }
const failed = []
let passed = 0
for (const [name, commands] of Object.entries(stages)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  const started = performance.now()
  const outputs = commands.map(run).filter((output) => output !== undefined)
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(`check: ${name.padEnd(10)} ${outputs.length === 0 ? 'ok    ' : 'FAILED'} ${seconds.padStart(5)} s`)
  if (outputs.length === 0) passed += 1
  else {
    failed.push(name)
    console.log(outputs.join('\n'))
  }
}
if (failed.length > 0) console.log(`check: failed: ${failed.join(', ')}`)
const totals = process.env['MUSTER_TEST_TOTALS']
if (totals) appendFileSync(totals, `${totalsLine({ passed, failed: failed.length, skipped: 0 })}\n`)
process.exitCode = failed.length === 0 ? 0 : 1

/**
 * The output of a command that failed.
 * @param {string[]} command
 */
function run([name = '', ...args]) {
  const result = spawnSync(name, args, { cwd: root, env, encoding: 'utf8', maxBuffer: 64 * 2 ** 20 })
  if (result.status === 0) return undefined
  return `${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}`.trim()
}

/** tsc keeps the errors of its last run and shows them again even when the options have changed since. */
function forgetStaleTypes() {
  const stamp = join(cache, 'stamps/tsconfig')
  const projects = [...workspaces(), 'test'].map((path) => `${path}/tsconfig.json`)
  const key = hashOf(['tsconfig.base.json', 'tsconfig.json', 'tsconfig.house.json', 'pnpm-lock.yaml', ...projects])
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === key) return
  for (const path of [...workspaces(), 'test']) rmSync(join(root, path, 'dist/.tsbuildinfo'), { force: true })
  rmSync(join(cache, 'house'), { recursive: true, force: true })
  mkdirSync(join(cache, 'stamps'), { recursive: true })
  writeFileSync(stamp, key)
}
