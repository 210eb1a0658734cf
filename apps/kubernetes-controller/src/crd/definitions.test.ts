import { join } from 'node:path'
import { expect, test } from 'vitest'
import { definitions, definitionText } from './definitions.ts'

const folder = join(import.meta.dirname, '../../crds')

test.each(Object.entries(definitions()))(
  'the committed definition of %s is that of the schemas (write it anew: `pnpm vitest run apps/kubernetes-controller/src/crd -u`)',
  async (plural, definition) => {
    await expect(definitionText(definition)).toMatchFileSnapshot(join(folder, `${plural}.yaml`))
  },
)
