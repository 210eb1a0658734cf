/** What a host, a registry or an operator would find wrong with a plugin, before anybody runs it. */
import { contractVersion } from '@muster/core'
import { packAuthor } from './artifact.ts'
import { type AuthorFolder, openAuthor } from './author.ts'
import { foreignImports } from './bundle.ts'
import { type Finding, PluginFault } from './finding.ts'
import { authorTool } from '@muster/packed/refusals'

/** All that is wrong, not the first. */
export async function lintPlugin(folder: string): Promise<Finding[]> {
  let author: AuthorFolder
  try {
    author = await openAuthor(folder)
  } catch (error) {
    return findingsOf(error)
  }
  return [...packageFindings(author), ...manifestFindings(author), ...(await packedFindings(author))]
}

function findingsOf(error: unknown): Finding[] {
  if (!(error instanceof PluginFault)) throw error
  return [...error.findings]
}

/** npm runs them on whoever installs the package; a host runs none, and the plugin would lack what they do. */
const lifecycle = ['preinstall', 'install', 'postinstall', 'prepare'] as const

function packageFindings({ pack, packAt, manifest }: AuthorFolder): Finding[] {
  const found: Finding[] = []
  for (const key of ['dependencies', 'optionalDependencies'] as const)
    if (Object.keys(pack[key] ?? {}).length > 0)
      found.push({
        code: 'dependencies',
        place: packAt([key]),
        reason: `a plugin has no ${key}: a host installs none`,
        fix: `run: npm install --save-dev ${Object.keys(pack[key] ?? {}).join(' ')}; the bundle has what it uses`,
      })
  for (const name of lifecycle)
    if (pack.scripts?.[name] !== undefined)
      found.push({
        code: 'lifecycle-script',
        place: packAt(['scripts', name]),
        reason: `no host runs the script '${name}'`,
        fix: `run: npm pkg delete scripts.${name}; do what it does in the build`,
      })
  if (pack.gypfile === true)
    found.push({
      code: 'native',
      place: packAt(['gypfile']),
      reason: 'a plugin has no native addons',
      fix: 'run: npm pkg delete gypfile, with a library without native code',
    })
  if (pack.license === undefined)
    found.push({
      code: 'no-license',
      place: packAt([]),
      reason: 'it names no license: nobody may use it',
      fix: 'run: npm pkg set license=Apache-2.0; or another one',
    })
  if (manifest.interpreter === undefined && pack.type !== 'module')
    found.push({
      code: 'no-module',
      place: packAt(['type']),
      reason: 'its files are not taken for ES modules',
      fix: 'run: npm pkg set type=module',
    })
  return found
}

function manifestFindings({ pack, manifest, manifestAt }: AuthorFolder): Finding[] {
  const found: Finding[] = []
  for (const key of ['name', 'version'] as const)
    if (manifest[key] !== pack[key])
      found.push({
        code: 'other-manifest',
        place: manifestAt([key]),
        reason: `the manifest says ${key} ${manifest[key]}, package.json says ${pack[key]}`,
        fix: `run: ${authorTool} build; or write ${pack[key]}`,
      })
  const [major] = contractVersion.split('.')
  if (!manifest.contract.some((one) => one.split('.')[0] === major))
    found.push({
      code: 'other-contract',
      place: manifestAt(['contract']),
      reason: `it speaks contract ${manifest.contract.join(', ')}, this kit ${contractVersion}`,
      fix: `run: ${authorTool} test, with "${contractVersion}" written here`,
    })
  return found
}

async function packedFindings(author: AuthorFolder): Promise<Finding[]> {
  try {
    const { files } = await packAuthor(author)
    const native = [...files.keys()].filter((name) => name.endsWith('.node') || name.endsWith('binding.gyp'))
    const found = native.map((name): Finding => ({
      code: 'native',
      place: name,
      reason: 'a plugin has no native addons',
      fix: `run: rm ${name}, with a library without native code`,
    }))
    return author.manifest.interpreter === undefined ? [...found, ...(await foreignImports(author))] : found
  } catch (error) {
    return findingsOf(error)
  }
}
