/** What is said of a daemon whose certificate, or whose lack of one, ends the connection. */
import { makeAuthority, opensslProblem, startTlsSite } from '@muster/test/systems/authority'
import { requireSystem } from '@muster/test/require'
import { tempFolder } from '@muster/test/systems/temp'
import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { connect } from './client.ts'
import { startServer } from './serve.test.helper.ts'

const PATIENCE_MS = 1

test('each doubt about a certificate says what is wrong and what mends it, without a stack', async (context) => {
  await requireSystem(context, { name: 'openssl', probe: opensslProblem })
  const folder = await tempFolder('trust')
  try {
    const authority = await makeAuthority(folder.path, 'known')
    const issued = await authority.issue('daemon', ['DNS:elsewhere.test'])
    const alone = await makeAuthority(folder.path, 'alone')
    const ca = await readFile(authority.file, 'utf8')
    const site = { text: '{}' }
    await using named = await startTlsSite('127.0.0.1', { ...site, ...issued })
    await using own = await startTlsSite('127.0.0.1', { ...site, cert: alone.file, key: alone.key })
    const asked = async (scheme: string, port: number, more: object = {}): Promise<unknown> =>
      connect({ url: `${scheme}://127.0.0.1:${port}`, ...more }, { patienceMs: PATIENCE_MS }).version()
    await expect(asked('https', named.port)).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringContaining('who signed its certificate is not known here'),
      hint: expect.stringContaining('MUSTER_CA'),
    })
    await expect(asked('https', own.port)).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringContaining('signed by nobody who is known here'),
      hint: expect.stringContaining('MUSTER_CA'),
    })
    await expect(asked('https', named.port, { ca })).rejects.toMatchObject({
      code: 'unreachable',
      hint: expect.stringContaining('MUSTER_URL'),
    })
    await expect(asked('http', named.port)).rejects.toMatchObject({
      code: 'unreachable',
      hint: expect.stringContaining('https://'),
    })
  } finally {
    await folder.remove()
  }
})

test('TLS to one that listens in clear says so', async () => {
  await using server = await startServer((_request, response) => void response.end())
  await expect(
    connect({ url: server.url.replace('http:', 'https:') }, { patienceMs: PATIENCE_MS }).version(),
  ).rejects.toMatchObject({ code: 'unreachable', hint: expect.stringContaining('http://') })
})
