/** Where packages come from: their versions, and the bytes of one. */
import { readFile, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { z } from 'zod'
import { maxTarballBytes } from '@muster/packed/archive'
import { filesOf } from './archive.ts'
import { PluginRefusal } from './refusal.ts'
import { byHand } from './way-out.ts'
import { word } from './word.ts'
import { authorTool } from '@muster/packed/refusals'

/** One version that a source has. */
export interface Published {
  version: string
  /** ISO 8601; absent: the source does not say. */
  published?: string
  /** Why nobody should use it any more. */
  deprecated?: string
}

export interface Origin {
  /** Does it know when a version was published? */
  aged: boolean
  /** Errors: PluginRefusal `no-package`, `unreachable`, `unauthorized`, `no-source`. */
  versions(name: string): Promise<Published[]>
  /** The tarball, as it is: nothing about it is checked but its size. */
  tarball(name: string, version: string): Promise<Buffer>
  /** What it attests of a version, as a registry answers; undefined: nothing. Believed by nobody before it is verified. */
  attestations(name: string, version: string): Promise<unknown>
}

/** None where it is no instant, or none that a lock could have: then nobody knows. */
export function instantOf(text: string | undefined): { published?: string } {
  const at = Date.parse(text ?? '')
  const written = Number.isNaN(at) ? '' : new Date(at).toISOString()
  return /^\d{4}-/.test(written) ? { published: written } : {}
}

const packSchema = z.object({ name: z.string(), version: z.string() })

/** One file is one version of one package. */
export function tarballOrigin(path: string): Origin {
  return {
    aged: false,
    async versions(name) {
      const pack = (await filesOf(await readTarball(path))).get('package.json')
      const found = namedIn(pack?.toString() ?? '')
      if (found === undefined)
        throw new PluginRefusal('bad-archive', `the tarball '${path}' has no package.json with name and version`, packAgain(path))
      if (found.name !== name)
        throw new PluginRefusal(
          'no-package',
          `the tarball '${path}' holds ${found.name}, not ${name}`,
          byHand(`write ${found.name}`),
        )
      return [{ version: found.version }]
    },
    tarball: () => readTarball(path),
    attestations: () => readAttestations(path),
  }
}

/** Name and version of a package.json. */
export function namedIn(text: string): { name: string; version: string } | undefined {
  return packSchema.safeParse(jsonOf(text)).data
}

/** Beside a tarball: FILE.attestations.json. */
export async function readAttestations(tarball: string): Promise<unknown> {
  const text = await readFile(attestationsOf(tarball), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new PluginRefusal(
      'no-source',
      `${attestationsOf(tarball)} cannot be read: ${error.code}`,
      `run: chmod +r ${word(attestationsOf(tarball))}, or give this user the right to read it in another way`,
    )
  })
  return text === undefined ? undefined : jsonOf(text)
}

export function attestationsOf(tarball: string): string {
  return `${tarball}.attestations.json`
}

export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function packAgain(path: string): string {
  return `run: ${authorTool} pack --out ${word(dirname(path))}, in the folder of the plugin; or correct the path`
}

/** Error: PluginRefusal `no-source`, `bad-archive`. */
export async function readTarball(path: string): Promise<Buffer> {
  const found = await stat(path).catch(() => undefined)
  if (found?.isFile() !== true) throw new PluginRefusal('no-source', `the tarball '${path}' does not exist`, packAgain(path))
  if (found.size > maxTarballBytes)
    throw new PluginRefusal(
      'bad-archive',
      `the tarball has ${found.size} bytes, more than ${maxTarballBytes}`,
      `run: ${authorTool} build, as its author, which bundles it into one file`,
    )
  return readFile(path)
}
