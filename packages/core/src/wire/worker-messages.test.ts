import { expect, test } from 'vitest'
import type { LaunchSpec } from '../spec.ts'
import { maxInlineBytes } from './limits.ts'
import { spec } from './link.test.helper.ts'
import { inlineLaunchSpecSchema } from './worker-messages.ts'

const text = (bytes: number): string => 'x'.repeat(bytes)
const file = (path: string, bytes: number): NonNullable<LaunchSpec['files']>[number] => ({
  path,
  base64: Buffer.alloc(bytes).toString('base64'),
})
const rest = maxInlineBytes - 4

test.each<[string, (more: number) => Partial<LaunchSpec>]>([
  ['names and values of env', (more) => ({ env: { FOUR: text(rest + more) } })],
  ['a long name', (more) => ({ env: { [text(rest + more)]: 'four' } })],
  ['files and their paths', (more) => ({ files: [file('/one', rest + more)] })],
  ['env and files', (more) => ({ env: { A: '1' }, files: [file('/a', rest + more)] })],
  [
    'what services have',
    (more) => ({ env: { A: '1' }, services: [{ name: 'db', image: 'db:1', env: { B: text(rest + 1 + more) } }] }),
  ],
])('%s together fit into a frame, or are refused', (_, over) => {
  const told = (more: number): unknown => inlineLaunchSpecSchema.safeParse({ ...spec, ...over(more) }).error?.issues
  expect(told(0)).toBeUndefined()
  expect(told(1)).toMatchObject([{ path: ['files'], message: expect.stringContaining('use inputs') as string }])
})
