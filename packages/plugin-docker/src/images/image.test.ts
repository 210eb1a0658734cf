import { Readable } from 'node:stream'
import { tempFolder } from '@muster/test/systems/temp'
import { describe, expect, test } from 'vitest'
import type { Engine } from '../client.ts'
import { inCall } from '../engine/current.ts'
import { callOf } from '../testing/harness.test.helper.ts'
import { EngineFailure } from '../errors.ts'
import { createLedger, type ImageLedger } from './ledger.ts'
import { imageRulesOf, type ImagesConfig } from './image-rules.ts'
import { createProgress, createPuller, messages, type Puller } from './image.ts'

async function* lines(...values: object[]): AsyncGenerator<Buffer> {
  for (const value of values) yield Buffer.from(`${JSON.stringify(value)}\n`)
}

/** An engine whose pulls end when the test says so. */
function pullingEngine() {
  const pulls: { query: object; headers: object | undefined; body: Readable; signal: AbortSignal }[] = []
  const asked: string[] = []
  /** By name. */
  const ids = new Map<string, string>()
  /** Methods for which the engine has no such image. */
  const refused = new Set<string>()
  const engine = {
    json: async ({ method, path, query = {} }: { method: string; path: string; query?: object }) => {
      const [, name = ''] = /^\/images\/(.*)\/json$/.exec(path) ?? []
      if (name === '') asked.push(`${method} ${path} ${JSON.stringify(query)}`)
      if (refused.has(method)) throw new EngineFailure('No such image', { status: 404, sent: true })
      if (name === '') return undefined
      const id = ids.get(name)
      if (id === undefined) throw new EngineFailure('No such image', { status: 404, sent: true })
      return { Id: id }
    },
    stream: async ({ query = {}, headers, signal }: { query?: object; headers?: object; signal: AbortSignal }) => {
      const body = new Readable({ read() {} })
      signal.addEventListener('abort', () => body.destroy(new Error('aborted')))
      pulls.push({ query, headers, body, signal })
      return body
    },
  } as unknown as Engine
  return { engine, pulls, asked, ids, refused }
}

function pullerOf(engine: Engine, more: { images?: ImagesConfig; ledger?: ImageLedger; now?: () => number } = {}): Puller {
  const { images = {}, ledger = createLedger(undefined, () => {}), now = Date.now } = more
  return createPuller({ engine, ledger, rules: imageRulesOf(images), now })
}

