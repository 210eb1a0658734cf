import { createReadStream } from 'node:fs'
import { chmod, mkdir, readFile, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { mustRun } from '@muster/test/systems/process'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { extract } from 'tar-stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { packWorkspace, renameTree, saveStream } from './pack.ts'
import { scanFolder } from './scan.ts'

let temp: TempFolder
beforeEach(async () => {
  temp = await tempFolder('pack')
})
afterEach(async () => {
  await temp.remove()
})

async function tree(name: string, files: Record<string, string>): Promise<string> {
  const root = join(temp.path, name)
  await mkdir(root)
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(root, path, '..'), { recursive: true })
    await writeFile(join(root, path), text)
  }
  return root
}

async function entriesOf(file: string): Promise<Record<string, string>> {
  const reader = extract()
  createReadStream(file).pipe(reader)
  const found: Record<string, string> = {}
  for await (const entry of reader) {
    let text = ''
    for await (const chunk of entry) text += String(chunk)
    found[entry.header.name] = entry.header.type === 'file' ? text : `${entry.header.type} ${entry.header.linkname ?? ''}`.trim()
  }
  return found
}

describe('the workspace', () => {
  it('is the same tar for the same content', async () => {
    const files = { 'b/c.txt': 'c', 'a.txt': 'a', 'b/a': '' }
    const one = await tree('one', files)
    const two = await tree('two', Object.fromEntries(Object.entries(files).reverse()))
    await utimes(join(two, 'a.txt'), 1, 1)
    await chmod(join(two, 'a.txt'), 0o600)
    const first = await packWorkspace(one, { ignored: [], to: join(temp.path, '1.tar') })
    const second = await packWorkspace(two, { ignored: [], to: join(temp.path, '2.tar') })
    expect(second).toMatchObject({ sha256: first.sha256, bytes: first.bytes, files: 3 })
    expect(await entriesOf(first.file)).toEqual({ 'a.txt': 'a', b: 'directory', 'b/a': '', 'b/c.txt': 'c' })
    expect((await stat(first.file)).mode & 0o777).toBe(0o600)
  })

  it('is read by tar as it was, with links, long names and programs', async () => {
    const long = `${'d'.repeat(80)}/${'é'.repeat(60)}/${'f'.repeat(90)}`
    const root = await tree('root', { 'run.sh': '#!/bin/sh\necho hi\n', [long]: 'deep', big: 'x'.repeat(3_000_000) })
    await chmod(join(root, 'run.sh'), 0o755)
    await symlink('run.sh', join(root, 'link'))
    const packed = await packWorkspace(root, { ignored: [], to: join(temp.path, 'w.tar') })
    const out = join(temp.path, 'out')
    await mkdir(out)
    await mustRun(['tar', '-xf', packed.file, '-C', out])
    await mustRun(['diff', '-r', '--no-dereference', root, out])
    expect((await mustRun([join(out, 'link')])).trim()).toBe('hi')
    const sum = await mustRun(['sha256sum', packed.file])
    expect(sum.split(' ')[0]).toBe(packed.sha256)
    expect((await stat(packed.file)).size).toBe(packed.bytes)
  })

  it('leaves out what is ignored, and .git and .muster always', async () => {
    const root = await tree('root', {
      '.git/HEAD': '',
      '.muster/seal.key': '',
      'node_modules/a/x': '',
      'src/a.js': '',
      'src/a.log': '',
      'src/keep.log': '',
      dist: '',
    })
    const found = await scanFolder(root, ['node_modules/', '*.log', '!keep.log', 'dist/', '# a comment'])
    expect(found.map((entry) => entry.path)).toEqual(['dist', 'src', 'src/a.js', 'src/keep.log'])
  })

  it('refuses links that lead out, as text or in truth', async () => {
    const root = await tree('root', { 'in/side': '' })
    await symlink('../../etc/passwd', join(root, 'in/out'))
    await expect(scanFolder(root, [])).rejects.toThrow(/^the link in\/out leads out of the workspace, to \.\.\/\.\.\/etc\/passwd/)
    await expect(scanFolder(root, ['in/out'])).resolves.toHaveLength(2)
    await symlink('/etc/passwd', join(root, 'absolute'))
    await expect(scanFolder(root, ['in/out'])).rejects.toThrow('the link absolute leads out')
    // Each is inside as text; together they leave.
    await mkdir(join(root, 'a/b'), { recursive: true })
    await symlink('../..', join(root, 'a/b/top'))
    await symlink('a/b/top/../..', join(root, 'zig'))
    await expect(scanFolder(root, ['in/out', 'absolute'])).rejects.toThrow('the link zig leads out')
  })

  it('keeps a link to what is not there yet', async () => {
    const root = await tree('root', { a: '' })
    await symlink('node_modules/.pnpm/x', join(root, 'later'))
    expect(await scanFolder(root, [])).toContainEqual(
      expect.objectContaining({ path: 'later', kind: 'link', target: 'node_modules/.pnpm/x' }),
    )
  })

  it('names what cannot travel', async () => {
    const root = await tree('root', { a: '' })
    await mustRun(['mkfifo', join(root, 'pipe')])
    await expect(scanFolder(root, [])).rejects.toThrow("pipe is no file, folder or link: add it to 'ignore'")
    await expect(packWorkspace(join(temp.path, 'nowhere'), { ignored: [], to: join(temp.path, 'n.tar') })).rejects.toThrow(
      /nowhere cannot be read: ENOENT/,
    )
  })

  it('fails by name when a file cannot be read', async () => {
    const root = await tree('root', { a: 'text' })
    const to = join(temp.path, 'w.tar')
    const packing = packWorkspace(root, { ignored: [], to })
    await writeFile(join(root, 'a'), '')
    // Emptied after or before it was looked at: never a tar that says 4 bytes and holds none.
    await packing.then(
      async ({ file }) => expect(['', 'text']).toContain((await entriesOf(file))['a']),
      (error: Error) => expect(error.message).toMatch(/^a cannot be packed, or changed meanwhile/),
    )
  })
})

