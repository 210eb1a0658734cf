import { sha512Of } from '@muster/packed/digest'
import { expect, test } from 'vitest'
import { checkBytes } from './fetch.ts'
import type { LockedPlugin } from './lock.ts'

test('bytes are the locked ones by their hash and their size, not by one of them', () => {
  const bytes = Buffer.from('the locked ones')
  const locked = {
    package: '@acme/plugin',
    version: '1.0.0',
    sha512: sha512Of(bytes),
    size: bytes.length,
    source: { registry: 'default' },
  } as LockedPlugin
  checkBytes(locked, bytes)
  const refused = expect.objectContaining({ code: 'other-bytes' })
  expect(() => checkBytes(locked, Buffer.from('the l0cked ones'))).toThrow(refused)
  const told = (source: LockedPlugin['source']): unknown =>
    expect.objectContaining({
      fix: expect.stringMatching(
        'registry' in source ? /^run: muster plugins verify, / : /^run: muster plugins lock, /,
      ) as string,
    })
  for (const source of [{ registry: 'default' }, { tarball: 'a.tgz' }])
    expect(() => checkBytes({ ...locked, source }, Buffer.from('other'))).toThrow(told(source))
  expect(() => checkBytes({ ...locked, size: bytes.length + 1 }, bytes)).toThrow(refused)
})
