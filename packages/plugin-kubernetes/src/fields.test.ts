import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { type SpecField, specFields } from '@muster/core'
import { expect, test } from 'vitest'
import { jobRights } from './client.ts'
import { fieldChecks, refusable } from './testing/conformance.test.helper.ts'
import { fields as declared } from './testing/pure.test.helper.ts'
import { roleOf, roleText, tenantRoleOf } from './pools/rbac.ts'

const at = (name: string): string => fileURLToPath(new URL(`../${name}`, import.meta.url))

/** Where the suite looks by itself. */
const inside: readonly SpecField[] = ['workdir', 'lifetimeMs', 'readiness']

test('the README has the table of fields, as the conformance suite sees them', async () => {
  const checks = fieldChecks(
    { ask: () => Promise.reject(new Error('nobody is asked')) },
    { namespace: 'none', image: 'an-image' },
  )
  const how = (field: SpecField): string => {
    if (!declared.includes(field)) return 'refused: `unsupported`'
    if (refusable.includes(field)) return 'given where the settings of the pool allow it, else refused: `unsupported`'
    const check = checks[field]
    expect({ field, seen: check !== undefined || inside.includes(field) }).toEqual({ field, seen: true })
    return check?.look === undefined ? 'seen inside the worker' : 'seen at the cluster'
  }
  const rows = specFields.map((field) => `| \`${field}\` | ${how(field)} |`)
  const text = await readFile(at('README.md'), 'utf8')
  const [before, rest = ''] = text.split(/(?<=<!-- fields: [^\n]*-->\n)/)
  const after = rest.slice(rest.indexOf('<!-- end of fields -->'))
  const table = ['| field | what becomes of it |', '| --- | --- |', ...rows].join('\n')
  await expect(`${before}\n${table}\n\n${after}`).toMatchFileSnapshot(at('README.md'))
})

test('the file with the Role has the rights of the calls that are made, and no others', async () => {
  const role = `${roleText(roleOf('muster'))}\n`
  await expect(role).toMatchFileSnapshot(at('role.yaml'))
  const tenants = tenantRoleOf('muster', { quota: {}, make: true, remove: true })
  await expect(`${roleText(tenants)}\n`).toMatchFileSnapshot(at('tenant-role.yaml'))
  // kustomize reads nothing outside its own folder.
  await expect(role).toMatchFileSnapshot(at('../../packaging/kubernetes/base/role.yaml'))
  await expect(`${roleText(roleOf('muster', jobRights))}\n`).toMatchFileSnapshot(at('role-jobs.yaml'))
})
