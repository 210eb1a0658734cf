import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { type OpenApi, typesOf } from './generate.test.helper.ts'

const document = new URL('../../../docs/reference/openapi.json', import.meta.url)
const committed = new URL('generated/api.ts', import.meta.url).pathname

test('the types are those of the document (write them anew: `pnpm vitest run packages/client/src/generated.test.ts -u`)', async () => {
  await expect(typesOf(JSON.parse(readFileSync(document, 'utf8')) as OpenApi)).toMatchFileSnapshot(committed)
})

test('a schema that it does not know is an error, not `unknown`', () => {
  expect(() => typesOf({ paths: {}, components: { schemas: { Odd: { type: 'tuple' } } } })).toThrow('no type')
})
