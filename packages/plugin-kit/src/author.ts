/** The folder of a plugin as its author has it: package.json, the manifest it names, and where everything stands in them. */
import { readFile } from 'node:fs/promises'
import { join, relative, resolve, sep } from 'node:path'
import { type PluginManifest, pluginManifestSchema } from '@muster/core'
import * as z from 'zod'
import { type Finding, type Path, PluginFault, readJson } from './finding.ts'

export interface PackageFile {
  name: string
  version: string
  muster: string
  private?: boolean
  type?: string
  license?: string
  files?: string[]
  scripts?: Record<string, string>
  dependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
  gypfile?: boolean
}

const texts = z.record(z.string(), z.string()).exactOptional()
const packageSchema: z.ZodType<PackageFile> = z.object({
  name: z.string(),
  version: z.string(),
  muster: z.string('it names the manifest, as "muster": "./muster-plugin.json"'),
  private: z.boolean().exactOptional(),
  type: z.string().exactOptional(),
  license: z.string().exactOptional(),
  files: z.array(z.string()).exactOptional(),
  scripts: texts,
  dependencies: texts,
  optionalDependencies: texts,
  gypfile: z.boolean().exactOptional(),
})

export interface AuthorFolder {
  /** Absolute. */
  folder: string
  pack: PackageFile
  packAt(path: Path): string
  manifest: PluginManifest
  manifestAt(path: Path): string
  /** Relative to the folder, without `./`. */
  manifestFile: string
  /** So too. */
  entry: string
}

/** Error: PluginFault with all that is wrong. */
export async function openAuthor(folder: string): Promise<AuthorFolder> {
  const root = resolve(folder)
  const pack = await readChecked(root, 'package.json', packageSchema)
  const manifestFile = insideOf(root, pack.value.muster)
  if (manifestFile === undefined) throw new PluginFault(outside(pack.at(['muster']), pack.value.muster))
  const manifest = await readChecked(root, manifestFile, pluginManifestSchema)
  const entry = insideOf(root, manifest.value.entry)
  if (entry === undefined) throw new PluginFault(outside(manifest.at(['entry']), manifest.value.entry))
  return {
    folder: root,
    pack: pack.value,
    packAt: pack.at,
    manifest: manifest.value,
    manifestAt: manifest.at,
    manifestFile,
    entry,
  }
}

interface Checked<T> {
  value: T
  at(path: Path): string
}

async function readChecked<T>(root: string, name: string, schema: z.ZodType<T>): Promise<Checked<T>> {
  const text = await readFile(join(root, name), 'utf8').catch(() => undefined)
  if (text === undefined)
    throw new PluginFault({
      code: name === 'package.json' ? 'bad-package' : 'no-manifest',
      place: name,
      reason: 'the file is missing or cannot be read',
      fix: `run: npm create @muster/plugin, which writes one; it belongs into ${root}`,
    })
  const { value, at } = readJson(name, text)
  const parsed = schema.safeParse(value)
  if (parsed.success) return { value: parsed.data, at }
  throw new PluginFault(
    ...parsed.error.issues.map(({ path, message }): Finding => {
      const way = path.filter((key) => typeof key !== 'symbol')
      const code = name !== 'package.json' ? 'bad-manifest' : way[0] === 'muster' ? 'no-manifest' : 'bad-package'
      return {
        code,
        place: at(way),
        reason: `${way.join('.') || 'the file'}: ${message}`,
        fix:
          code === 'no-manifest'
            ? 'run: npm pkg set muster=./muster-plugin.json'
            : `run: \${EDITOR:-vi} ${name}, and correct it; the schema says what may stand here`,
      }
    }),
  )
}

/** A path inside a folder, relative to it; undefined when it leads out. */
export function insideOf(root: string, name: string): string | undefined {
  const way = relative(root, resolve(root, name))
  return way === '' || way === '..' || way.startsWith(`..${sep}`) ? undefined : way
}

function outside(place: string, name: string): Finding {
  return {
    code: 'outside',
    place,
    reason: `'${name}' is outside the package`,
    fix: `run: \${EDITOR:-vi} ${place.split(':')[0]}, and name a file of the package`,
  }
}
