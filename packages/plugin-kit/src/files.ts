/** What a package consists of: what npm would pack, of plain names. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { reportFile } from '@muster/packed/conformance'
import { filesBelow } from '@muster/packed/named'
import { type AuthorFolder, insideOf } from './author.ts'
import { type Finding, PluginFault } from './finding.ts'
import { authorTool } from '@muster/packed/refusals'

/** npm takes them along whatever `files` says. */
const always = /^(?:package\.json|readme(?:\..*)?|licen[cs]e(?:\..*)?)$/i

/** By path inside the package; the report of the suite is none of them: it is of these. Error: PluginFault. */
export async function filesToPack({ folder, pack, packAt }: AuthorFolder): Promise<Map<string, Buffer>> {
  if (pack.files === undefined)
    throw new PluginFault({
      code: 'bad-files',
      place: packAt([]),
      reason: "it has no 'files': everything that lies here would be published",
      fix: `run: npm pkg set 'files[]=dist/plugin.js' 'files[]=muster-plugin.json'; or what else is to be packed`,
    })
  const names = new Set((await readdir(folder)).filter((name) => always.test(name)))
  const findings: Finding[] = []
  for (const [index, name] of pack.files.entries()) {
    const place = packAt(['files', index])
    const way = /[*?[\]{}!]/.test(name) ? undefined : insideOf(folder, name)
    const found = way === undefined ? undefined : await filesBelow(folder, way)
    if (way === undefined)
      findings.push({
        code: 'bad-files',
        place,
        reason: `'${name}' is no plain path inside the package`,
        fix: 'run: ${EDITOR:-vi} package.json, and name files and folders, without patterns',
      })
    else if (found === undefined)
      findings.push({
        code: 'bad-files',
        place,
        reason: `'${name}' is not there`,
        fix: `run: ${authorTool} build; or take it out`,
      })
    for (const path of found ?? []) names.add(path)
  }
  if (findings.length > 0) throw new PluginFault(...findings)
  names.delete(reportFile)
  const entries = await Promise.all(
    [...names].sort().map(async (path): Promise<[string, Buffer]> => [path, await readFile(join(folder, path))]),
  )
  return new Map(entries)
}
