import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { filesOf } from './archive.ts'
import { type Entry, packEntries, pluginFiles } from './testing/pack.ts'

describe('a tarball', () => {
  it.each<[string, Entry[], RegExp]>([
    ['a symbolic link', [[{ name: 'package/l', type: 'symlink', linkname: '/etc/passwd' }]], /is a symlink/],
    ['a hard link', [[{ name: 'package/l', type: 'link', linkname: 'package/package.json' }]], /is a link/],
    ['a device', [[{ name: 'package/d', type: 'character-device' }]], /character-device/],
    ['a pipe', [[{ name: 'package/p', type: 'fifo' }]], /is a fifo/],
    ['a way out', [['package/../../x', 'x']], /leaves the package/],
    ['an absolute path', [['/etc/x', 'x']], /not a relative path/],
    ['a path of another system', [['package/..\\x', 'x']], /not a relative path/],
    ['names that differ in case only', [['package/Dist/plugin.js', 'x']], /differs from another only in case/],
    [
      'names that differ in their composition only',
      [
        ['package/é', 'x'],
        ['package/e\u0301', 'x'],
      ],
      /differs from another only in case/,
    ],
    ['a file twice', [['package/dist/plugin.js', 'x']], /is there twice/],
    [
      'names that only some systems tell apart',
      [
        ['package/s', 'x'],
        ['package/\u017f', 'x'],
      ],
      /differs from another only in case/,
    ],
    [
      'a second folder, whose files would take the place of the first one’s',
      [['other/dist/plugin.js', 'x']],
      /is beside 'package'/,
    ],
    ['a file beside its folder', [['plugin.js', 'x']], /is beside 'package'/],
    ['a file in the place of its folder', [['package', 'x']], /is beside 'package'/],
    [
      'a name that steers a terminal',
      [['package/a\u001b[2J', 'x']],
      /^the tarball is refused: 'package\/a\?\[2J' has a control character$/,
    ],
    ['a name of two lines', [['package/a\nsha512-x 1 b', 'x']], /has a control character/],
    [
      'a name that no folder takes',
      [[`package/${'ä'.repeat(128)}`, 'x']],
      /^the tarball is refused: 'package\/äääää.*…' is too long$/,
    ],
    ['a path that no system takes', [[`package/${'d/'.repeat(512)}x`, 'x']], /is too long/],
    ['a path of forty thousand folders', [[`package/${'d/'.repeat(40_000)}x`, 'x']], /is too long/],
    ['a file inside a file', [['package/dist/plugin.js/x', 'x']], /is inside a file/],
    ['a file where a folder is', [['package/dist', 'x']], /is there twice/],
  ])('with %s is refused', async (_name, extra, wanted) => {
    await expect(filesOf(await packEntries([...pluginFiles(), ...extra]))).rejects.toThrow(wanted)
  })

  it('with more entries than any plugin has is refused', async () => {
    const many = Array.from({ length: 10_001 }, (_, n): Entry => [`package/${n}`, ''])
    await expect(filesOf(await packEntries(many))).rejects.toThrow(/more than 10000 entries/)
  })

  it('that is a compression bomb is stopped by its size', async () => {
    await expect(filesOf(gzipSync(Buffer.alloc(257 * 2 ** 20), { level: 1 }))).rejects.toThrow(
      /unpacks to more than|cannot be read/,
    )
    // 256 MiB come out in pieces of 16 KiB, each a turn that a busy machine may be slow to give.
  }, 120_000)

  it.each([
    ['no archive', Buffer.from('no archive'), /cannot be read/],
    ['empty', gzipSync(Buffer.alloc(1024)), /it is empty/],
  ])('that is %s is refused with a reason', async (_name, bytes, wanted) => {
    await expect(filesOf(bytes)).rejects.toMatchObject({ code: 'bad-archive', message: expect.stringMatching(wanted) })
  })

  it('gives the files by their path inside the package, whatever its folder is called', async () => {
    const files = await filesOf(
      await packEntries([
        ['anything/a/b.txt', 'x'],
        ['anything//c', 'y'],
      ]),
    )
    expect([...files].map(([path, body]) => [path, body.toString()])).toEqual([
      ['a/b.txt', 'x'],
      ['c', 'y'],
    ])
  })
})
