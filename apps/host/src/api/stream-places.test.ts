import { type ClientRequest, get } from 'node:http'
import { afterEach, expect, test } from 'vitest'
import { startTestDaemon, type TestDaemon } from './testing/daemon.ts'

const open: ClientRequest[] = []
afterEach(() => {
  for (const one of open.splice(0)) one.destroy()
})

/** Opens streams one after the other; how many were let in, and what the first that was not was told. */
async function follow(
  daemon: TestDaemon,
  { times, token, socket }: { times: number; token?: string; socket?: string },
): Promise<{ got: number; told?: string }> {
  let got = 0
  for (let n = 0; n < times; n++) {
    const { status, text } = await new Promise<{ status?: number | undefined; text: string }>((resolve, reject) => {
      const where = socket === undefined ? { host: '127.0.0.1', port: new URL(daemon.api.url).port } : { socketPath: socket }
      const headers = { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), host: 'localhost' }
      const asked = get({ ...where, path: '/v1/events', headers, agent: false }, (answer) => {
        answer.on('error', () => undefined)
        if (answer.statusCode === 200) return resolve({ status: 200, text: '' })
        void answer
          .toArray()
          .then((all) => resolve({ status: answer.statusCode, text: Buffer.concat(all as Buffer[]).toString() }))
      })
      open.push(asked.on('error', reject))
    })
    if (status !== 200) return { got, told: (JSON.parse(text) as { detail: string }).detail }
    got += 1
  }
  return { got }
}

test('a caller has no more streams than are free: the next one finds some, and the unix socket has its own', async () => {
  // Of 256 files: 38 streams over TCP, and 9 for the socket.
  await using daemon = await startTestDaemon({ openFiles: 256 })
  const make = async (name: string): Promise<string> =>
    (await daemon.ask('POST', '/v1/tokens', { body: { name, role: 'viewer' } })).json['token'] as string
  const [greedy, next, last] = [await make('greedy'), await make('next'), await make('last')]
  expect(await follow(daemon, { times: 40, token: greedy })).toEqual({
    got: 19,
    told: 'token:greedy has 19 streams open, and 19 are left for all others',
  })
  expect(await follow(daemon, { times: 40, token: next })).toMatchObject({ got: 10 })
  expect(await follow(daemon, { times: 40, token: last })).toMatchObject({ got: 5 })
  const socket = daemon.api.socket ?? ''
  // Those and what is free over TCP.
  expect(await follow(daemon, { times: 20, socket })).toEqual({ got: 13, told: '47 streams are open already' })
  expect(await follow(daemon, { times: 1, token: await make('late') })).toEqual({ got: 0, told: '47 streams are open already' })
  const places = daemon.api.streams()
  expect(places).toBe(47)
})
