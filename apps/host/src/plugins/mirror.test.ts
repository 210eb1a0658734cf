/** A mirror as files: what is written is read, in one order, and nothing half done stays. */
import { mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { maxTarballBytes } from '@muster/packed/archive'
import { sha512Of } from '@muster/packed/digest'
import { mirrored, mirroredAttestations, mirrorOrigin, writeMirror } from './mirror.ts'
import { attestationsOf, readAttestations, readTarball, tarballOrigin } from './origin.ts'
import { packEntries, packPlugin } from './testing/pack.ts'

let folder: TempFolder
let dir: string
beforeEach(async () => {
  folder = await tempFolder('mirror')
  dir = join(folder.path, 'm')
})
afterEach(() => folder.remove())

const published = '2026-01-01T00:00:00.000Z'
const bytes = (text: string): Buffer => Buffer.from(text)

test('bytes that its index knows nothing of are what lies there', async () => {
  await writeMirror(dir, [{ package: 'a', version: '1.0.0', tarball: bytes('a1') }])
  const index = join(dir, 'muster-mirror.json')
  for (const packages of [{}, { a: {} }]) {
    await writeFile(index, JSON.stringify({ schema: 1, packages }))
    expect((await mirrorOrigin(dir).tarball('a', '1.0.0')).toString()).toBe('a1')
  }
})

test('versions are written beside those that are there, packages in the order of their names, and nothing half done stays', async () => {
  await writeMirror(dir, [{ package: 'b', version: '1.0.0', published, tarball: bytes('b1'), attestations: { of: 'b1' } }])
  await writeMirror(dir, [
    { package: 'b', version: '2.0.0', tarball: bytes('b2') },
    { package: '@x/c', version: '1.0.0', tarball: bytes('c1') },
    { package: 'a', version: '1.0.0', tarball: bytes('a1') },
  ])
  const index = JSON.parse(await readFile(join(dir, 'muster-mirror.json'), 'utf8')) as { packages: Record<string, object> }
  expect(Object.keys(index.packages)).toEqual(['@x/c', 'a', 'b'])
  expect((await readdir(dir, { recursive: true })).filter((name) => name.includes('.new'))).toEqual([])
  const origin = mirrorOrigin(dir)
  expect(await origin.versions('b')).toEqual([{ version: '1.0.0', published }, { version: '2.0.0' }])
  expect([await origin.tarball('b', '2.0.0'), await origin.tarball('@x/c', '1.0.0')]).toEqual([bytes('b2'), bytes('c1')])
  expect([await origin.attestations('b', '1.0.0'), await origin.attestations('b', '2.0.0')]).toEqual([{ of: 'b1' }, undefined])
  expect([await mirrored(dir, { name: 'a', version: '1.0.0' }), await mirrored(dir, { name: 'a', version: '2.0.0' })]).toEqual([
    bytes('a1'),
    undefined,
  ])
})

test.each(['none', 'constructor', 'toString'])('a package that it has not is told: %s', async (name) => {
  await writeMirror(dir, [{ package: 'a', version: '1.0.0', tarball: bytes('a1') }])
  await expect(mirrorOrigin(dir).versions(name)).rejects.toMatchObject({ code: 'no-package' })
})

test('without an index there is no mirror, and one that is none is not written over', async () => {
  await expect(mirrorOrigin(dir).versions('a')).rejects.toMatchObject({
    code: 'no-source',
    message: expect.stringMatching(/muster-mirror\.json: ENOENT$/) as string,
    fix: expect.stringContaining(dir) as string,
  })
  await writeMirror(dir, [{ package: 'a', version: '1.0.0', tarball: bytes('a1') }])
  for (const text of ['', '{', '{"schema":2,"packages":{}}', '{"schema":1,"packages":{"a":{"1.0.0":{}}}}']) {
    await writeFile(join(dir, 'muster-mirror.json'), text)
    await expect(writeMirror(dir, [])).rejects.toThrow()
    expect(await readFile(join(dir, 'muster-mirror.json'), 'utf8')).toBe(text)
  }
})

test('a tarball is what the index says that it is', async () => {
  await writeMirror(dir, [{ package: 'a', version: '1.0.0', tarball: bytes('a1') }])
  await writeFile(join(dir, 'a/1.0.0.tgz'), 'a2')
  await expect(mirrorOrigin(dir).tarball('a', '1.0.0')).rejects.toMatchObject({
    code: 'other-bytes',
    message: expect.stringMatching(/^the tarball of a@1\.0\.0 is another one than the mirror '.*' says/) as string,
    fix: `run: muster plugins mirror --out ${dir}, where its plugins can be had`,
  })
})

test('a tarball is one version of one package', async () => {
  const file = join(folder.path, 'p.tgz')
  await writeFile(file, await packPlugin({ name: '@acme/p', version: '1.2.3' }))
  expect(await tarballOrigin(file).versions('@acme/p')).toEqual([{ version: '1.2.3' }])
  await expect(tarballOrigin(file).versions('@acme/q')).rejects.toMatchObject({
    code: 'no-package',
    fix: 'run: ${EDITOR:-vi} plugins.json, and write @acme/p',
  })
  for (const entries of [[['package/x', '']], [['package/package.json', '{']], [['package/package.json', '{"name":"a"}']]]) {
    await writeFile(file, await packEntries(entries as [string, string][]))
    await expect(tarballOrigin(file).versions('a')).rejects.toMatchObject({ code: 'bad-archive' })
  }
})

test('of two with one number both are there: the first by its name, each by its bytes', async () => {
  const [one, other] = [bytes('a1'), bytes('other')]
  await writeMirror(dir, [
    { package: 'a', version: '1.0.0', tarball: one, attestations: { of: 'a1' } },
    { package: 'a', version: '1.0.0', tarball: other, attestations: { of: 'other' } },
  ])
  expect(await mirrorOrigin(dir).tarball('a', '1.0.0')).toEqual(one)
  for (const [tarball, of] of [
    [one, 'a1'],
    [other, 'other'],
  ] as const) {
    const meant = { name: 'a', version: '1.0.0', sha512: sha512Of(tarball) }
    expect(await mirrored(dir, meant)).toEqual(tarball)
    expect(await mirroredAttestations(dir, meant)).toEqual({ of })
  }
  expect(await mirrored(dir, { name: 'a', version: '1.0.0', sha512: sha512Of(bytes('none')) })).toEqual(one)
})

test('a tarball that is too large is refused unread, from a mirror too; a folder is none', async () => {
  await writeMirror(dir, [{ package: 'a', version: '1.0.0', tarball: bytes('a1') }])
  const file = join(dir, 'a/1.0.0.tgz')
  await truncate(file, maxTarballBytes)
  expect(await readTarball(file)).toHaveLength(maxTarballBytes)
  await truncate(file, maxTarballBytes + 1)
  const tooLarge = { code: 'bad-archive', message: `the tarball has ${maxTarballBytes + 1} bytes, more than ${maxTarballBytes}` }
  await expect(readTarball(file)).rejects.toMatchObject(tooLarge)
  await expect(mirrored(dir, { name: 'a', version: '1.0.0' })).rejects.toMatchObject(tooLarge)
  await mkdir(join(dir, 'a/2.0.0.tgz'))
  expect(await mirrored(dir, { name: 'a', version: '2.0.0' })).toBeUndefined()
})

test('what is attested beside a tarball is given as it is; what is no JSON is nothing, and what cannot be read is told', async () => {
  await mkdir(dir)
  const file = join(dir, 'p.tgz')
  expect(await readAttestations(file)).toBeUndefined()
  await writeFile(attestationsOf(file), '{"a":1}')
  expect(await tarballOrigin(file).attestations('p', '1')).toEqual({ a: 1 })
  await writeFile(attestationsOf(file), '{')
  expect(await readAttestations(file)).toBeUndefined()
  await mkdir(attestationsOf(join(dir, 'q.tgz')))
  await expect(readAttestations(join(dir, 'q.tgz'))).rejects.toMatchObject({
    code: 'no-source',
    message: expect.stringMatching(/q\.tgz\.attestations\.json cannot be read: EISDIR/),
  })
})

test('a time in its index that a lock could not have is none', async () => {
  await writeMirror(dir, [{ package: 'a', version: '1.0.0', published: '2026-01-01', tarball: bytes('a1') }])
  await writeMirror(dir, [{ package: 'a', version: '1.1.0', published: 'yesterday', tarball: bytes('a2') }])
  expect(await mirrorOrigin(dir).versions('a')).toEqual([{ version: '1.0.0', published }, { version: '1.1.0' }])
})
