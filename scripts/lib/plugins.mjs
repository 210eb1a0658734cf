// The first-party plugins, packed and put into plugins.json as anyone's would be.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { cache, pnpm, root } from './paths.mjs'
import { hashOf, quietly, step } from './step.mjs'
import { manifestOf } from './workspaces.mjs'

const firstParty = ['baremetal', 'docker']

/**
 * Packs the built plugins into `folder` and names them in `registry` with the hash of their bytes. What else is in that file stays.
 * @param {{ folder: string, registry: string }} places absolute paths
 * @returns {Promise<string[]>} `name@version` of each
 */
export async function installFirstParty({ folder, registry }) {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  mkdirSync(join(cache, 'plugins'), { recursive: true })
  /** @type {Record<string, { package: string, version: string, source: object }>} */
  const entries = {}
  for (const alias of firstParty) entries[alias] = await packed(alias, { folder, registry })
  const before = existsSync(registry) ? JSON.parse(readFileSync(registry, 'utf8')) : {}
  const after = { ...before, plugins: { ...before.plugins, ...entries } }
  const text = `${JSON.stringify(after, null, 2)}\n`
  if (!existsSync(registry) || readFileSync(registry, 'utf8') !== text) {
    // By rename: a daemon that reads it at this moment sees the old file or the new one.
    writeFileSync(`${registry}.new`, text)
    renameSync(`${registry}.new`, registry)
  }
  return Object.values(entries).map((plugin) => `${plugin.package}@${plugin.version}`)
}

/** @param {string} alias @param {{ folder: string, registry: string }} places */
async function packed(alias, { folder, registry }) {
  const path = `packages/plugin-${alias}`
  const { name, version } = manifestOf(path)
  const file = `${name.replace('@', '').replace('/', '-')}-${version}.tgz`
  const made = join(cache, 'plugins')
  await step(`packing ${name}`, {
    stamp: `pack-${alias}`,
    key: hashOf([`${path}/dist/plugin.js`, `${path}/muster-plugin.json`, `${path}/package.json`]),
    done: () => existsSync(join(made, file)),
    run: () => quietly(pnpm, ['pack', '--pack-destination', made], { cwd: join(root, path) }),
  })
  const bytes = readFileSync(join(made, file))
  const tarball = join(folder, file)
  if (!existsSync(tarball) || !readFileSync(tarball).equals(bytes)) writeFileSync(tarball, bytes)
  const sha512 = `sha512-${createHash('sha512').update(bytes).digest('base64')}`
  return { package: name, version, source: { tarball: relative(join(registry, '..'), tarball), sha512 } }
}