describe('an artifact', () => {
  it('gets another name, whole', async () => {
    const root = await tree('root', { 'dist/a.js': 'a', 'dist/deep/b.js': 'b' })
    await symlink('a.js', join(root, 'dist/link'))
    await mustRun(['tar', '-cf', join(temp.path, 'in.tar'), '-C', root, 'dist'])
    const from = await saveStream(createReadStream(join(temp.path, 'in.tar')), join(temp.path, 'copy.tar'))
    const moved = await renameTree(from, { name: 'lib', to: join(temp.path, 'out.tar') })
    expect(await entriesOf(moved.file)).toEqual({
      lib: 'directory',
      'lib/a.js': 'a',
      'lib/deep': 'directory',
      'lib/deep/b.js': 'b',
      'lib/link': 'symlink a.js',
    })
  })

  it('may be one file, with a name that needs an extended header', async () => {
    const name = `${'é'.repeat(120)}.txt`
    const root = await tree('root', { [name]: 'text' })
    await mustRun(['tar', '--format=pax', '-cf', join(temp.path, 'in.tar'), '-C', root, name])
    const file = join(temp.path, 'in.tar')
    const moved = await renameTree({ file, sha256: '', bytes: 0 }, { name: 'report.txt', to: join(temp.path, 'out.tar') })
    expect(await entriesOf(moved.file)).toEqual({ 'report.txt': 'text' })
  })

  it('is refused when it is no tar, or lies outside itself', async () => {
    const file = join(temp.path, 'in.tar')
    await writeFile(file, 'no tar at all '.repeat(100))
    await expect(renameTree({ file, sha256: '', bytes: 0 }, { name: 'x', to: join(temp.path, '1.tar') })).rejects.toThrow(
      /[Ii]nvalid/,
    )
    const root = await tree('root', { a: '' })
    await mustRun(['tar', '-P', '-cf', file, '--transform=s,^,../,', '-C', root, 'a'])
    await expect(renameTree({ file, sha256: '', bytes: 0 }, { name: 'x', to: join(temp.path, '2.tar') })).rejects.toThrow(
      'lies outside it',
    )
    expect((await readFile(join(temp.path, '2.tar'))).length).toBeLessThan(2000)
  })
})
