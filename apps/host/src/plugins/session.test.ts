/** Why a plugin's process does not come about, before there is one. Those that there are have tests of their own. */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { PluginManifest } from '@muster/core'
import { treeOf } from '@muster/packed/digest'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { addContent, treeOfFolder } from './content.ts'
import { createRedactor } from './redactor.ts'
import { describeEnd, firstDifference, startSession, type StartFault, type StartOptions } from './session.ts'
import { packPlugin } from './testing/pack.ts'
import { shutStore, strawTarget } from './testing/straw.ts'
import { openUsers } from './users.ts'

let folder: TempFolder
let root: string
beforeEach(async () => {
  folder = await tempFolder('session')
  root = join(folder.path, 'plugin')
  await mkdir(root)
  await writeFile(join(root, 'plugin.mjs'), 'process.exit(3)')
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await folder.remove()
})

async function faultOf(over: Partial<StartOptions> = {}, plugin: object = {}): Promise<StartFault> {
  const target = strawTarget()
  const users = openUsers({ range: { from: 60_578, to: 60_599 }, data: folder.path })
  const given = { ...target, plugin: { ...target.plugin, root, main: join(root, 'plugin.mjs'), ...plugin } }
  const options = { ...given, owner: 'me', users, dataDir: join(folder.path, 'own'), redactor: createRedactor() }
  try {
    await startSession({ ...options, onLine: () => undefined, ...over })
  } catch (error) {
    return error as StartFault
  }
  throw new Error('it started')
}

const said = ({ message, hint, tail, final, own }: StartFault): object => ({ message, hint, tail, final, own })
/** It may be otherwise the next time, and says nothing of the plugin. */
const passing = { tail: [], final: false, own: false }

test('nobody speaks before it is known what must not be said', async () => {
  const redactor = createRedactor(shutStore)
  expect(said(await faultOf({ redactor }))).toEqual({
    message: 'what its workers were given cannot be read: the store is shut',
    hint: 'it is started again; what ails the store is a condition of its own',
    ...passing,
  })
})

test('other files than those that were hashed do not run', async () => {
  const tree = treeOf(new Map([['plugin.mjs', Buffer.from('process.exit(0)')]]))
  const fault = await faultOf({}, { tree })
  expect(said(fault)).toMatchObject({
    hint: expect.stringMatching(/^run: rm -r \S+, and the locked bytes are unpacked anew; find out first who changed them$/),
    ...passing,
  })
  expect(fault.message).toMatch(/^other-files: .* are not those of the lock/)
  expect(said(await faultOf({}, { root: join(root, 'none'), tree }))).toMatchObject({
    message: expect.stringMatching(/^other-files: .* are gone, and their tarball too$/),
    hint: 'run: muster apply, which fetches what the lock holds',
    ...passing,
  })
})

test('files that were removed, as a refusal says, are there again from their tarball', async () => {
  const tarball = await packPlugin()
  const store = join(folder.path, 'store')
  const unpacked = await addContent(tarball, store)
  const tree = await treeOfFolder(unpacked)
  await rm(unpacked, { recursive: true })
  const fault = await faultOf({}, { root: unpacked, main: join(unpacked, 'dist/plugin.js'), tree })
  expect(fault.message).not.toMatch(/other-files|ENOENT/)
  expect(await treeOfFolder(unpacked)).toBe(tree)
})

test('a network that cannot be read says which key of it', async () => {
  vi.stubEnv('MUSTER_TEST_PROXY', '')
  expect(said(await faultOf({ network: { proxy: { env: 'MUSTER_TEST_PROXY' } } }))).toMatchObject({
    message: 'host.network.proxy: the variable MUSTER_TEST_PROXY is empty',
    hint: expect.stringMatching(/^write it as/),
    ...passing,
  })
})

test('the password of a proxy is a secret before there is a process', async () => {
  const redactor = createRedactor()
  await faultOf({
    redactor,
    network: { proxy: 'http://ann:hunter22@proxy.example:3128' },
    dataDir: join(root, 'plugin.mjs', 'x'),
  })
  expect(redactor.clean('it says hunter22')).toBe('it says [secret]')
})

test('a folder of its own that cannot be made says so, and nobody is at work in it', async () => {
  const left: string[] = []
  const users = { ...openUsers({ range: { from: 1, to: 2 }, data: folder.path }), entered: entered(left) }
  const fault = await faultOf({ users, dataDir: join(root, 'plugin.mjs', 'x') })
  expect(said(fault)).toEqual({
    message: expect.stringMatching(/^it cannot be started: ENOTDIR/),
    hint: 'see the reason',
    ...passing,
  })
  expect(left).toEqual(['the host', 'left'])
})

test('how a process ended is told by its code, else by its signal', () => {
  expect(describeEnd({ code: 3, signal: null })).toBe('exit 3')
  expect(describeEnd({ code: null, signal: 'SIGSEGV' })).toBe('SIGSEGV')
  expect(describeEnd({ code: null, signal: null })).toBe('exit unknown')
})

function entered(told: string[]): (own: string, as: string) => () => Promise<void> {
  return (_own, as) => {
    told.push(as)
    return async () => void told.push('left')
  }
}

test('where two manifests differ is told as far as both have something there', () => {
  const [one, other] = [
    { limits: { heapMb: 1, inFlight: 1 }, secrets: ['a'] },
    { limits: { heapMb: 2, inFlight: 1 }, secrets: ['a'] },
  ]
  const of = (left: object, right: object): string | undefined =>
    firstDifference(left as unknown as PluginManifest, right as unknown as PluginManifest)
  expect(of(one, one)).toBeUndefined()
  expect(of(one, other)).toBe('limits.heapMb')
  expect([of(one, { ...one, limits: undefined }), of({ ...one, limits: 'none' }, one)]).toEqual(['limits', 'limits'])
  expect(of(one, { ...one, secrets: ['b'] })).toBe('secrets')
})
