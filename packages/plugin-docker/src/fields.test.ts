import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { type SpecField, specFields } from '@muster/core'
import { expect, test } from 'vitest'
import manifest from '../muster-plugin.json' with { type: 'json' }
import { fieldChecks, refusable } from './testing/conformance.test.helper.ts'
import { declared } from './testing/podman.test.helper.ts'

/** Where the suite looks by itself. */
const inside: readonly SpecField[] = ['env', 'files', 'workdir']

/** The text with what stands between two marks replaced. */
function filled(text: string, mark: string, content: string): string {
  const [before, rest = ''] = text.split(new RegExp(`(?<=<!-- ${mark}: [^\\n]*-->\\n)`))
  return `${before}\n${content}\n\n${rest.slice(rest.indexOf(`<!-- end of ${mark} -->`))}`
}

test('the README has the table of fields, and what podman does otherwise, as the conformance suite sees them', async () => {
  const checks = fieldChecks('/nonexistent', 'an-image')
  const honoured = manifest.capabilities.fields
  const how = (field: SpecField): string => {
    if (!honoured.includes(field)) return 'refused: `unsupported`'
    if (refusable.includes(field))
      return 'given where the machine and the settings of the pool have it, else refused: `unsupported`'
    const check = checks[field]
    expect({ field, seen: check !== undefined || inside.includes(field) }).toEqual({ field, seen: true })
    return check?.look === undefined ? 'seen inside the worker' : 'seen at the engine'
  }
  const rows = specFields.map((field) => `| \`${field}\` | ${how(field)} |`)
  const file = fileURLToPath(new URL('../README.md', import.meta.url))
  const text = await readFile(file, 'utf8')
  const table = ['| field | what becomes of it |', '| --- | --- |', ...rows].join('\n')
  await expect(filled(filled(text, 'fields', table), 'podman', declared())).toMatchFileSnapshot(file)
})
