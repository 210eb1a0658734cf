import { afterEach, expect, test, vi } from 'vitest'
import { bold, printTable, withHint } from './io.ts'

afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
})

test('cells of others begin no line and have no colour of ours, which cells of ours keep', async () => {
  vi.stubEnv('FORCE_COLOR', '1')
  const write = vi.spyOn(process.stdout, 'write').mockReturnValue(true)
  const columns = [
    { title: 'RUN', styled: true as const, of: () => bold('r1') },
    { title: 'COMMAND', of: () => 'echo \u001b[31mred\u001b[39m\nmuster: all is well' },
  ]
  await printTable([{}], columns, 'none')
  const [, row] = String(write.mock.calls[0]?.[0]).split('\n')
  expect(row).toContain('\u001b[1mr1\u001b[22m')
  expect(row).toContain(String.raw`echo \u001b[31mred\u001b[39m muster: all is well`)
})

test('what is to be done stands behind what is wrong; where it has lines of its own, these can be copied, and none begins as ours', () => {
  expect(withHint('a: it fails')).toBe('a: it fails')
  expect(withHint('a: it fails\nmuster: well', 'Mend it.')).toBe(String.raw`a: it fails\u000amuster: well (Mend it.)`)
  expect(withHint('a: it fails', 'Apply this:\nkind: Role\nrules:\n  - \u001b[31mred')).toBe(
    ['a: it fails', '  Apply this:', '  kind: Role', '  rules:', String.raw`    - \u001b[31mred`].join('\n'),
  )
})
