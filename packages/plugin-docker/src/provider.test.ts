import { PassThrough, Readable } from 'node:stream'
import type { WorkerObservation } from '@muster/core'
import { describe, expect, test } from 'vitest'
import type { Engine, EngineRequest } from './client.ts'
import { EngineFailure } from './errors.ts'
import { callOf } from './testing/harness.test.helper.ts'
import { label } from './labels.ts'
import { type DockerProvider, dockerProvider } from './provider.ts'

const owner = { 'muster-owner': 'o', 'muster-provider': 'docker' }
const tagsFor = (id: string) => ({ ...owner, 'muster-pool': 'p', 'muster-worker': id, 'muster-epoch': '1' })
const idOf = (number: number): string => `w${String(number).padStart(26, '0')}`

interface FakeContainer {
  id: string
  state: string
  code?: number
  /** Its memory limit, and whether the engine's events tell of a kill for it. */
  memory?: number
  killed?: boolean
}

/** An engine of the few answers that these tests need; `asked` has every request. */
function fakeEngine(containers: FakeContainer[]) {
  const asked: string[] = []
  const events = new PassThrough()
  const inspected = ({ id, state, code = 0, memory = 0 }: FakeContainer): object => ({
    Id: `c-${id}`,
    State: {
      Status: state,
      Running: state === 'running',
      ExitCode: code,
      OOMKilled: false,
      Error: '',
      StartedAt: '2025-12-31T23:00:00.5Z',
      // Year 1: never yet.
      FinishedAt: state !== 'exited' ? '0001-01-01T00:00:00Z' : memory === 0 ? '2026-01-01T00:00:00Z' : '2026-07-01T00:00:00.9Z',
    },
    HostConfig: { Memory: memory },
    Config: { Labels: tagsFor(id) },
  })
  const answers = async ({ method, path, query }: EngineRequest): Promise<unknown> => {
    // What workers have beside their containers: nothing.
    if (path === '/volumes') return { Volumes: null }
    if (path === '/networks' || JSON.stringify(query ?? {}).includes('muster-part')) return []
    asked.push(`${method} ${path}`)
    if (path === '/containers/json')
      return containers.map(({ id, state }) => ({
        Id: `c-${id}`,
        Names: [`/muster-${id}`],
        State: state,
        Labels: { ...tagsFor(id), [label.cpu]: '250000000' },
      }))
    if (path === '/networks/bridge') return { Created: '2026-06-01T00:00:00Z' }
    const id = /muster-(w\d+)/.exec(path)?.[1]
    const found = containers.find((container) => container.id === id)
    if (found === undefined) throw new EngineFailure('No such container', { status: 404, sent: true })
    return method === 'GET' ? inspected(found) : undefined
  }
  const agreed = { api: '1.41', theirs: {} }
  const engine = {
    json: answers,
    stream: async ({ query }: EngineRequest) => {
      const { container: [id] = [], event: [kind] = [] } = (query?.['filters'] ?? {}) as Record<string, string[] | undefined>
      if (id === undefined) return events
      asked.push(`${kind} events ${id} ${String(query?.['since'])} ${String(query?.['until'])}`)
      const killed = containers.some((one) => `c-${one.id}` === id && one.killed === true) && kind === 'oom'
      return Readable.from(killed ? [Buffer.from('{"Action":"oom"}\n')] : [])
    },
    hijack: () => Promise.reject(new Error('not here')),
    agreed: () => Promise.resolve(agreed),
    doubt: () => {},
    close: () => {},
  } as unknown as Engine
  const provider = dockerProvider({
    endpoint: { socketPath: '/x' },
    context: { owner: 'o', provider: 'docker', now: () => Date.now() },
    fields: [],
    engine,
  })
  const tell = (action: string, id: string): void =>
    void events.write(
      `${JSON.stringify({ Action: action, Actor: { ID: `c-${id}`, Attributes: { ...tagsFor(id), name: `muster-${id}` } } })}\n`,
    )
  return { provider, asked, events, tell }
}

async function walk(provider: DockerProvider, limit: number): Promise<WorkerObservation[][]> {
  const pages: WorkerObservation[][] = []
  let cursor: string | undefined
  do {
    const page = await provider.list({ tags: owner, limit, ...(cursor === undefined ? {} : { cursor }) }, callOf())
    pages.push(page.workers)
    cursor = page.next
  } while (cursor !== undefined)
  return pages
}

