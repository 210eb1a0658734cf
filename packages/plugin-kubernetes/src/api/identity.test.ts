import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Authority, makeAuthority } from '@muster/test/systems/authority'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createAgents } from './agent.ts'
import { createIdentities, type Identity } from './identity.ts'
import { kubeconfig } from './server.test.helper.ts'

const never = new AbortController().signal
const SERVER = 'https://cluster.test:6443/'
let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-kubeconfig-'))
})
afterEach(() => rm(folder, { recursive: true }))

async function file(user: object, cluster: object = {}): Promise<string> {
  const path = join(folder, 'config')
  await writeFile(path, kubeconfig(SERVER, user, cluster))
  return path
}

/** A program that prints what it is given, and counts its calls. */
async function program(lines: string): Promise<string> {
  const path = join(folder, 'login')
  await writeFile(path, `#!/bin/sh\ncd "$(dirname "$0")"\necho x >> calls\n${lines}\n`)
  await chmod(path, 0o755)
  return path
}

test('a token file is read anew in time, and at once after a refusal', async () => {
  let now = 0
  const path = await file({ tokenFile: 'token' })
  await writeFile(join(folder, 'token'), 'one\n')
  const identities = createIdentities({ from: 'file', path }, { now: () => now })
  const token = async (): Promise<unknown> => (await identities.current(never)).headers['Authorization']
  expect(await token()).toBe('Bearer one')
  await writeFile(join(folder, 'token'), 'two')
  now = 29_999
  expect(await token()).toBe('Bearer one')
  now = 30_000
  expect(await token()).toBe('Bearer two')
  await writeFile(join(folder, 'token'), 'three')
  const refused = await identities.current(never)
  identities.refuse(refused)
  expect(await token()).toBe('Bearer three')
  // A second refusal of the same old one is no news.
  await writeFile(join(folder, 'token'), 'four')
  identities.refuse(refused)
  expect(await token()).toBe('Bearer three')
})

test('a program gives credentials: once for many who wait, again near their end and after a refusal', async () => {
  let now = 1_000_000
  const status = '{"token":"from-$PLACE","expirationTimestamp":"1970-01-01T01:00:00Z"}'
  await program(`echo "{\\"kind\\":\\"ExecCredential\\",\\"status\\":${status.replaceAll('"', '\\"')}}"`)
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: './login', env: [{ name: 'PLACE', value: 'here' }] }
  const identities = createIdentities({ from: 'file', path: await file({ exec }) }, { now: () => now })
  const calls = async (): Promise<number> => (await readFile(join(folder, 'calls'), 'utf8')).length / 2
  const all = await Promise.all([1, 2, 3].map(() => identities.current(never)))
  expect(all[0]?.headers['Authorization']).toBe('Bearer from-here')
  expect(await calls()).toBe(1)
  now = 3_539_999
  await identities.current(never)
  expect(await calls()).toBe(1)
  now = 3_540_000
  await identities.current(never)
  expect(await calls()).toBe(2)
})

test.each([
  ['fails', 'echo "no login" >&2; exit 1', /no login/],
  ['prints something else', 'echo hello', /did not print an ExecCredential/],
  ['gives nothing', 'echo \'{"status":{}}\'', /neither a token nor a certificate/],
])('a program that %s is a failure of authentication', async (_, lines, message) => {
  const identities = createIdentities({ from: 'file', path: await file({ exec: { command: await program(lines) } }) })
  await expect(identities.current(never)).rejects.toMatchObject({
    code: 'EXEC_CREDENTIAL',
    sent: false,
    message: expect.stringMatching(message),
  })
})

/** PEM. */
interface Pair {
  cert: string
  key: string
}

async function pair(authority: Authority, name: string): Promise<Pair> {
  const { cert, key } = await authority.issue(name, [])
  return { cert: await readFile(cert, 'utf8'), key: await readFile(key, 'utf8') }
}

async function put(parts: Partial<Pair>): Promise<void> {
  for (const [name, text] of Object.entries(parts)) await writeFile(join(folder, name), text)
}

test('a certificate without its own key is not used: the pair before goes on, the next is looked for each second, and what stays is told', async () => {
  let now = 0
  const authority = await makeAuthority(folder, 'cluster')
  const [one, two] = [await pair(authority, 'one'), await pair(authority, 'two')]
  const path = await file({ 'client-certificate': 'cert', 'client-key': 'key' })
  const identities = createIdentities({ from: 'file', path }, { now: () => now })
  const used = async (): Promise<Pair> => {
    const { cert, key } = (await identities.current(never)).tls
    return { cert: String(cert), key: String(key) }
  }
  // There is none to go on with.
  const torn = {
    code: 'BAD_KUBECONFIG',
    sent: false,
    message: expect.stringMatching(/^the certificate and key of the context/) as string,
  }
  await put({ cert: one.cert, key: two.key })
  await expect(used()).rejects.toMatchObject(torn)
  await put(one)
  expect(await used()).toEqual(one)
  for (const half of [{ cert: two.cert }, { cert: '' }, { cert: one.cert, key: two.key }]) {
    now += 30_000
    await put(half)
    expect(await used()).toEqual(one)
    now += 1000
    await put(one)
    expect(await used()).toEqual(one)
  }
  now += 30_000
  await rm(join(folder, 'key'))
  expect(await used()).toEqual(one)
  await put({ cert: two.cert, key: one.key })
  now += 29_999
  expect(await used()).toEqual(one)
  now += 1000
  await expect(used()).rejects.toMatchObject(torn)
  await put(two)
  expect(await used()).toEqual(two)
})

