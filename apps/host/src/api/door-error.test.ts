import { expect, test } from 'vitest'
import { DoorError, type DoorKind, openDoor } from './door-error.ts'

interface Told {
  port?: number
  message: string
  hint: string
}

const cases: [DoorKind, string, Told][] = [
  [
    'tcp',
    'EADDRINUSE',
    { port: 80, message: 'the TCP address x cannot be opened: port 80 is in use', hint: 'host.listen, or --listen' },
  ],
  ['tcp', 'EACCES', { message: 'the TCP address x cannot be opened: as the system says', hint: 'the right to it' }],
  [
    'tcp',
    'EADDRNOTAVAIL',
    { message: 'the TCP address x cannot be opened', hint: 'no such address: choose another: host.listen' },
  ],
  ['socket', 'EACCES', { message: 'the unix socket x cannot be opened', hint: 'host.socket.path' }],
  ['socket', 'EEXIST', { message: 'the unix socket x cannot be opened', hint: 'It would replace something else' }],
  [
    'metrics',
    'EADDRINUSE',
    { port: 9100, message: 'the address for metrics x cannot be opened: port 9100', hint: 'host.metrics.listen' },
  ],
]
test.each(cases)('of %s, %s says which door it is, and its setting', async (kind, code, { port, message, hint }) => {
  const failed = Object.assign(new Error('as the system says'), { code, ...(port === undefined ? {} : { port }) })
  const error = await openDoor(kind, 'x', () => Promise.reject(failed)).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(DoorError)
  expect(error).toMatchObject({
    code,
    message: expect.stringContaining(message) as string,
    hint: expect.stringContaining(hint) as string,
  })
})
