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

/** Sends a beginning and no end, and what is answered to that. */
function begin(daemon: TestDaemon, given: { method: string; path: string; type: string }): Promise<[number, string]> {
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
  })
}

test('what a provider refuses while the body comes is answered as a problem', async () => {
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
  expect(await begin(daemon, files)).toEqual([400, 'invalid-request'])
  const port = { method: 'POST', path: `/v1/workers/${worker}/forward/80`, type: 'application/vnd.muster.tcp' }
  expect(await begin(daemon, port)).toEqual([400, 'invalid-request'])
})