/** What was begun has come as far as it does without an answer. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const ended = (body: Readable): void => void body.push(null)

test('a pull that fails after status 200 is found', async () => {
  await expect(
    Array.fromAsync(messages(lines({ status: 'x' }, { errorDetail: { message: 'deep' }, error: 'flat' }))),
  ).rejects.toThrow('deep')
  await expect(Array.fromAsync(messages(lines({ error: 'flat' })))).rejects.toThrow('flat')
  expect(await Array.fromAsync(messages(lines({ status: 'a' }, { status: 'b' })))).toHaveLength(2)
})

test('progress is the sum over layers', () => {
  const progress = createProgress()
  progress.add({ id: 'a', status: 'Downloading', progressDetail: { current: 10, total: 100 } })
  progress.add({ id: 'b', status: 'Downloading', progressDetail: { total: 50 } })
  progress.add({ id: 'a', status: 'Downloading', progressDetail: { current: 90, total: 100 } })
  progress.add({ id: 'a', status: 'Extracting', progressDetail: { current: 1, total: 2 } })
  progress.add({ status: 'Pulling from x' })
  expect(progress.sum()).toEqual({ bytes: 90, totalBytes: 150, layers: 2 })
})

test('one flight for all who wait, one for each platform; a later pull is a new one', async () => {
  const { engine, pulls } = pullingEngine()
  const puller = pullerOf(engine)
  const all = [
    puller.pull({ image: 'x' }, callOf()),
    puller.pull({ image: 'x' }, callOf()),
    puller.pull({ image: 'x', platform: 'linux/arm64' }, callOf()),
  ]
  await turn()
  expect(pulls.map(({ query }) => query)).toEqual([
    { fromImage: 'x', tag: 'latest', platform: undefined },
    { fromImage: 'x', tag: 'latest', platform: 'linux/arm64' },
  ])
  for (const { body } of pulls) ended(body)
  await Promise.all(all)
  const again = puller.pull({ image: 'x' }, callOf())
  await turn()
  ended(pulls[2]!.body)
  await again
})

test('a flight goes on while one waits, and is given up with the last', async () => {
  const { engine, pulls } = pullingEngine()
  const puller = pullerOf(engine)
  const [first, second] = [new AbortController(), new AbortController()]
  const waits = [first, second].map(({ signal }) => puller.pull({ image: 'x' }, callOf({ signal })))
  await turn()
  first.abort()
  await expect(waits[0]).rejects.toMatchObject({ name: 'AbortError' })
  expect(pulls[0]!.signal.aborted).toBe(false)
  second.abort()
  await expect(waits[1]).rejects.toMatchObject({ name: 'AbortError' })
  expect(pulls[0]!.signal.aborted).toBe(true)
})

test('progress is told every two seconds, not every time', async () => {
  const { engine, pulls } = pullingEngine()
  let now = 0
  const told: string[] = []
  const done = pullerOf(engine, { now: () => now }).pull({ image: 'x' }, callOf({ log: (line) => told.push(line) }))
  await turn()
  for (now = 0; now <= 4_000; now += 500) {
    pulls[0]!.body.push(`${JSON.stringify({ id: 'a', status: 'Downloading', progressDetail: { current: now, total: 4_000 } })}\n`)
    await new Promise((resolve) => setImmediate(resolve))
  }
  ended(pulls[0]!.body)
  await done
  expect(told).toEqual([
    'pulling an image {"image":"x","bytes":2000,"totalBytes":4000,"layers":1}',
    'pulling an image {"image":"x","bytes":4000,"totalBytes":4000,"layers":1}',
  ])
})

test('one whose time is up leaves the pull at work, for the next one to join', async () => {
  const { engine, pulls } = pullingEngine()
  const puller = pullerOf(engine)
  const late = AbortSignal.abort(new DOMException('late', 'TimeoutError'))
  const first = new AbortController()
  const waiting = puller.pull({ image: 'x' }, callOf({ signal: first.signal }))
  await turn()
  first.abort(late.reason)
  await expect(waiting).rejects.toMatchObject({ name: 'TimeoutError' })
  expect(pulls[0]!.signal.aborted).toBe(false)
  const again = puller.pull({ image: 'x' }, callOf())
  ended(pulls[0]!.body)
  await again
  expect(pulls).toHaveLength(1)
})

test('a pull has a time of its own', async () => {
  const { engine } = pullingEngine()
  const failure = { code: 'deadline', effect: 'none', path: 'image', message: expect.stringContaining('within 0 s') as string }
  await expect(pullerOf(engine, { images: { pullWithin: '0s' } }).pull({ image: 'x' }, callOf())).rejects.toMatchObject(failure)
})

test('what came from a mirror gets the name that was asked for; a digest keeps the place it came from', async () => {
  const { engine, pulls, asked } = pullingEngine()
  const puller = pullerOf(engine, { images: { mirrors: { 'docker.io': 'mirror.test:5000/hub' } } })
  const pulled = [puller.pull({ image: 'busybox' }, callOf()), puller.pull({ image: 'a/b@sha256:ab' }, callOf())]
  await turn()
  expect(pulls.map(({ query }) => query)).toMatchObject([
    { fromImage: 'mirror.test:5000/hub/library/busybox', tag: 'latest' },
    { fromImage: 'mirror.test:5000/hub/a/b', tag: 'sha256:ab' },
  ])
  for (const { body } of pulls) ended(body)
  await Promise.all(pulled)
  expect(asked).toEqual([
    'POST /images/mirror.test:5000/hub/library/busybox:latest/tag {"repo":"busybox","tag":"latest"}',
    'DELETE /images/mirror.test:5000/hub/library/busybox:latest {"noprune":true}',
  ])
  expect(puller.nameHere('busybox')).toBe('busybox')
  expect(puller.nameHere('a/b@sha256:ab')).toBe('mirror.test:5000/hub/a/b@sha256:ab')
})

describe('of a mirror', () => {
  const mirrors = { 'docker.io': 'mirror.test' }
  const source = 'mirror.test/library/busybox:latest'
  const pulled = async (parts: ReturnType<typeof pullingEngine>, ledger?: ImageLedger): Promise<string[]> => {
    const puller = pullerOf(parts.engine, { images: { mirrors }, ...(ledger === undefined ? {} : { ledger }) })
    const pulling = puller.pull({ image: 'busybox' }, callOf())
    await turn()
    parts.pulls[0]!.body.push(null)
    await pulling
    return parts.asked.map((line) => line.split(' ')[0] ?? '')
  }

  test('a name that was there before, or that we pulled as such, stays', async () => {
    const there = pullingEngine()
    there.ids.set(source, 'id-1')
    expect(await pulled(there)).toEqual(['POST'])
    const ours = { all: () => Promise.resolve(new Map([[source, { id: 'x', usedAt: 1 }]])), add: () => Promise.resolve() }
    expect(await pulled(pullingEngine(), ours as unknown as ImageLedger)).toEqual(['POST'])
  })

  test('one that another process has renamed or removed meanwhile is no trouble, if its content is there', async () => {
    const renamed = pullingEngine()
    renamed.ids.set('busybox', 'id-1')
    renamed.refused.add('POST').add('DELETE')
    expect(await pulled(renamed)).toEqual(['POST', 'DELETE'])
    const removed = pullingEngine()
    removed.refused.add('DELETE')
    expect(await pulled(removed)).toEqual(['POST', 'DELETE'])
    const lost = pullingEngine()
    lost.refused.add('POST')
    await expect(pulled(lost)).rejects.toMatchObject({ status: 404 })
  })
})

test('an image that was there before is not ours; one that was not, is, also after a newer pull', async () => {
  const { engine, pulls, ids } = pullingEngine()
  await using folder = await tempFolder('ledger')
  const ledger = createLedger(folder.path, () => {})
  const puller = pullerOf(engine, { ledger, now: () => 7 })
  const pull = async (image: string, id: string): Promise<void> => {
    const pulled = puller.pull({ image }, callOf())
    await turn()
    ids.set(image, id)
    ended(pulls.at(-1)!.body)
    await pulled
  }
  ids.set('theirs', 'id-1')
  await pull('theirs', 'id-2')
  await pull('ours', 'id-3')
  await pull('ours', 'id-4')
  const own = [['docker.io/library/ours:latest', { id: 'id-4', usedAt: 7 }]]
  expect([...(await ledger.all())]).toEqual(own)
  expect([...(await createLedger(folder.path, () => {}).all())]).toEqual(own)
})

test('a login goes to its registry only; one that is refused is read anew, once', async () => {
  const { engine, pulls } = pullingEngine()
  const puller = pullerOf(engine, { images: { logins: ['r.test'] } })
  const login = (password: string): string => JSON.stringify({ auths: { 'r.test': { username: 'u', password } } })
  const headers = (): unknown[] => pulls.map((one) => (one.headers as Record<string, string>)['X-Registry-Auth'])
  const call = callOf()
  const secrets = ['old', 'new'].map((value) => ({ value: login(value), version: value }))
  const asked: unknown[] = []
  const secret = (name: string, options?: { refused?: string }) => {
    asked.push([name, options?.refused])
    return Promise.resolve(secrets[options?.refused === 'old' ? 1 : 0]!)
  }
  const pulled = inCall({ ...call, secret }, () => puller.pull({ image: 'r.test/x' }, call))
  await turn()
  pulls[0]!.body.push(`${JSON.stringify({ error: 'unauthorized: authentication required' })}\n`)
  ended(pulls[0]!.body)
  await turn()
  await turn()
  ended(pulls[1]!.body)
  await pulled
  expect(asked).toEqual([
    ['registry-logins', undefined],
    ['registry-logins', 'old'],
  ])
  const sent = headers().map((header) => JSON.parse(Buffer.from(String(header), 'base64').toString()) as object)
  expect(sent).toMatchObject([{ password: 'old' }, { password: 'new', username: 'u', serveraddress: 'r.test' }])
  const other = puller.pull({ image: 'other.test/x' }, call)
  await turn()
  ended(pulls[2]!.body)
  await other
  expect(headers()[2]).toBeUndefined()
})
