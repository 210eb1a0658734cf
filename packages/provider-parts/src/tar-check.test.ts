import { ProviderError } from '@muster/core'
import { describe, expect, test } from 'vitest'
import { createTarCheck } from './tar-check.ts'

describe('the entries of a tar', () => {
  const entry = (name: string, rest: object = {}): Parameters<ReturnType<typeof createTarCheck>>[0] => ({
    name,
    type: 'file',
    mode: 0o644,
    mtime: new Date(0),
    linkname: '',
    size: 0,
    uid: 0,
    gid: 0,
    uname: '',
    gname: '',
    devmajor: 0,
    devminor: 0,
    ...rest,
  })

  test('names are made plain, owners dropped', () => {
    const check = createTarCheck()
    expect(check(entry('./a//b/./c', { uid: 5, uname: 'x', mode: 0o104_755 }))).toEqual({
      name: 'a/b/c',
      type: 'file',
      mode: 0o4755,
      mtime: new Date(0),
      size: 0,
    })
    expect(check(entry('./', { type: 'directory' }))).toMatchObject({ name: '.', type: 'directory' })
  })

  test('a link that was replaced by a file is a file', () => {
    const check = createTarCheck()
    check(entry('a', { type: 'symlink', linkname: '/etc' }))
    expect(() => check(entry('a', { type: 'directory' }))).toThrowError(ProviderError)
    check(entry('a'))
    expect(check(entry('b', { type: 'link', linkname: 'a' }))).toMatchObject({ linkname: 'a' })
  })

  test('a sparse archive is refused: its map would stand in the file', async () => {
    const check = createTarCheck()
    const header = { name: 'a', type: 'file', pax: { 'GNU.sparse.major': '1' } } as unknown as Parameters<typeof check>[0]
    expect(() => check(header)).toThrow('is sparse')
  })
})
