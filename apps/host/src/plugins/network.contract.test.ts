/** How a plugin's process reaches a vendor: through the proxy, beside it, by which authorities, and that nobody sees the password. */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { requireSystem } from '@muster/test/require'
import { type Authority, makeAuthority, opensslProblem, startTlsSite, type TlsSite } from '@muster/test/systems/authority'
import { type ConnectProxy, startProxy } from '@muster/test/systems/proxy'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { GuardedProvider } from './api.ts'
import { checkPlugins } from './check.ts'
import { startPlugins } from './room.ts'
import { configureFixture, launchSpec as spec } from './testing/configure.ts'
import { fixtureManifest, packFixture } from './testing/package.ts'

const password = 'pass+canary/é'
const lines: string[] = []
const log = {
  debug: (_: object, line: string) => void lines.push(line),
  info: () => undefined,
  warn: (data: object) => void lines.push(JSON.stringify(data)),
  error: () => undefined,
}

let folder: TempFolder
let authority: Authority
let proxy: ConnectProxy
let site: TlsSite
const disposals: (() => unknown)[] = []
beforeEach(async (context) => {
  lines.length = 0
  await requireSystem(context, { name: 'openssl', probe: opensslProblem })
  folder = await tempFolder('plugin-network')
  disposals.push(() => folder.remove())
  authority = await makeAuthority(folder.path, 'mine')
  site = await startTlsSite('127.0.0.2', { ...(await authority.issue('site', ['IP:127.0.0.2'])), text: 'the vendor' })
  disposals.push(() => site[Symbol.asyncDispose]())
  proxy = await startProxy({ password })
  disposals.push(() => proxy[Symbol.asyncDispose]())
})
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
})

const at = (name: string): string => join(folder.path, name)

async function configured(network: object, net: string[] = ['*']): ReturnType<typeof configureFixture> {
  const manifest = { ...fixtureManifest, permissions: { ...fixtureManifest.permissions, net } }
  await packFixture(at('plugin'), { manifest })
  const vendor = `https://127.0.0.2:${site.port}/`
  return configureFixture({
    data: folder.path,
    folder: at('plugin'),
    providers: { p: { knobs: { vendor } } },
    host: `network: ${JSON.stringify(network)}`,
  })
}

async function start(network: object, net?: string[]): Promise<GuardedProvider> {
  const room = startPlugins({
    ...(await configured(network, net)),
    owner: 'me',
    fence: { epoch: () => 3, mayAct: () => true },
    log,
    random: () => 0.01,
  })
  disposals.push(() => room.stop())
  const provider = room.provider('p')
  await waitFor('the first start', async () => provider.status().state !== 'starting', { timeoutMs: 60_000 })
  return provider
}

const ask = (provider: GuardedProvider): Promise<unknown> =>
  provider.launch(spec, { idempotencyKey: 'k' }).then(
    ({ handle }) => handle.data,
    ({ code, message, hint }: { code: string; message: string; hint?: string }) => ({ code, message, hint }),
  )
const answered = { https: 'the vendor', fetch: 'the vendor' }

test('calls go through the proxy, and the password is in no environment, line or crash bundle', async () => {
  const provider = await start({ proxy: { file: at('proxy') }, ca: authority.file })
  // The first start found no file.
  expect(provider.status()).toMatchObject({ state: 'degraded', reason: expect.stringContaining('host.network.proxy') })
  await writeFile(at('proxy'), proxy.url)
  await waitFor('the next start', async () => provider.status().state === 'ready', { timeoutMs: 60_000 })
  expect(await ask(provider)).toEqual(answered)
  expect(proxy.tunnels).toEqual([`127.0.0.2:${site.port}`, `127.0.0.2:${site.port}`])
  const pid = provider.status().pid ?? 0
  expect((await readFile(`/proc/${pid}/environ`, 'utf8')).toLowerCase()).not.toMatch(/proxy|canary/)
  await proxy[Symbol.asyncDispose]()
  expect(await ask(provider)).toMatchObject({ message: expect.stringContaining('ECONNREFUSED') })
  const { crashBundle: before } = provider.status()
  process.kill(pid, 'SIGKILL')
  await waitFor('the crash bundle', async () => provider.status().crashBundle !== before, { timeoutMs: 60_000 })
  await rm(at('proxy'))
  const bundles = (await readdir(at('crashes'))).filter((name) => name.endsWith('.json'))
  expect(bundles.length).toBeGreaterThanOrEqual(2)
  const told = [...lines, ...(await Promise.all(bundles.map((name) => readFile(at(`crashes/${name}`), 'utf8'))))].join('\n')
  for (const form of ['canary', Buffer.from(`user:${password}`).toString('base64')]) expect(told).not.toContain(form)
})

test('hosts that are excepted, and loopback, are reached directly', async () => {
  const excepted = await start({ proxy: proxy.url, noProxy: ['127.0.0.2'], ca: authority.file })
  expect(await ask(excepted)).toEqual(answered)
  expect([proxy.tunnels, proxy.refused]).toEqual([[], []])
})

test('a proxy that refuses, and a server that nobody known has signed, are told as what they are', async () => {
  const refused = await start({ proxy: proxy.url.replace('canary', 'wrong'), ca: authority.file })
  expect(await ask(refused)).toMatchObject({ message: expect.stringMatching(/tunnel to 127\.0\.0\.2:\d+ .*407/) })
  expect(proxy.refused).toEqual([`127.0.0.2:${site.port}`])
  const other = await makeAuthority(folder.path, 'other')
  expect(await ask(await start({ proxy: proxy.url, ca: other.file }))).toEqual({
    code: 'auth',
    message: 'launch failed: the certificate of the server is not trusted (UNABLE_TO_VERIFY_LEAF_SIGNATURE)',
    hint: 'name the file of the authority that signed it in host.network.ca, or mend the certificate',
  })
})

test('a plugin that asks for no network but loopback is not told of it', async () => {
  const provider = await start({ proxy: proxy.url, ca: authority.file }, ['127.0.0.1:*'])
  expect(await ask(provider)).toMatchObject({ code: 'auth' })
  expect([proxy.tunnels, proxy.refused]).toEqual([[], []])
})

test('`muster check` says what is wrong where the plugin would be started', async () => {
  const { problems } = await checkPlugins(await configured({ proxy: { env: 'NETWORK_TEST_ABSENT' } }))
  expect(problems).toMatchObject([
    { reason: "the plugin of 'p' cannot start: host.network.proxy: the variable NETWORK_TEST_ABSENT is empty" },
  ])
})
