import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { requireSystem } from '@muster/test/require'
import { makeAuthority, opensslProblem } from '@muster/test/systems/authority'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { examine } from '../examine.ts'
import { plainManifest } from '../plugins/testing/manifest.ts'
import { diffConfig, type Written } from './diff.ts'
import { type NetworkSettings, reachesOut, readNetwork } from './network.ts'

let folder: TempFolder
beforeEach(async () => {
  folder = await tempFolder('network')
})
afterEach(() => folder.remove())

const at = (name: string): string => join(folder.path, name)
const readProxy = async (proxy: NonNullable<NetworkSettings['proxy']>): Promise<unknown> =>
  readNetwork({ proxy }).then(
    (found) => found.proxy,
    (error: Error) => error.message,
  )

/** Problems of a file with this `host.network`, as `muster check` prints them. */
async function problemsOf(network: string): Promise<string[]> {
  const file = at('muster.yaml')
  await writeFile(file, `host:\n  network:\n    ${network}\nproviders: {}\npools: {}\n`)
  await writeFile(at('plugins.json'), '{ "plugins": {} }')
  const { problems } = await examine(file, () => [at('store')])
  return problems.map(({ line, column, reason, fix }) => `${line}:${column} ${reason} (${fix})`)
}

test('a proxy is written down, or comes from a variable or a file; what is wrong with it never shows it', async () => {
  const address = 'http://us:canary@proxy.test:3128'
  await writeFile(at('proxy'), `${address}\n`)
  process.env['NETWORK_TEST_PROXY'] = address
  for (const proxy of [address, { env: 'NETWORK_TEST_PROXY' }, { file: at('proxy') }])
    expect(await readProxy(proxy)).toBe(address)
  process.env['NETWORK_TEST_PROXY'] = 'socks5://us:canary@proxy.test'
  expect(await readProxy({ env: 'NETWORK_TEST_PROXY' })).toBe(
    'the variable NETWORK_TEST_PROXY is not the http: or https: address of a proxy',
  )
  delete process.env['NETWORK_TEST_PROXY']
  expect(await readProxy({ env: 'NETWORK_TEST_PROXY' })).toBe('the variable NETWORK_TEST_PROXY is empty')
  expect(await readProxy('http://us:100%canary@proxy.test')).toBe('it has a % in its name or password that begins no code')
  expect(await readProxy({ file: at('nope') })).toBe(`${at('nope')} does not exist`)
  for (const wrong of ['us:canary@proxy', 'ftp://us:canary@proxy', 'http://us:canary@proxy/path']) {
    const [problem = ''] = await problemsOf(`proxy: "${wrong}"`)
    expect(problem).toMatch(/^3:12 'host\.network\.proxy': .*http:\/\/proxy\.example:3128/)
    expect(problem).not.toContain('canary')
  }
  expect(await problemsOf(`proxy: { env: NETWORK_TEST_PROXY }`)).toEqual([
    expect.stringMatching(/^3:12 the variable NETWORK_TEST_PROXY is empty \(write it as http/),
  ])
})

test('hosts without the proxy are hosts', async () => {
  const right = '["*", vendor.example, .example, "*.example", "10.0.0.7:443", "[2001:db8::7]"]'
  expect(await problemsOf(`noProxy: ${right}`)).toEqual([])
  for (const wrong of ['10.0.0.0/8', 'a,b', 'http://a', '2001:db8::7', ''])
    expect([wrong, await problemsOf(`noProxy: ["${wrong}"]`)]).toEqual([wrong, [expect.stringMatching(/^3:15 .*write a host/)]])
})

test('a file of authorities that cannot be used is said at its key; only certificates are taken from it', async (context) => {
  await requireSystem(context, { name: 'openssl', probe: opensslProblem })
  const authority = await makeAuthority(folder.path, 'a')
  const pem = await readFile(authority.file, 'utf8')
  const key = await readFile(authority.file.replace('.crt', '.key'), 'utf8')
  await writeFile(at('both.pem'), `text before\n${key}${pem}`)
  const { ca } = await readNetwork({ ca: at('both.pem') })
  expect(ca?.trim()).toBe(pem.trim())
  expect(await problemsOf('ca: both.pem')).toEqual([])
  await writeFile(at('key.pem'), key)
  await writeFile(at('broken.pem'), `${pem}${pem.replace(/^MI../m, 'AAAA')}`)
  await writeFile(at('large.pem'), pem.repeat(Math.ceil((600 * 1024) / pem.length)))
  for (const [file, reason] of [
    ['nope.pem', 'does not exist'],
    ['.', 'cannot be read: EISDIR'],
    ['key.pem', 'has no certificate in PEM form'],
    ['broken.pem', 'cannot be read'],
    ['large.pem', 'bytes of certificates, more than 524288'],
  ] as const)
    expect([file, await problemsOf(`ca: ${file}`)]).toEqual([
      file,
      [expect.stringMatching(new RegExp(`^3:9 .*${reason} \\(name a`))],
    ])
})

test('only a plugin that asks for more than loopback is told', () => {
  const { permissions } = plainManifest('p')
  const asks = (...net: string[]): boolean => reachesOut({ permissions: { ...permissions, net } })
  for (const net of [[], ['127.0.0.1:*'], ['localhost:80', '[::1]:443']]) expect([net, asks(...net)]).toEqual([net, false])
  for (const net of [['*'], ['127.0.0.1:*', 'vendor.example:443'], ['[2001:db8::7]:443']])
    expect([net, asks(...net)]).toEqual([net, true])
})

test('what differs is shown without the password', () => {
  const changes = diffConfig(written({ proxy: 'http://a:canary@b' }), written({ proxy: 'http://a:canary2@b' }))
  expect(changes).toMatchObject([{ path: 'host.network.proxy' }])
  expect(JSON.stringify(changes)).not.toContain('canary')
})

const written = (network: object | undefined, host: object = {}): Written => ({
  file: { host: { ...host, ...(network === undefined ? {} : { network }) } },
  plugins: {},
})

test('another one is told to new processes of plugins; what sends traces needs a restart for it, and that is said', () => {
  const [one, two] = [{ noProxy: ['a.example'] }, { noProxy: ['b.example'], ca: 'ca.pem' }]
  for (const [before, after] of [
    [one, two],
    [undefined, one],
    [one, undefined],
  ]) {
    const changes = diffConfig(written(before), written(after))
    expect(changes.map(({ effect, restart }) => [effect.slice(0, 13), restart])).toEqual(
      changes.map(() => ['new processes', undefined]),
    )
    expect(changes.length).toBeGreaterThan(0)
    const host = { telemetry: { otlp: { url: 'http://127.0.0.1:4318' } } }
    for (const change of diffConfig(written(before, host), written(after, host)))
      expect(change).toMatchObject({ restart: true, effect: 'needs a restart of the daemon' })
  }
})
