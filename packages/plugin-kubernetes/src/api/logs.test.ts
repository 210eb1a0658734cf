import type { V1ContainerState } from '@kubernetes/client-node/dist/gen/models/V1ContainerState.js'
import { expect, test } from 'vitest'
import type { LogPart } from './log-position.ts'
import { followLog } from './logs.ts'
import { type Answer, drop, json, refuse, seen, startServer, stream, type TestServer } from './server.test.helper.ts'

const BEGIN = Date.parse('2026-01-01T00:00:00Z')
/** Each start of a container has times of its own. */
const timeOf = (at: number, start: number): number => BEGIN + start * 60_000 + at * 100
const line = (at: number, start: number): string =>
  `${new Date(timeOf(at, start)).toISOString().replace('Z', '000000Z')} line ${at}\n`
const expected = (from: number, to: number): string =>
  Array.from({ length: to - from + 1 }, (_, at) => `line ${from + at}\n`).join('')

interface Container {
  state: V1ContainerState
  restarts: number
  policy: string
  /** Lines written so far, of the current start; of the one before, where it is still there. */
  written: number
  before?: number
}

/** A kubelet with one container: faults answer the first requests for its log, after them it serves the file by time. */
async function kubelet(container: Container, faults: readonly Answer[]): Promise<TestServer & { asked: URL[] }> {
  const asked: URL[] = []
  const server = await startServer([
    (request, response, url) => {
      if (!url.pathname.endsWith('/log')) {
        const { state, restarts: restartCount, policy: restartPolicy } = container
        const status = { phase: 'Running', containerStatuses: [{ name: 'main', state, restartCount }] }
        return json({ spec: { restartPolicy }, status })(request, response, url)
      }
      asked.push(url)
      const fault = faults[asked.length - 1]
      return (fault ?? serve(container))(request, response, url)
    },
  ])
  return Object.assign(server, { asked })
}

function serve(container: Container, end: 'end' | 'drop' | 'hang' = 'end', cut = Infinity): Answer {
  return (request, response, url) => {
    const since = Date.parse(url.searchParams.get('sinceTime') ?? '2000-01-01T00:00:00Z')
    const previous = url.searchParams.get('previous') === 'true'
    const start = container.restarts - (previous ? 1 : 0)
    const count = previous ? (container.before ?? 0) : container.written
    const lines = Array.from({ length: count }, (_, at) => at + 1).filter((at) => timeOf(at, start) >= since)
    const text = lines
      .map((at) => line(at, start))
      .join('')
      .slice(0, cut)
    stream([text], end)(request, response, url)
  }
}

const running = { running: {} }
const ended = { terminated: { exitCode: 0 } }
const one = (more: Partial<Container> = {}): Container => ({ state: ended, restarts: 0, policy: 'Never', written: 100, ...more })

async function read(server: TestServer, quietMs = 60_000): Promise<LogPart[]> {
  const parts: LogPart[] = []
  const options = { follow: true, signal: new AbortController().signal, quietMs, backOff: { firstMs: 1, mostMs: 5 } }
  for await (const part of followLog(server.requests, { namespace: 'n', pod: 'p', container: 'main' }, options)) parts.push(part)
  return parts
}

const textOf = (parts: readonly LogPart[]): string => Buffer.concat(parts.map(({ bytes }) => bytes)).toString()

test('a connection that is dropped, reset in a line, refused or ended too soon loses no byte and doubles none', async () => {
  const container = one()
  const faults: Answer[] = [
    serve(container, 'drop', 1234),
    drop,
    refuse(503, { retryAfter: 0 }),
    serve(container, 'drop', 40),
    refuse(500),
    // Ends in order, though there is more: a kubelet that goes.
    serve(container, 'end', 900),
  ]
  container.state = running
  await using server = await kubelet(container, faults)
  const reading = read(server)
  await seen(() => expect(server.asked.length).toBeGreaterThan(faults.length))
  container.state = ended
  const parts = await reading
  expect(textOf(parts)).toBe(expected(1, 100))
  expect(parts.some(({ gap }) => gap)).toBe(false)
})