describe('a list of 10,000 workers', () => {
  const many = Array.from({ length: 10_000 }, (_, number) => ({ id: idOf(number), state: 'running' }))

  test('is one answer of the engine, in pages of the size asked for, each worker once and in order', async () => {
    const { provider, asked } = fakeEngine(many.toReversed())
    const pages = await walk(provider, 500)
    expect(pages.map((page) => page.length)).toEqual(Array.from({ length: 20 }, () => 500))
    expect(pages.flat().map(({ id }) => id)).toEqual(many.map(({ id }) => id))
    expect(asked).toEqual(['GET /containers/json'])
  })

  test('begun anew is asked anew; a cursor goes on behind its worker also in another process', async () => {
    const { provider, asked } = fakeEngine(many)
    await provider.list({ tags: owner, limit: 1 }, callOf())
    await provider.list({ tags: owner, limit: 1 }, callOf())
    expect(asked).toHaveLength(2)
    const other = fakeEngine(many).provider
    const page = await other.list({ tags: owner, limit: 2, cursor: idOf(4_999) }, callOf())
    expect(page.workers.map(({ id }) => id)).toEqual([idOf(5_000), idOf(5_001)])
    expect(await other.list({ tags: owner, limit: 2, cursor: idOf(9_999) }, callOf())).not.toHaveProperty('next')
  })

  test('asks again only for those that ended', async () => {
    const { provider, asked } = fakeEngine([
      ...many.slice(0, 3),
      { id: idOf(3), state: 'exited', code: 3 },
      { id: idOf(4), state: 'exited', code: 137 },
    ])
    const [page] = await walk(provider, 500)
    expect(page?.map(({ exit }) => exit?.code)).toEqual([undefined, undefined, undefined, 3, undefined])
    // The doubtful one ended before this engine started.
    expect(page?.[4]?.exit?.reason).toContain('unknown')
    expect(asked.filter((line) => line.endsWith('/json') && line.includes('muster-'))).toHaveLength(2)
  })

  test('believes the events where the flag of a memory kill came too late, and asks for them only then', async () => {
    const { provider, asked } = fakeEngine([
      { id: idOf(0), state: 'exited', code: 137, memory: 1, killed: true },
      { id: idOf(1), state: 'exited', code: 137, memory: 1 },
      { id: idOf(2), state: 'exited', code: 137, killed: true },
      { id: idOf(3), state: 'exited', code: 1, memory: 1, killed: true },
    ])
    const [page = []] = await walk(provider, 500)
    expect(page.map(({ exit }) => [exit?.code, exit?.oomKilled])).toEqual([
      [137, true],
      [137, undefined],
      [undefined, undefined],
      [1, undefined],
    ])
    const [since, until] = [Date.UTC(2026, 6, 1) / 1000 - 3, Date.UTC(2026, 6, 1) / 1000 + 6]
    expect(asked.filter((line) => line.startsWith('oom events')).sort()).toEqual([
      `oom events c-${idOf(0)} ${since} ${until}`,
      `oom events c-${idOf(1)} ${since} ${until}`,
    ])
  })
})

describe('watch', () => {
  test('a slow taker gets each changed worker once, as it is by then', async () => {
    const containers: FakeContainer[] = [
      { id: idOf(1), state: 'running' },
      { id: idOf(2), state: 'running' },
    ]
    const { provider, tell } = fakeEngine(containers)
    const watching = provider.watch({ tags: owner, limit: 500 }, callOf())[Symbol.asyncIterator]()
    const next = async (): Promise<string> => {
      const { value } = await watching.next()
      const { id, phase } = value as WorkerObservation
      return `${id} ${phase}`
    }
    expect([await next(), await next()]).toEqual([`${idOf(1)} running`, `${idOf(2)} running`])
    for (let times = 0; times < 1_000; times++) tell('pause', idOf(1))
    tell('die', idOf(2))
    containers[0] = { id: idOf(1), state: 'paused' }
    containers[1] = { id: idOf(2), state: 'exited' }
    await new Promise((resolve) => setImmediate(resolve))
    const told = [await next(), await next()]
    expect(new Set(told)).toEqual(new Set([`${idOf(1)} suspended`, `${idOf(2)} exited`]))
    await watching.return?.()
  })

  test('what vanished without us is lost, what is not ours is not told, and an end of the events is a passing trouble', async () => {
    const containers: FakeContainer[] = [{ id: idOf(1), state: 'running' }]
    const { provider, tell, events } = fakeEngine(containers)
    const watching = provider.watch({ tags: owner, limit: 500 }, callOf())[Symbol.asyncIterator]()
    await watching.next()
    containers.pop()
    events.write(`${JSON.stringify({ Action: 'start', Actor: { ID: 'x', Attributes: { name: 'other' } } })}\n`)
    events.write(
      `${JSON.stringify({ Action: 'start', Actor: { ID: 'y', Attributes: { ...tagsFor(idOf(9)), name: 'copied-labels' } } })}\n`,
    )
    tell('die', idOf(8))
    tell('destroy', idOf(1))
    expect((await watching.next()).value).toMatchObject({ id: idOf(1), phase: 'lost', ready: false })
    events.end()
    await expect(watching.next()).rejects.toMatchObject({ code: 'transient', effect: 'none' })
  })
})

test('inspect leaves out who is not there', async () => {
  const { provider } = fakeEngine([{ id: idOf(1), state: 'running' }])
  const seen = await provider.inspect([{ id: idOf(2) }, { id: idOf(1) }], callOf())
  expect(seen.map(({ id }) => id)).toEqual([idOf(1)])
})

test('a probe that is given up is no verdict about the engine', async () => {
  const engine = {
    agreed: (signal: AbortSignal) => Promise.reject(signal.reason as Error),
    json: (request: EngineRequest) => Promise.reject(request.signal.reason as Error),
  }
  const provider = dockerProvider({
    endpoint: { socketPath: '/x' },
    context: { owner: 'o', provider: 'docker', now: () => Date.now() },
    fields: [],
    engine: engine as unknown as Engine,
  })
  await expect(provider.probe(callOf({ signal: AbortSignal.abort() }))).rejects.toMatchObject({
    code: 'cancelled',
    effect: 'none',
  })
})
