import { readFile } from 'node:fs/promises'
import { type Call, pluginManifestSchema, type WorkerObservation } from '@muster/core'
import { newWorkerId } from '@muster/core/testing'
import { expect, it } from 'vitest'
import { nullProvider, plugin } from './index.ts'

const tags = { 'muster-owner': 'o', 'muster-provider': 'p' }
const signal = new AbortController().signal
const call: Call = {
  signal,
  deadline: 0,
  idempotencyKey: 'k',
  epoch: 1,
  attempt: 1,
  log: { debug() {}, info() {}, warn() {}, error() {} },
  trace: { traceparent: '' },
  now: () => 0,
  secret: () => Promise.reject(new Error('no secrets')),
}

function specOf(id: string, over: object = {}): Parameters<ReturnType<typeof nullProvider>['launch']>[0] {
  return { id, tags: { ...tags, 'muster-pool': 'x', 'muster-worker': id, 'muster-epoch': '1' }, work: { mode: 'hold' }, ...over }
}

it('has a manifest that the contract accepts', async () => {
  const file = JSON.parse(await readFile(new URL('../muster-plugin.json', import.meta.url), 'utf8')) as unknown
  expect(pluginManifestSchema.parse(file)).toEqual(plugin.manifest)
})

it('keeps one worker for each id, and lists 10,000 in pages while some go', async () => {
  const provider = nullProvider()
  const ids = Array.from({ length: 10_000 }, newWorkerId)
  await Promise.all([...ids, ...ids].map((id) => provider.launch(specOf(id), call)))
  await expect(provider.launch(specOf(ids[0] ?? '', { labels: { a: 'b' } }), call)).rejects.toMatchObject({ code: 'conflict' })
  await provider.launch({ ...specOf(newWorkerId()), tags: { ...specOf('').tags, 'muster-owner': 'other' } }, call)
  const seen: string[] = []
  let cursor: string | undefined
  do {
    const page = await provider.list({ tags, limit: 500, ...(cursor !== undefined && { cursor }) }, call)
    expect(page.workers.length).toBeLessThanOrEqual(500)
    seen.push(...page.workers.map(({ id }) => id))
    await provider.terminate({ id: seen.at(-1) ?? '' }, { graceMs: 0, force: true, reason: 'test' }, call)
    cursor = page.next
  } while (cursor !== undefined)
  // The worker that each cursor names goes before the next page is asked for.
  expect(new Set(seen)).toEqual(new Set(ids))
  expect(await provider.inspect([{ id: ids[0] ?? '' }, { id: newWorkerId() }], call)).toHaveLength(1)
})

it('hints at launches to those who watch, until their signal', async () => {
  const provider = nullProvider()
  const stop = new AbortController()
  const watching = provider.watch?.({ tags, limit: 1 }, { ...call, signal: stop.signal })[Symbol.asyncIterator]()
  const first = watching?.next() as Promise<IteratorResult<WorkerObservation>>
  const id = newWorkerId()
  await provider.launch(specOf(id), call)
  expect((await first).value).toMatchObject({ id, phase: 'running', ready: true })
  const end = watching?.next()
  stop.abort()
  await expect(end).rejects.toThrow()
})

it('runs every command to a good end at once', async () => {
  const provider = nullProvider()
  const session = await provider.exec?.(
    { id: newWorkerId() },
    { id: 'x', command: ['true'], stdin: false, from: { stdout: 0, stderr: 0 } },
    call,
  )
  expect(await Array.fromAsync(session?.output ?? [])).toEqual([])
  expect(await session?.exit).toMatchObject({ code: 0 })
})
