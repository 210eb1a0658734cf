// Packs every package as it would be published and lets publint and attw look at the tarballs. Plugins must need nothing at run time.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { cache, pnpm, root } from './lib/paths.mjs'
import { manifestOf, workspaces } from './lib/workspaces.mjs'

const folder = join(cache, 'packed')
rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })

const problems = workspaces()
  .filter((path) => !manifestOf(path).private)
  .flatMap(check)
for (const problem of problems) console.log(problem)
process.exitCode = problems.length === 0 ? 0 : 1

/**
 * @param {string} path
 * @returns {string[]}
 */
function check(path) {
  const { name, version, muster, dependencies = {}, exports: entries = {} } = manifestOf(path)
  execFileSync(pnpm, ['pack', '--pack-destination', folder], { cwd: join(root, path), stdio: 'pipe' })
  const tarball = join(folder, `${name.replace('@', '').replace('/', '-')}-${version}.tgz`)
  const found = [...tool('publint', ['run', tarball, '--strict']), ...declaredFiles(tarball, muster)]
  if (muster && Object.keys(/** @type {object} */ (dependencies)).length > 0)
    found.push('a plugin has no runtime dependencies: they belong to devDependencies, tsup bundles them')
  // Only a package that others import has types to be wrong about.
  if (JSON.stringify(entries).includes('"types"')) found.push(...tool('attw', [tarball, '--profile', 'esm-only']))
  return found.map((text) => `${name}: ${text}`)
}

/** @param {string} name @param {string[]} args */
function tool(name, args) {
  const result = spawnSync(join(root, 'node_modules/.bin', name), args, { encoding: 'utf8' })
  return result.status === 0 ? [] : [`${name}:\n${result.stdout}${result.stderr}`]
}

/**
 * What package.json names must be in the tarball; publint does not know our own field.
 * @param {string} tarball @param {string | undefined} manifest
 */
function declaredFiles(tarball, manifest) {
  const files = execFileSync('tar', ['-tzf', tarball], { encoding: 'utf8' }).split('\n')
  const missing = manifest && !files.includes(join('package', manifest)) ? [`${manifest} is not in the tarball`] : []
  const stray = files
    .filter((file) => /\.test\.|tsbuildinfo|node_modules/.test(file))
    .map((file) => `${file} does not belong into the tarball`)
  return [...missing, ...stray]
}
