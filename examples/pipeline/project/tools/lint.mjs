// Checks every source file: it parses, its lines are short, it has no tabs, no trailing space and no forgotten debugging.
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const rules = [
  [/\t/, 'tab'],
  [/[ \t]+$/, 'trailing space'],
  [/\bdebugger\b/, 'forgotten debugger'],
  [/\bconsole\.log\(/, 'console.log in the library', /^src\//],
  [/.{141,}/, 'line over 140 characters'],
]
const files = ['src', 'test', 'tools'].flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
let faults = 0
for (const file of files) {
  const syntax = spawnSync(process.execPath, ['--check', file], { encoding: 'utf8' })
  if (syntax.status !== 0) report(file, 1, syntax.stderr.trim())
  for (const [index, line] of readFileSync(file, 'utf8').split('\n').entries())
    for (const [pattern, text, where = /./] of rules)
      if (where.test(file) && pattern.test(line) && !file.startsWith('tools/lint')) report(file, index + 1, text)
}
console.log(`${files.length} files, ${faults} faults`)
process.exit(faults === 0 ? 0 : 1)

function report(file, line, text) {
  faults++
  console.error(`${file}:${line}: ${text}`)
}
