import { chmodSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openSqliteStore } from './open.ts'
import { openSealKey, sealer, sealKeyPath } from './seal.ts'
import { openSealer } from './sealer.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'muster-seal-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

test('any text comes back, and only under its own context and key', () => {
  const one = sealer(new Uint8Array(32).fill(1))
  const two = sealer(new Uint8Array(32).fill(2))
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string(), (plain, context) => {
      const sealed = one.seal(plain, context)
      expect(one.open(sealed, context)).toBe(Buffer.from(plain).toString('utf8'))
      expect(() => one.open(sealed, `${context}x`)).toThrow('does not open')
      expect(() => two.open(sealed, context)).toThrow('does not open')
    }),
  )
})

test('a changed or cut text does not open', () => {
  const { seal, open } = sealer(new Uint8Array(32))
  const bytes = Buffer.from(seal('secret', 'worker:w1'), 'base64')
  expect(bytes.includes('secret')).toBe(false)
  for (let i = 0; i < bytes.length; i++) {
    const changed = Buffer.from(bytes)
    changed[i] = (changed[i] ?? 0) ^ 1
    expect(() => open(changed.toString('base64'), 'worker:w1')).toThrow()
  }
  expect(() => open(bytes.subarray(0, 20).toString('base64'), 'worker:w1')).toThrow('unknown form')
})

test('the key file is made once, closed to others, and refused when open or cut', () => {
  const path = sealKeyPath(dir)
  const key = openSealKey(path)
  expect(openSealKey(path)).toEqual(key)
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(readdirSync(dir)).toEqual(['seal.key'])
  chmodSync(path, 0o640)
  const refused = (message: string, hint: string): unknown =>
    expect.objectContaining({
      name: 'StoreError',
      code: 'seal-key',
      message: expect.stringContaining(`${path} ${message}`),
      hint: expect.stringContaining(hint),
    })
  expect(() => openSealKey(path)).toThrow(refused('is open to others: its mode is 0640', `chmod 600 ${path}`))
  chmodSync(path, 0o600)
  writeFileSync(path, 'short')
  expect(() => openSealKey(path)).toThrow(refused('has 5 bytes, not 32', 'from a backup'))
  expect(() => sealer(new Uint8Array(3))).toThrow('3 bytes')
})

test('a store whose key is missing or another one is not opened, and nothing takes its place', async () => {
  const store = await openSqliteStore(dir)
  try {
    const { seal } = await openSealer(store, dir)
    const sealed = seal('secret', 'worker:w1')
    expect((await openSealer(store, dir)).open(sealed, 'worker:w1')).toBe('secret')
    const path = sealKeyPath(dir)
    renameSync(path, join(dir, 'kept'))
    await expect(openSealer(store, dir)).rejects.toMatchObject({ code: 'seal-key', message: `the seal key ${path} is missing` })
    expect(readdirSync(dir)).not.toContain('seal.key')
    openSealKey(path)
    await expect(openSealer(store, dir)).rejects.toMatchObject({
      code: 'seal-key',
      message: expect.stringContaining('not the one'),
    })
    renameSync(join(dir, 'kept'), path)
    expect((await openSealer(store, dir)).open(sealed, 'worker:w1')).toBe('secret')
  } finally {
    await store.close()
  }
})

test('what is derived is the same for the same context and key, and for no other', () => {
  const [one, two] = [sealer(new Uint8Array(32)), sealer(new Uint8Array(32).fill(1))]
  expect(one.derive('a')).toEqual(one.derive('a'))
  expect(one.derive('a')).toHaveLength(32)
  for (const other of [one.derive('b'), two.derive('a')]) expect(other).not.toEqual(one.derive('a'))
})