test('silence is no end: the connection is opened again, and what was written meanwhile comes', async () => {
  const container = one({ state: running, written: 10 })
  const faults = [serve(container, 'hang'), serve(container, 'hang')]
  await using server = await kubelet(container, faults)
  const reading = read(server, 30)
  await seen(() => expect(server.asked.length).toBeGreaterThan(1))
  container.written = 20
  container.state = ended
  expect(textOf(await reading)).toBe(expected(1, 20))
})

test('an image on its way is waited for', async () => {
  const container = one({ state: { waiting: { reason: 'ContainerCreating' } } })
  await using server = await kubelet(container, [])
  const reading = read(server)
  await seen(() => expect(server.seen.length).toBeGreaterThan(1))
  expect(server.asked).toHaveLength(0)
  container.state = ended
  expect(textOf(await reading)).toBe(expected(1, 100))
})

test('a start of the container that came meanwhile: the rest of the one before, then its own', async () => {
  const container = one({ policy: 'OnFailure', state: running, written: 5 })
  await using server = await kubelet(container, [serve(container, 'drop', 70)])
  const reading = read(server)
  await seen(() => expect(server.asked.length).toBeGreaterThan(0))
  Object.assign(container, { before: 8, written: 3, restarts: 1, state: ended })
  expect(textOf(await reading)).toBe(expected(1, 8) + expected(1, 3))
})

test('starts that came and went between two looks are told as a gap', async () => {
  const container = one({ policy: 'OnFailure', state: running, written: 5 })
  await using server = await kubelet(container, [serve(container, 'drop')])
  const reading = read(server)
  await seen(() => expect(server.asked.length).toBeGreaterThan(0))
  Object.assign(container, { before: 2, written: 3, restarts: 7, state: ended })
  const parts = await reading
  expect(textOf(parts)).toMatch(/^(?:line [1-5]\n)*line 1\nline 2\nline 1\nline 2\nline 3\n$/)
  expect(textOf(parts.slice(parts.findLastIndex(({ gap }) => gap)))).toBe(expected(1, 2) + expected(1, 3))
})

test.each<[string, Answer, object]>([
  ['is refused', refuse(403), { status: 403 }],
  ['of a pod that is gone', refuse(404), { status: 404 }],
  ['that a kubelet has no more', stream(['unable to retrieve container logs for containerd://a'], 'end'), { code: 'NO_LOG' }],
])('a log that %s fails', async (_, fault, failure) => {
  await using server = await kubelet(
    one(),
    Array.from({ length: 20 }, () => fault),
  )
  await expect(read(server)).rejects.toMatchObject({ name: 'ApiFailure', ...failure })
})

test('a container that ended before it began has no log, and nobody waits for one', async () => {
  const container = one({ state: { terminated: { exitCode: 128, reason: 'ContainerCannotRun' } } })
  const words = 'container "main" in pod "p" is waiting to start: PodInitializing'
  await using server = await kubelet(
    container,
    Array.from({ length: 20 }, () => refuse(400, { message: words })),
  )
  expect(textOf(await read(server))).toBe('')
})

test('no part is larger than a message of the contract may be', async () => {
  const container = one({ written: 20_000 })
  await using server = await kubelet(container, [
    (_request, response) =>
      void response.end(`${new Date(BEGIN).toISOString().replace('Z', '000000Z')} ${'x'.repeat(300_000)}\n`),
  ])
  const long = await read(server)
  expect(textOf(long)).toBe(`${'x'.repeat(300_000)}\n`)
  await using other = await kubelet(container, [])
  const many = await read(other)
  expect(textOf(many)).toBe(expected(1, 20_000))
  for (const { bytes } of [...long, ...many]) expect(bytes.length).toBeLessThanOrEqual(65_536)
})
