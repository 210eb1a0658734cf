import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Artifact, packAuthor } from '../artifact.ts'
import { openAuthor } from '../author.ts'
import { buildPlugin } from '../build.ts'
import { PluginFault } from '../finding.ts'
import { print } from '../io.ts'

export interface PackCommand {
  folder: string
  out?: string
  verify?: true
  json?: true
}

export async function pack({ folder, out = folder, verify, json }: PackCommand): Promise<boolean> {
  const artifact = verify === true ? await packTwice(folder) : await packAuthor(await openAuthor(folder))
  const file = join(out, artifact.file)
  await writeFile(file, artifact.tarball)
  const { size, sha512, tree, files } = artifact
  const verified = verify === true
  if (json === true) print(JSON.stringify({ file, size, sha512, tree, files: [...files.keys()], verified }, null, 2))
  else
    print(
      `${file}: ${files.size} files, ${size} bytes${verified ? ', the same bytes twice' : ''}\nsha512 ${sha512}\ntree   ${tree}`,
    )
  return true
}

/** What cannot be made again cannot be compared with its sources by anybody. */
async function packTwice(folder: string): Promise<Artifact> {
  const once = await built(folder)
  const again = await built(folder)
  if (once.sha512 === again.sha512) return once
  const differ = [...again.files].flatMap(([path, body]) => (once.files.get(path)?.equals(body) === true ? [] : [path]))
  throw new PluginFault({
    place: differ.join(', '),
    reason: 'built and packed twice, it is not the same',
    fix: 'take out what differs from one build to the next, as a time or a random number',
  })
}

async function built(folder: string): Promise<Artifact> {
  const { manifest } = await openAuthor(folder)
  if (manifest.interpreter === undefined) await buildPlugin(folder)
  return await packAuthor(await openAuthor(folder))
}
