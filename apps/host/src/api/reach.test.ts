/** Into a worker over the API, when it goes wrong while the body still comes. */
import { request } from 'node:http'
import { ProviderError } from '@muster/core'
import { expect, test } from 'vitest'
import { startTestDaemon, type TestDaemon } from './testing/daemon.ts'

async function leasedWorker(daemon: TestDaemon): Promise<string> {
  const { json } = await daemon.ask('POST', '/v1/leases', { body: { pool: 'ci' } })
  await daemon.harness.pass(100)
  const { worker } = (await daemon.ask('GET', `/v1/leases/${json['id'] as string}`)).json as { worker: { id: string } }
  return worker.id
}

/** Sends a beginning, and no end where it is not `whole`, and what is answered to that. */
function begin(
  daemon: TestDaemon,
  given: { method: string; path: string; type: string; whole?: true },
): Promise<[number, string]> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${daemon.token}`, 'content-type': given.type }
    const asked = request(`${daemon.api.url}${given.path}`, { method: given.method, headers, agent: false }, (answer) => {
      let text = ''
      answer.on('data', (chunk: Buffer) => (text += chunk.toString()))
      answer.on('error', reject)
      answer.on('end', () => {
        asked.destroy()
        resolve([answer.statusCode ?? 0, (JSON.parse(text) as { code: string }).code])
      })
    })
    asked.on('error', reject)
    asked.write(Buffer.alloc(1024))
    if (given.whole === true) asked.end()
  })
}

test('what cannot be read to its end is told in the last frame; as a plain tar it is cut off', async () => {
  await using daemon = await startTestDaemon()
  const worker = await leasedWorker(daemon)
  let fails = true
  Object.assign(daemon.harness.provider(), {
    async *copyOut() {
      yield Buffer.from('the tar')
      if (fails) throw new ProviderError('invalid-spec', 'cannot read x: secret: Permission denied')
    },
  })
  const get = (accept: string): Promise<Response> =>
    fetch(`${daemon.api.url}/v1/workers/${worker}/files?path=x`, { headers: { authorization: `Bearer ${daemon.token}`, accept } })
  const framed = async (): Promise<[string | null, string, unknown]> => {
    const answer = await get('application/vnd.muster.tar, application/x-tar;q=0.5')
    const body = Buffer.from(await answer.arrayBuffer())
    const length = body.readUInt32BE()
    expect(body.readUInt32BE(4 + length)).toBe(0)
    const end = JSON.parse(body.subarray(8 + length).toString()) as unknown
    return [answer.headers.get('content-type'), body.subarray(4, 4 + length).toString(), end]
  }
  const problem = { code: 'invalid-request', status: 400, detail: 'cannot read x: secret: Permission denied' }
  expect(await framed()).toEqual([
    'application/vnd.muster.tar',
    'the tar',
    { problem: expect.objectContaining(problem) as unknown },
  ])
  await expect(get('application/x-tar').then((answer) => answer.arrayBuffer())).rejects.toThrow('terminated')
  fails = false
  expect(await framed()).toEqual(['application/vnd.muster.tar', 'the tar', {}])
  const plain = await get('*/*')
  expect([plain.headers.get('content-type'), await plain.text()]).toEqual(['application/x-tar', 'the tar'])
})

test('what a provider refuses of a body is answered as a problem, of a stream also while it comes', async () => {
  await using daemon = await startTestDaemon()
  const worker = await leasedWorker(daemon)
  const refuse = async (input: AsyncIterable<Uint8Array>): Promise<never> => {
    for await (const _first of input) break
    throw new ProviderError('invalid-spec', 'cannot unpack the tar: Permission denied')
  }
  Object.assign(daemon.harness.provider(), {
    copyIn: async (_target: unknown, { tar }: { tar: AsyncIterable<Uint8Array> }) => refuse(tar),
    forward: async (_target: unknown, { input }: { input: AsyncIterable<Uint8Array> }) => refuse(input),
  })
  const files = { method: 'PUT', path: `/v1/workers/${worker}/files?path=x`, type: 'application/x-tar' }
  // It goes to the worker once all of it has come.
  expect(await begin(daemon, { ...files, whole: true })).toEqual([400, 'invalid-request'])
  const port = { method: 'POST', path: `/v1/workers/${worker}/forward/80`, type: 'application/vnd.muster.tcp' }
  expect(await begin(daemon, port)).toEqual([400, 'invalid-request'])
})
