// The rules of the house that no linter knows, over all tracked files. The rules are in lib/house-rules.mjs.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { checkFile, checkVersions } from './lib/house-rules.mjs'
import { root } from './lib/paths.mjs'

const files = tracked()
const problems = files.flatMap((path) => {
  const text = readFileSync(join(root, path))
  // A picture or another binary: nothing to read in it.
  if (text.subarray(0, 8192).includes(0)) return []
  return checkFile({ path, text: text.toString('utf8'), exists: (other) => existsSync(join(root, other)), read })
})
problems.push(
  ...checkVersions(files.filter((path) => path.endsWith('package.json')).map((path) => ({ path, text: read(path) ?? '' }))),
)
for (const { path, line, reason } of problems) console.log(`${path}:${line}: ${reason}`)
process.exitCode = problems.length === 0 ? 0 : 1

function tracked() {
  let list
  try {
    // -c safe.directory: the files are only read, whoever owns the clone.
    list = execFileSync('git', ['-c', `safe.directory=${root}`, 'ls-files', '-z'], {
      cwd: root,
      encoding: 'utf8',
      maxBuffer: 64 * 2 ** 20,
    })
  } catch (error) {
    console.log(
      `git cannot list the files of this folder: ${/** @type {Error} */ (error).message}. Check a clone, with git installed.`,
    )
    process.exit(1)
  }
  return list.split('\0').filter((path) => path && statSync(join(root, path), { throwIfNoEntry: false })?.isFile())
}

/** @param {string} path */
function read(path) {
  const file = join(root, path)
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined
}
