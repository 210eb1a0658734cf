import { afterEach, expect, test, vi } from 'vitest'
import { bold, printTable } from './io.ts'

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
