/** A mirror: packed packages in a folder with an index, for hosts that reach no registry. */
import { mkdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { sha512Of } from '@muster/packed/digest'
import { hexOf } from './hex.ts'
import { attestationsOf, instantOf, jsonOf, type Origin, readAttestations, readTarball } from './origin.ts'
import { PluginRefusal } from './refusal.ts'
import { writeWhole } from './whole.ts'
import { word } from './word.ts'

/** What is known of one version beside its bytes. */
interface Mirrored {
  sha512: string
  size: number
  published?: string
}

interface Index {
  schema: 1
  /** By package and version. */
  packages: Record<string, Record<string, Mirrored>>
}

const indexName = 'muster-mirror.json'
const indexSchema: z.ZodType<Index> = z.strictObject({
  schema: z.literal(1),
  packages: z.record(
    z.string(),
    z.record(z.string(), z.strictObject({ sha512: z.string(), size: z.int(), published: z.string().exactOptional() })),
  ),
})

/** Of a mirror in this folder. */
export function mirrorOrigin(dir: string): Origin {
  return {
    aged: true,
    async versions(name) {
      const { packages } = await readIndex(dir)
      const found = Object.hasOwn(packages, name) ? packages[name] : undefined
      if (found === undefined) throw noPackage(dir, name)
      return Object.entries(found).map(([version, { published }]) => ({ version, ...instantOf(published) }))
    },
    async tarball(name, version) {
      const bytes = await mirrored(dir, { name, version })
      if (bytes === undefined) throw noPackage(dir, `${name}@${version}`)
      const { packages } = await readIndex(dir)
      const said = Object.hasOwn(packages, name) ? packages[name] : undefined
      const wanted = said !== undefined && Object.hasOwn(said, version) ? said[version]?.sha512 : undefined
      if (wanted === undefined || wanted === sha512Of(bytes)) return bytes
      throw new PluginRefusal(
        'other-bytes',
        `the tarball of ${name}@${version} is another one than the mirror '${dir}' says: its hash is ${sha512Of(bytes)}, not ${wanted}`,
        `run: muster plugins mirror --out ${word(dir)}, where its plugins can be had`,
      )
    },
    attestations: (name, version) => readAttestations(tarballOf(dir, { name, version })),
  }
}

interface Named {
  name: string
  version: string
  /** Of several that have one number, those bytes are meant. */
  sha512?: string
}

/** Bytes of a version, where the mirror has them: those that are meant, else those that it has. */
export async function mirrored(dir: string, one: Named): Promise<Buffer | undefined> {
  const { name, version, sha512 } = one
  const found = await tarballIn(tarballOf(dir, { name, version }))
  if (sha512 === undefined || (found !== undefined && sha512Of(found) === sha512)) return found
  return (await tarballIn(tarballOf(dir, one))) ?? found
}

/** What is attested of them, as {@link mirrored} finds them. */
export async function mirroredAttestations(dir: string, one: Named): Promise<unknown> {
  const { name, version } = one
  return (await readAttestations(tarballOf(dir, one))) ?? (await readAttestations(tarballOf(dir, { name, version })))
}

async function tarballIn(file: string): Promise<Buffer | undefined> {
  try {
    return await readTarball(file)
  } catch (error) {
    if (error instanceof PluginRefusal && error.code === 'no-source') return undefined
    throw error
  }
}

export interface ToMirror {
  package: string
  version: string
  published?: string
  tarball: Buffer
  attestations?: unknown
}

/**
 * Puts versions into a mirror beside those that it has; each file by rename, the index last. Of several with one number the first has its
 * name and stands in the index; the others are found by their bytes.
 */
export async function writeMirror(dir: string, all: readonly ToMirror[]): Promise<void> {
  await mkdir(dir, { recursive: true })
  const index = await readIndex(dir).catch((error: unknown): Index => {
    if (error instanceof PluginRefusal && error.code === 'no-source') return { schema: 1, packages: {} }
    throw error
  })
  const packages = new Map(Object.entries(index.packages))
  const first = new Map<string, string>()
  for (const { package: name, version, published, tarball, attestations } of all) {
    const sha512 = sha512Of(tarball)
    const key = `${name}@${version}`
    const isOther = (first.get(key) ?? sha512) !== sha512
    const file = tarballOf(dir, isOther ? { name, version, sha512 } : { name, version })
    await put(file, tarball)
    if (attestations !== undefined) await put(attestationsOf(file), JSON.stringify(attestations))
    if (isOther) continue
    first.set(key, sha512)
    const one = { sha512, size: tarball.length, ...(published === undefined ? {} : { published }) }
    packages.set(name, { ...packages.get(name), [version]: one })
  }
  const sorted = Object.fromEntries([...packages].sort(([a], [b]) => (a < b ? -1 : 1)))
  await put(join(dir, indexName), `${JSON.stringify({ schema: 1, packages: sorted }, null, 2)}\n`)
}

async function put(file: string, content: Buffer | string): Promise<void> {
  await mkdir(dirname(file), { recursive: true })
  await writeWhole(file, content)
}

/** Names and versions of packages have no character that a path could be led astray by: both are checked before. */
function tarballOf(dir: string, { name, version, sha512 }: Named): string {
  // No version ends so: 128 digits of bytes after a dot.
  return join(dir, name, sha512 === undefined ? `${version}.tgz` : `${version}.${hexOf(sha512)}.tgz`)
}

async function readIndex(dir: string): Promise<Index> {
  const path = join(dir, indexName)
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    const again = `run: muster plugins mirror --out ${word(dir)}, where its plugins can be had`
    throw new PluginRefusal('no-source', `the mirror '${dir}' cannot be read: ${path}: ${error.code ?? error.message}`, again)
  })
  const parsed = indexSchema.safeParse(jsonOf(text))
  if (parsed.success) return parsed.data
  const where = parsed.error.issues[0]?.path.join('.') ?? ''
  throw new PluginRefusal(
    'unreachable',
    `${path} is not the index of a mirror (at '${where}')`,
    `run: muster plugins mirror --out ${word(dir)}, where its plugins can be had`,
  )
}

function noPackage(dir: string, name: string): PluginRefusal {
  return new PluginRefusal(
    'no-package',
    `the mirror '${dir}' has no package ${name}`,
    `run: muster plugins mirror --out ${word(dir)}, where it can be had`,
  )
}
