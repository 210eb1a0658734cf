import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type Harness, leaseRequest, openHarness, poolConfig } from '../testing/harness.ts'
import type { RunRequest } from '../model.ts'
import type { Runs } from '../runs-api.ts'
import { startRuns } from './index.ts'

let h: Harness
let runs: Runs
let data: string
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'muster-exchange-'))
  h = await openHarness({ pools: [poolConfig()], providers: [{ name: 'one' }] })
  runs = await startRuns({
    engine: h.engine,
    dataDir: data,
    killpoint: () => undefined,
    report: (message) => expect.fail(message),
  })
})
afterEach(async () => {
  await runs.stop()
  await h.close()
  await rm(data, { recursive: true, force: true })
})

const request = (over: Partial<RunRequest> = {}): RunRequest => ({
  pool: 'ci',
  command: ['true'],
  requirements: {},
  stdin: false,
  inputs: [
    { name: 'a', path: 'a' },
    { name: 'b', path: 'b' },
  ],
  outputs: [],
  ...over,
})

/** A stream that waits to be let go. */
function slow(text: string): { tar: AsyncIterable<Uint8Array>; go(): void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  const tar = (async function* () {
    await promise
    yield Buffer.from(text)
  })()
  return { tar, go: resolve }
}

it('of two uploads at once the first whole one counts, and the other takes nothing of it away', async () => {
  const { id } = await runs.create(request(), { principal: 'x' })
  const bad = slow('wrong')
  const losing = runs.putInput(id, { name: 'a', tar: bad.tar, sha256: '0'.repeat(64) })
  const other = slow('other')
  const late = runs.putInput(id, { name: 'a', tar: other.tar })
  const good = slow('good')
  good.go()
  const stored = await runs.putInput(id, { name: 'a', tar: good.tar })
  expect(stored).toMatchObject({ state: 'stored', bytes: 4 })
  bad.go()
  await expect(losing).rejects.toMatchObject({ code: 'digest' })
  other.go()
  await expect(late).rejects.toMatchObject({ code: 'conflict' })
  const again = slow('good')
  again.go()
  expect(await runs.putInput(id, { name: 'a', tar: again.tar })).toEqual(stored)
  expect(await readdir(join(data, 'runs', id, 'in'))).toEqual([`a.${stored.sha256}`])
  expect(runs.get(id)?.state).toBe('uploading')
})

it('input that is sent again, after a lost answer, is taken once', async () => {
  const { id } = await runs.create(request({ stdin: true }), { principal: 'x' })
  const write = (offset: number, text: string, end = false): Promise<unknown> =>
    runs.writeStdin(id, { offset, data: Buffer.from(text), end })
  expect(await write(0, 'hello')).toEqual({ offset: 5, ended: false })
  expect(await write(0, 'hello')).toEqual({ offset: 5, ended: false })
  expect(await write(3, 'lo you')).toEqual({ offset: 9, ended: false })
  await expect(write(10, 'gap')).rejects.toMatchObject({ code: 'gap', at: 9 })
  expect(await write(9, '', true)).toEqual({ offset: 9, ended: true })
  expect(await write(9, 'more')).toEqual({ offset: 9, ended: true })
  expect(await runs.stdinState(id)).toEqual({ offset: 9, ended: true })
})

it('a run whose inputs never come ends, and says so', async () => {
  const { id } = await runs.create(request({ queueTimeoutMs: 5000 }), { principal: 'x' })
  await h.pass(5001)
  expect(await runs.wait(id, () => false)).toMatchObject({
    outcome: 'infrastructure',
    reason: 'its inputs did not come within 5 s',
  })
})

it('live runs are bounded, also those whose inputs never come; who stops takes none', async () => {
  const few = await startRuns({
    engine: h.engine,
    dataDir: data,
    killpoint: () => undefined,
    report: (message) => expect.fail(message),
    mostRuns: 1,
  })
  const { id } = await few.create(request(), { principal: 'x' })
  await expect(few.create(request(), { principal: 'x' })).rejects.toMatchObject({ code: 'busy' })
  const lease = await h.engine.leases.request(leaseRequest())
  await h.pass(100)
  const worker = h.engine.leases.get(lease.id)?.worker_id ?? ''
  const exec = { command: ['true'], stdin: false }
  await expect(few.exec(worker, exec, { principal: 'x' })).rejects.toMatchObject({ code: 'busy' })
  await few.cancel(id, { principal: 'x', reason: 'enough' })
  await few.wait(id, () => false)
  await waitFor('room again', () =>
    few.create(request(), { principal: 'x' }).then(
      () => true,
      () => false,
    ),
  )
  await few.stop()
  await expect(few.create(request(), { principal: 'x' })).rejects.toMatchObject({ code: 'stopping' })
  await expect(few.exec(worker, exec, { principal: 'x' })).rejects.toMatchObject({ code: 'stopping' })
})

it('an upload that outlives its run ends with it, and nothing of it stays', async () => {
  const { id } = await runs.create(request(), { principal: 'x' })
  const upload = slow('too late')
  const late = runs.putInput(id, { name: 'a', tar: upload.tar })
  const left = async (): Promise<string[]> =>
    (await readdir(join(data, 'runs', id), { recursive: true }).catch(() => [])).filter((name) => name.startsWith('in'))
  await waitFor('the upload to begin', async () => (await left()).length === 2)
  await runs.cancel(id, { principal: 'x', reason: 'enough' })
  await runs.wait(id, () => false)
  await waitFor('its inputs to be removed', async () => (await left()).length === 0)
  upload.go()
  await expect(late).rejects.toMatchObject({ code: 'ended' })
  expect(await left()).toEqual([])
})

it('an output is not there before it is collected, and is not taken for one that was left out', async () => {
  const { id } = await runs.create(request({ outputs: [{ name: 'dist', path: 'dist' }] }), { principal: 'x' })
  await expect(runs.openOutput(id, 'dist')).rejects.toMatchObject({ code: 'not-ready' })
  await expect(runs.openOutput(id, 'other')).rejects.toMatchObject({ code: 'not-found' })
  await runs.cancel(id, { principal: 'x', reason: 'enough' })
  await runs.wait(id, () => false)
  const left = { code: 'not-found', message: "the command left nothing at 'dist'" }
  await expect(runs.openOutput(id, 'dist')).rejects.toMatchObject(left)
})

it('who names what is not there is told what it was', async () => {
  const { id } = await runs.create(request(), { principal: 'x' })
  const input = slow('')
  input.go()
  const told = { code: 'not-found', message: `run ${id} names no input 'c'` }
  await expect(runs.putInput(id, { name: 'c', tar: input.tar })).rejects.toMatchObject(told)
  await expect(runs.openOutput(id, 'a')).rejects.toMatchObject({ message: `run ${id} names no output 'a'` })
  await expect(runs.openOutput('r-none', 'a')).rejects.toMatchObject({ code: 'not-found', message: 'no run r-none' })
})

it('input is refused where the command reads none, and where it has ended', async () => {
  const { id } = await runs.create(request(), { principal: 'x' })
  const write = (): Promise<unknown> => runs.writeStdin(id, { offset: 0, data: Buffer.from('x'), end: false })
  await expect(write()).rejects.toMatchObject({ code: 'no-stdin' })
  await runs.cancel(id, { principal: 'x', reason: 'enough' })
  await runs.wait(id, () => false)
  await expect(write()).rejects.toMatchObject({ code: 'ended' })
})
