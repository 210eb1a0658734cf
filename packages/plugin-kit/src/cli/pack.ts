import { writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Conformance } from '@muster/packed/conformance'
import { type Artifact, packAuthor, withReport } from '../artifact.ts'
import { openAuthor } from '../author.ts'
import { buildPlugin } from '../build.ts'
import { PluginFault } from '../finding.ts'
import { print, say } from '../io.ts'
import { suite, tested } from '../report.ts'
import { authorTool } from '@muster/packed/refusals'

export interface PackCommand {
  folder: string
  report: string
  out?: string
  verify?: true
  json?: true
}

export async function pack({ folder, report, out = folder, verify, json }: PackCommand): Promise<boolean> {
  const verified = verify === true
  const bare = verified ? await packTwice(folder) : await packAuthor(await openAuthor(folder))
  const author = await openAuthor(folder)
  const { artifact, conformance } = await withReport(bare, resolve(folder, report), author)
  if (verified) demandReport(report, { conformance, kind: author.manifest.kind })
  const file = join(out, artifact.file)
  await writeFile(file, artifact.tarball)
  const { size, sha512, tree, files } = artifact
  const told = { file, size, sha512, tree, tested: bare.tree, files: [...files.keys()], verified }
  if (json === true) print(JSON.stringify({ ...told, ...(conformance && { conformance }) }, null, 2))
  else
    print(
      [
        `${file}: ${files.size} files, ${size} bytes${verified ? ', the same bytes twice' : ''}`,
        `sha512 ${sha512}`,
        `tree   ${tree}`,
        `tested ${bare.tree}`,
        `report ${shown(conformance)}`,
      ].join('\n'),
    )
  return true
}

function shown(conformance: Conformance | undefined): string {
  if (conformance === undefined) return 'none: muster-plugin test writes one'
  if (conformance.result === 'unfit') return `not packed, ${conformance.reason}: muster-plugin test writes another`
  const { result, passed, failed, notDeclared, suite } = conformance
  return `${result}: ${passed} passed, ${failed} failed, ${notDeclared} not declared by ${suite}`
}

/** Error: PluginFault, unless it says of these files that all that they declare holds. */
function demandReport(place: string, { conformance, kind }: { conformance: Conformance | undefined; kind: string }): void {
  if (kind !== tested) return say(`there is no conformance suite for a ${kind} yet: it has no report`)
  const { package: name, version } = suite()
  const mine = `${name}@${version}`
  const refuse = (reason: string, fix = `run: ${authorTool} test`): never => {
    throw new PluginFault({ place, reason, fix })
  }
  if (conformance === undefined) refuse('there is no report of the conformance suite')
  else if (conformance.result === 'unfit') refuse(`${conformance.reason}: the report says nothing of what would be packed`)
  else if (conformance.result === 'fail')
    refuse(`by the report ${conformance.failed} tests failed`, `mend what they say, then run: ${authorTool} test`)
  else if (conformance.result === 'partial') refuse('the report is of some tests only', `run: ${authorTool} test, without --only`)
  else if (conformance.suite !== mine) refuse(`the report is by ${conformance.suite}, and this is ${mine}`)
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
