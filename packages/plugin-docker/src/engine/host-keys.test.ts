import { createHmac } from 'node:crypto'
import { expect, test } from 'vitest'
import { algorithmsFor, fingerprintOf, parseHostKey } from './host-keys.ts'

/** A public key as its bytes are (RFC 4253, 6.6): its type, then 32 bytes. */
const bytesOf = (type: string): Buffer =>
  Buffer.concat([Buffer.from([0, 0, 0, type.length]), Buffer.from(type), Buffer.from([0, 0, 0, 32]), Buffer.alloc(32, 7)])
const keyOf = (type: string): string => `${type} ${bytesOf(type).toString('base64')}`
const key = keyOf('ssh-ed25519')
const fingerprint = fingerprintOf(bytesOf('ssh-ed25519'))
const machine = { host: 'build-1', port: 22 }
const hashed = (name: string): string => {
  const salt = Buffer.alloc(20, 1)
  return `|1|${salt.toString('base64')}|${createHmac('sha1', salt).update(name).digest('base64')}`
}

test.each<[string, { host: string; port: number }, object]>([
  [fingerprint, machine, { fingerprint }],
  [`${fingerprint}=`, machine, { fingerprint }],
  [key, machine, { fingerprint, type: 'ssh-ed25519' }],
  [`${key} root@build-1`, machine, { fingerprint, type: 'ssh-ed25519' }],
  [`build-1,10.0.0.7 ${key}`, machine, { fingerprint, type: 'ssh-ed25519' }],
  [`[build-1]:2222 ${key}`, { host: 'build-1', port: 2222 }, { fingerprint, type: 'ssh-ed25519' }],
  [`${hashed('build-1')} ${key}`, machine, { fingerprint, type: 'ssh-ed25519' }],
  [`${hashed('[build-1]:2222')} ${key}`, { host: 'build-1', port: 2222 }, { fingerprint, type: 'ssh-ed25519' }],
])('%s is a key', (line, of, expected) => {
  expect(parseHostKey(line, of)).toEqual(expected)
})

test.each([
  ['', /no fingerprint/],
  ['SHA256:short', /no fingerprint/],
  ['MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48', /no fingerprint/],
  ['ssh-ed25519 AAAA', /no fingerprint/],
  [`ssh-rsa ${key.split(' ')[1]}`, /no fingerprint/],
  ['ssh-dss AAAA', /no fingerprint/],
  [`build-2 ${key}`, /another machine than build-1/],
  [`[build-1]:2222 ${key}`, /another machine/],
  [`${hashed('build-2')} ${key}`, /another machine/],
  [`* ${key}`, /another machine/],
  [`@revoked build-1 ${key}`, /@revoked is not supported/],
  [`@cert-authority *.example ${key}`, /@cert-authority is not supported/],
])('%s is refused', (line, why) => {
  expect(() => parseHostKey(line, machine)).toThrow(why)
})

test('the machine is asked for a key of a type that is known, never for one signed with SHA-1', () => {
  const keys = ['ssh-rsa', 'ecdsa-sha2-nistp256', 'ssh-rsa'].map((type) => parseHostKey(keyOf(type), machine))
  expect(algorithmsFor(keys)).toEqual(['rsa-sha2-512', 'rsa-sha2-256', 'ecdsa-sha2-nistp256'])
  expect(algorithmsFor([...keys, { fingerprint }])).toBeUndefined()
})
