/** The packed plugin: its bytes, what a lock would say of them, and the folder that a host would make of it. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ArchiveFault, filesOf } from '@muster/packed/archive'
import { type Conformance, conformanceOf, reportFile } from '@muster/packed/conformance'
import { sha512Of, treeOf } from '@muster/packed/digest'
import { pack } from '@muster/packed/pack'
import { type AuthorFolder, openAuthor } from './author.ts'
import { filesToPack } from './files.ts'
import { PluginFault } from './finding.ts'
import { authorTool } from '@muster/packed/refusals'

export interface Artifact {
  /** As npm names it. */
  file: string
  tarball: Buffer
  /** As a host reads them out of it. */
  files: ReadonlyMap<string, Buffer>
  size: number
  sha512: string
  tree: string
}

/** Packs what lies in the folder. Error: PluginFault. */
export async function packAuthor(author: AuthorFolder): Promise<Artifact> {
  const files = await filesToPack(author)
  for (const [name, place] of [
    [author.manifestFile, author.packAt(['muster'])],
    [author.entry, author.manifestAt(['entry'])],
  ] as const)
    if (!files.has(name))
      throw new PluginFault({
        code: name === author.entry ? 'no-entry' : 'no-manifest',
        place,
        reason: `'${name}' is not packed`,
        fix: `run: npm pkg set 'files[]=${name}', and build it`,
      })
  return await artifactOf(`${author.pack.name.replace('@', '').replace('/', '-')}-${author.pack.version}.tgz`, await pack(files))
}

export interface Reported {
  artifact: Artifact
  /** Undefined: there is no report. */
  conformance?: Conformance
}

/** The same with the report of the suite in it, where that is of these files. Error: PluginFault. */
export async function withReport(artifact: Artifact, report: string, { pack: named }: AuthorFolder): Promise<Reported> {
  const text = await readFile(report).catch(() => undefined)
  if (text === undefined) return { artifact }
  const files = new Map([...artifact.files, [reportFile, text] as const])
  const conformance = conformanceOf(files, named)
  if (conformance === undefined || conformance.result === 'unfit') return { artifact, ...(conformance && { conformance }) }
  return { artifact: await artifactOf(artifact.file, await pack(files)), conformance }
}

/** Error: PluginFault, when a host would refuse it. */
export async function readArtifact(file: string): Promise<Artifact> {
  const tarball = await readFile(file).catch((error: Error) => {
    throw new PluginFault({ place: file, reason: `it cannot be read: ${error.message}`, fix: 'name a packed plugin' })
  })
  return await artifactOf(file, tarball)
}

async function artifactOf(file: string, tarball: Buffer): Promise<Artifact> {
  try {
    const files = await filesOf(tarball)
    return { file, tarball, files, size: tarball.length, sha512: sha512Of(tarball), tree: treeOf(files) }
  } catch (error) {
    if (!(error instanceof ArchiveFault)) throw error
    throw new PluginFault({
      code: 'bad-archive',
      place: file,
      reason: `a host refuses it: ${error.message}`,
      fix: `run: ${authorTool} pack`,
    })
  }
}

/** Unpacks it as a host does, read-only, and opens what is in it. */
export async function unpackTo(folder: string, { files }: Artifact): Promise<AuthorFolder> {
  for (const [path, body] of files) {
    await mkdir(dirname(join(folder, path)), { recursive: true })
    await writeFile(join(folder, path), body, { flag: 'wx', mode: 0o444 })
  }
  return await openAuthor(folder)
}
