import { expect, test } from 'vitest'
import { loginHeader } from './login.ts'

const basic = Buffer.from('user:pass:word').toString('base64')
const open = (header: string): unknown => JSON.parse(Buffer.from(header, 'base64').toString())
const secretOf = (name: string, login: object): string => JSON.stringify({ auths: { [name]: login }, credsStore: 'ignored' })

test.each([
  ['r.test/x', 'r.test', { auth: basic }, { username: 'user', password: 'pass:word', serveraddress: 'r.test' }],
  [
    'r.test:5000/x',
    'https://r.test:5000/v2/',
    { username: 'u', password: 'p' },
    { username: 'u', password: 'p', serveraddress: 'r.test:5000' },
  ],
  [
    'busybox',
    `https://${['index', 'docker', 'io'].join('.')}/v1/`,
    { identitytoken: 't' },
    { identitytoken: 't', serveraddress: 'docker.io' },
  ],
  ['r.test/x', 'r.test', { registrytoken: 't' }, { registrytoken: 't', serveraddress: 'r.test' }],
])('%s is told the login of %s', (...[image, name, login, expected]) => {
  expect(open(loginHeader(secretOf(name, login), image))).toEqual(expected)
})

test('the header has its padding, without which an engine takes it for empty', () => {
  const headers = ['a', 'aa', 'aaa'].map((password) => loginHeader(secretOf('r.test', { username: 'u', password }), 'r.test/x'))
  for (const header of headers) expect([header.length % 4, /[+/]/.test(header)]).toEqual([0, false])
})

test.each([
  ['canary'],
  ['{"auths":{"r.test":{"auth":7}},"x":"canary"}'],
  [secretOf('other.test', { auth: basic, password: 'canary' })],
])('%s is refused without a word of it', (secret) => {
  const read = (): string => loginHeader(secret, 'r.test/x')
  expect(read).toThrow(expect.objectContaining({ code: 'auth', effect: 'none', path: 'image' }) as Error)
  expect(read).not.toThrow(/canary/)
})
