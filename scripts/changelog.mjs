// `node scripts/changelog.mjs VERSION`: puts the files of `changes` into CHANGELOG.md as a release, and removes them.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { intentProblem, withRelease } from './lib/changelog.mjs'
import { root } from './lib/paths.mjs'

const [version] = process.argv.slice(2)
if (version === undefined || !/^\d+\.\d+\.\d+$/.test(version)) {
  console.error('usage: node scripts/changelog.mjs VERSION, as 0.2.0')
  process.exit(2)
}
const folder = join(root, 'changes')
const intents = readdirSync(folder)
  .filter((name) => name !== 'README.md')
  .map((name) => ({ name, text: readFileSync(join(folder, name), 'utf8') }))
const problems = intents.flatMap((intent) => intentProblem(intent) ?? [])
if (problems.length > 0 || intents.length === 0) {
  console.error(problems.length > 0 ? problems.join('\n') : 'nothing has changed for users')
  process.exit(1)
}
const file = join(root, 'CHANGELOG.md')
const date = new Date().toISOString().slice(0, 10)
writeFileSync(file, withRelease(readFileSync(file, 'utf8'), { version, date, intents }))
for (const { name } of intents) rmSync(join(folder, name))
console.log(`${intents.length} changes are in CHANGELOG.md as ${version}`)
