import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { type SpecField, specFields } from '@muster/core'
import { expect, test } from 'vitest'
import manifest from '../muster-plugin.json' with { type: 'json' }
import { fieldChecks, refusable } from './conformance.test.helper.ts'

/** Where the suite looks by itself. */
const inside: readonly SpecField[] = ['env', 'files', 'workdir']

test('the README has the table of fields, as the conformance suite sees them', async () => {
  const checks = fieldChecks('/nonexistent', 'an-image')
  const declared = manifest.capabilities.fields
  const how = (field: SpecField): string => {
    if (!declared.includes(field)) return 'refused: `unsupported`'
    if (refusable.includes(field))
      return 'given where the machine and the settings of the pool have it, else refused: `unsupported`'
    const check = checks[field]
    expect({ field, seen: check !== undefined || inside.includes(field) }).toEqual({ field, seen: true })
    return check?.look === undefined ? 'seen inside the worker' : 'seen at the engine'
  }
  const rows = specFields.map((field) => `| \`${field}\` | ${how(field)} |`)
  const file = fileURLToPath(new URL('../README.md', import.meta.url))
  const text = await readFile(file, 'utf8')
  const [before, rest = ''] = text.split(/(?<=<!-- fields: [^\n]*-->\n)/)
  const after = rest.slice(rest.indexOf('<!-- end of fields -->'))
  const table = ['| field | what becomes of it |', '| --- | --- |', ...rows].join('\n')
  await expect(`${before}\n${table}\n\n${after}`).toMatchFileSnapshot(file)
})