test('a certificate that was rotated means new connections; the same one does not', async () => {
  let now = 0
  const path = await file({ 'client-certificate': 'cert', 'client-key': 'key' })
  const authority = await makeAuthority(folder, 'cluster')
  const one = await pair(authority, 'one')
  await put(one)
  const identities = createIdentities({ from: 'file', path }, { now: () => now })
  const agents = createAgents()
  const first = await identities.current(never)
  expect(String(first.tls.cert)).toBe(one.cert)
  const agent = await agents.of(first)
  now += 30_000
  const again = await identities.current(never)
  expect(again).not.toBe(first)
  expect(await agents.of(again)).toBe(agent)
  const two = await pair(authority, 'two')
  await put(two)
  now += 30_000
  const rotated = await identities.current(never)
  expect(String(rotated.tls.cert)).toBe(two.cert)
  expect(await agents.of(rotated)).not.toBe(agent)
  expect(agent.maxFreeSockets).toBe(0)
  agents.close()
})

test('the service account of a pod', async () => {
  await writeFile(join(folder, 'token'), 'pod-token')
  await writeFile(join(folder, 'namespace'), 'workers')
  await writeFile(join(folder, 'ca.crt'), 'authority')
  const env = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' }
  const identity = await createIdentities({ from: 'pod', folder, env }).current(never)
  expect(identity.server.href).toBe('https://[fd00::1]/')
  expect(identity.namespace).toBe('workers')
  expect(identity.headers['Authorization']).toBe('Bearer pod-token')
  expect(String(identity.tls.ca)).toBe('authority')
  // The environment of a plugin is empty.
  const byName = await createIdentities({ from: 'pod', folder, env: {} }).current(never)
  expect(byName.server.href).toBe('https://kubernetes.default.svc/')
  const elsewhere = join(folder, 'none')
  await expect(createIdentities({ from: 'pod', folder: elsewhere, env }).current(never)).rejects.toThrow('in no pod')
})

const text = (document: string, context?: string): Promise<Identity> =>
  createIdentities({ from: 'text', text: async () => document, ...(context === undefined ? {} : { context }) }).current(never)

test.each<[string, [string, string?], RegExp]>([
  ['another context', [kubeconfig(SERVER, {}), 'other'], /no context 'other'/],
  ['an old provider', [kubeconfig(SERVER, { 'auth-provider': { name: 'gcp' } })], /"gcp" is not known any more/],
  ['no YAML', ['secret: ['], /not YAML$/],
  ['nothing', ['[]'], /no kubeconfig: look at its begin/],
  ['a cluster without a name', ['{"clusters":[{"cluster":{"password":"secret"}}]}'], /look at clusters.0.name/],
  ['plain HTTP to elsewhere', [kubeconfig('http://10.0.0.1:8080', { token: 'secret' })], /is not https/],
])('a kubeconfig with %s is refused without its secrets', async (_, given, message) => {
  const failure = await text(...given).catch((error: unknown) => error as Error)
  expect(failure).toMatchObject({ name: 'ApiFailure', sent: false })
  expect((failure as Error).message).toMatch(message)
  expect((failure as Error).message).not.toContain('secret')
})

test('whom it acts for is told: user, groups, uid', async () => {
  const { headers } = await text(
    kubeconfig(SERVER, { username: 'a', password: 'b', as: 'u', 'as-groups': ['g', 'h'], 'as-uid': '7' }),
  )
  expect(headers).toEqual({
    Authorization: `Basic ${Buffer.from('a:b').toString('base64')}`,
    'Impersonate-User': 'u',
    'Impersonate-Group': ['g', 'h'],
    'Impersonate-Uid': '7',
  })
})

test('the context that it began with stays, whatever is current later; another server under its name is refused', async () => {
  let now = 0
  const path = join(folder, 'config')
  const write = (current: string, server = SERVER): Promise<void> =>
    writeFile(
      path,
      JSON.stringify({
        clusters: [
          { name: 'one', cluster: { server } },
          { name: 'two', cluster: { server: 'https://other.test:6443/' } },
        ],
        users: [{ name: 'u', user: {} }],
        contexts: ['one', 'two'].map((name) => ({ name, context: { cluster: name, user: 'u', namespace: name } })),
        'current-context': current,
      }),
    )
  await write('one')
  const identities = createIdentities({ from: 'file', path }, { now: () => now })
  const place = async (): Promise<unknown> => {
    now += 60_000
    const { server, namespace } = await identities.current(never)
    return [server.href, namespace]
  }
  expect(await place()).toEqual([SERVER, 'one'])
  await write('two')
  expect(await place()).toEqual([SERVER, 'one'])
  await write('one', 'https://moved.test:6443/')
  await expect(place()).rejects.toMatchObject({
    code: 'BAD_KUBECONFIG',
    message: expect.stringContaining('moved.test') as string,
  })
})
