// The first-party plugins, packed, put into plugins.json and locked as anyone's would be.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { cache, musterBin, pnpm, root } from './paths.mjs'
import { hashOf, quietly, step } from './step.mjs'
import { manifestOf } from './workspaces.mjs'

const firstParty = ['baremetal', 'docker', 'kubernetes']

/** @typedef {{ package: string, version: string, source: { tarball: string } }} Entry */

/**
 * Packs the built plugins into `folder`, names them in `registry` and locks their bytes. What else is in these files stays.
 * @param {{ folder: string, registry: string }} places absolute paths
 * @returns {Promise<string[]>} `name@version` of each
 */
export async function installFirstParty({ folder, registry }) {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  mkdirSync(join(cache, 'plugins'), { recursive: true })
  /** @type {Record<string, Entry>} */
  const entries = {}
  for (const alias of firstParty) entries[alias] = await packed(alias, { folder, registry })
  const before = readJson(registry)
  const after = { ...before, plugins: { ...before.plugins, ...entries } }
  const text = `${JSON.stringify(after, null, 2)}\n`
  if (!existsSync(registry) || readFileSync(registry, 'utf8') !== text) {
    // By rename: a daemon that reads it at this moment sees the old file or the new one.
    writeFileSync(`${registry}.new`, text)
    renameSync(`${registry}.new`, registry)
  }
  if (!isLocked(entries, registry)) {
    const waive = ['--waive', 'packed from the sources of this checkout']
    await quietly(process.execPath, [musterBin, 'plugins', 'lock', '--yes', ...waive, '--manifest', registry], { cwd: folder })
  }
  return Object.values(entries).map((plugin) => `${plugin.package}@${plugin.version}`)
}

/** Does the lock have these bytes already? @param {Record<string, Entry>} entries @param {string} registry */
function isLocked(entries, registry) {
  const { plugins = {} } = readJson(registry.replace(/\.json$/, '.lock.json'))
  return Object.entries(entries).every(([alias, { package: name, version, source }]) => {
    const locked = plugins[alias]
    const sha512 = `sha512-${createHash('sha512')
      .update(readFileSync(join(registry, '..', source.tarball)))
      .digest('base64')}`
    return (
      locked?.package === name &&
      locked.version === version &&
      locked.sha512 === sha512 &&
      locked.source.tarball === source.tarball
    )
  })
}

/** @param {string} file @returns {any} */
function readJson(file) {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {}
}

/** @param {string} alias @param {{ folder: string, registry: string }} places @returns {Promise<Entry>} */
async function packed(alias, { folder, registry }) {
  const path = `packages/plugin-${alias}`
  const { name, version } = manifestOf(path)
  const file = `${name.replace('@', '').replace('/', '-')}-${version}.tgz`
  const made = join(cache, 'plugins')
  await step(`packing ${name}`, {
    stamp: `pack-${alias}`,
    key: hashOf([`${path}/dist/plugin.js`, `${path}/muster-plugin.json`, `${path}/package.json`]),
    done: () => existsSync(join(made, file)),
    async run() {
      // Into its place by rename: another start that packs the same at this moment reads a whole file, whichever it is.
      const own = mkdtempSync(join(made, 'packing-'))
      await quietly(pnpm, ['pack', '--pack-destination', own], { cwd: join(root, path) })
      renameSync(join(own, file), join(made, file))
      rmSync(own, { recursive: true })
    },
  })
  const bytes = readFileSync(join(made, file))
  const tarball = join(folder, file)
  if (!existsSync(tarball) || !readFileSync(tarball).equals(bytes)) writeFileSync(tarball, bytes)
  return { package: name, version, source: { tarball: relative(join(registry, '..'), tarball) } }
}
