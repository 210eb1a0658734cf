import { sha512Of } from '@muster/packed/digest'
import { expect, test } from 'vitest'
import { checkBytes } from './fetch.ts'
import type { LockedPlugin } from './lock.ts'

test('bytes are the locked ones by their hash and their size, not by one of them', () => {
  const bytes = Buffer.from('the locked ones')
  const locked = { package: '@acme/plugin', version: '1.0.0', sha512: sha512Of(bytes), size: bytes.length } as LockedPlugin
  checkBytes(locked, bytes)
  const refused = expect.objectContaining({ code: 'other-bytes' })
  expect(() => checkBytes(locked, Buffer.from('the l0cked ones'))).toThrow(refused)
  expect(() => checkBytes({ ...locked, size: bytes.length + 1 }, bytes)).toThrow(refused)
})
