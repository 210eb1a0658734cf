import { join } from 'node:path'
import { expect, test } from 'vitest'
import { roleText } from '@muster/plugin-kubernetes/rbac'
import { roleFor } from '../cluster.ts'
import { definitions, definitionText } from './definitions.ts'

const folder = join(import.meta.dirname, '../../crds')

test.each(Object.entries(definitions()))(
  'the committed definition of %s is that of the schemas (write it anew: `pnpm vitest run apps/kubernetes-controller/src/crd -u`)',
  async (plural, definition) => {
    await expect(definitionText(definition)).toMatchFileSnapshot(join(folder, `${plural}.yaml`))
  },
)

test('the Role that is published has the rights of the calls that a controller makes, and no others', async () => {
  const role = join(import.meta.dirname, '../../../../packaging/kubernetes/objects/role.yaml')
  await expect(`${roleText(roleFor('controller', 'muster'))}\n`).toMatchFileSnapshot(role)
})
