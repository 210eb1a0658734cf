import { expect, test } from 'vitest'
import { isLoopback, parseAddress, urlHost } from './address.ts'

test('an address of IPv6 stands in brackets, and is one', () => {
  for (const [text, host] of [
    ['127.0.0.1:7420', '127.0.0.1'],
    ['localhost:7420', 'localhost'],
    ['[::1]:7420', '::1'],
    ['[::]:7420', '::'],
    ['[::ffff:127.0.0.1]:7420', '::ffff:127.0.0.1'],
  ] as const) {
    expect([text, parseAddress(text)]).toEqual([text, { host, port: 7420 }])
    expect(urlHost(host)).toBe(text.replace(/:7420$/, ''))
  }
  for (const text of ['::1:7420', '[::1]', '[:::]:7420', '[127.0.0.1]:7420', '[::1]7420', 'a b:1', ':7420', '/x:1', 'http://a:1'])
    expect([text, parseAddress(text)]).toEqual([text, undefined])
})

test.each([
  [
    true,
    ['localhost', 'LOCALHOST', '127.0.0.1', '127.8.9.1', '::1', '0:0:0:0:0:0:0:1', '0::1', '::ffff:127.0.0.1', '::ffff:7f00:1'],
  ],
  [
    false,
    [
      '0.0.0.0',
      '::',
      '0::0',
      '10.0.0.1',
      '::2',
      '::ffff:0.0.0.0',
      '::ffff:10.0.0.1',
      '::127.0.0.1',
      'fe80::1',
      '127.0.0.1.nip',
      'x',
      '',
    ],
  ],
])('loopback (%s) in each of its spellings', (expected, hosts) => {
  for (const host of hosts) expect([host, isLoopback(host)]).toEqual([host, expected])
})
