import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { leave } from './context.ts'
import { bold, exits, printTable, tellUnwritable, withHint } from './io.ts'

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

test.each([
  { code: 'ENOSPC', own: 0, failed: exits.failed, left: exits.failed },
  { code: 'ENOSPC', own: 0, failed: exits.infrastructure, left: exits.infrastructure },
  { code: 'EPIPE', own: 0, failed: exits.failed, left: exits.pipe },
  { code: undefined, own: 3, failed: exits.failed, left: 3 },
])(
  'a command whose output could not be written ($code) is none that was done, and says so once',
  async ({ code, own, failed, left }) => {
    const exit = vi.spyOn(process, 'exit').mockImplementation(() => undefined as never)
    const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    const errored = code === undefined ? null : Object.assign(new Error(`${code}: no room`), { code })
    // As it is between the write that failed and the event that tells of it.
    Object.defineProperty(process.stdout, 'errored', { value: errored, configurable: true })
    onTestFinished(() => {
      Reflect.deleteProperty(process.stdout, 'errored')
      process.exitCode = 0
    })
    await leave(own, failed)
    expect(exit).toHaveBeenLastCalledWith(left)
    if (errored !== null) {
      // Who follows a run has told it by then.
      expect(tellUnwritable(errored)).toBe(left)
    }
    const lines = said.mock.calls.map(([text]) => String(text)).filter((text) => text !== '')
    expect(lines).toEqual(code === 'ENOSPC' ? ['muster: the output cannot be written: ENOSPC: no room\n'] : [])
  },
)
