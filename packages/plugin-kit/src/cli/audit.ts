import { resolve } from 'node:path'
import { type Audit, auditPlugin, type AuditOptions } from '../audit/audit.ts'
import { openAuthor } from '../author.ts'
import { changeManifest } from '../build.ts'
import { PluginFault } from '../finding.ts'
import { print, say } from '../io.ts'
import { tell } from './test.ts'

export interface AuditCommand extends Omit<AuditOptions, 'onOutcome'> {
  folder: string
  write?: true
  json?: true
}

export async function audit({ folder, write, json, ...options }: AuditCommand): Promise<boolean> {
  if (write === true && options.only !== undefined)
    throw new PluginFault({
      place: '--only',
      reason: 'some tests do not show what the rest needs',
      fix: 'leave out --only, or --write',
    })
  const found = await auditPlugin(resolve(folder), { ...options, ...(json === true ? {} : { onOutcome: tell }) })
  const { findings, least } = found
  if (json === true) print(JSON.stringify({ ...found, written: write === true }, null, 2))
  else tellUsed(found)
  if (least === undefined) say('not all tests were asked for: what they did not use was not looked at')
  if (write !== true || least === undefined) return findings.length === 0
  await changeManifest(await openAuthor(folder), { permissions: least })
  say('the manifest asks for the least that would do; look at it, then run: muster-plugin test')
  return true
}

function tellUsed({ findings, used, asked }: Audit): void {
  for (const { kind, asks, count, test, place } of used)
    print(
      `${kind} ${kind === 'childProcess' ? '' : `${asks} `}(${count} uses, first in '${test}'${place === undefined ? '' : ` at ${place}`})`,
    )
  for (const { place, reason, fix } of findings) print(`${place}: ${reason}\n  fix: ${fix}`)
  print(`${findings.length} to mend`)
  if (asked.childProcess || used.some(({ kind }) => kind === 'childProcess'))
    say('what its child processes do is not seen: no host looks at that either')
}
