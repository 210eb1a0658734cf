/** The operator's hand as a user has it: a real daemon, workers of local processes. */
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { waitFor } from '@muster/test/systems/wait'
import { makeSite, patienceMs, type Site } from '../faults/daemon.test.helper.ts'
import { localVendor, type Vendor } from '../faults/vendors.test.helper.ts'
import { muster, type MusterExit, startMuster } from './muster.test.helper.ts'

const timeout = 300_000
let vendor: Vendor
let site: Site

beforeAll(async () => {
  vendor = await localVendor()
  const files = vendor.files()
  const more = [
    'commands: { placement: [p], worker: { work: command } }',
    'keeping: { placement: [p], worker: { grace: 500ms }, scale: { max: 1 }, keepFailed: 20m }',
    'again: { placement: [p], worker: { work: hold, grace: 500ms }, scale: { max: 2 }, uses: 5 }',
  ]
  site = await makeSite({ ...files, pools: [files.pools, ...more].join('\n') }, { counted: true })
  await site.start()
  await site.ready()
}, timeout)
afterEach(async () => {
  // What a failed test has left is not for the next one to wait for.
  for (const pool of await site.client.pools.list()) await site.client.pools.resume(pool.name)
  for (const { id } of (await site.client.workers.list()).items)
    await site.client.workers.terminate(id, { force: true }).catch(() => undefined)
  await noneLeft()
}, timeout)
afterAll(async () => {
  await site.dispose()
  await vendor.dispose?.()
}, timeout)

const ask = (...words: string[]): Promise<MusterExit> => muster(['-c', site.config, ...words], { cwd: site.dir, counted: true })
const run = (pool: string, options: string[], script: string): Promise<MusterExit> =>
  muster(['run', '-q', '-c', site.config, '--pool', pool, ...options, '--', 'sh', '-c', script], { cwd: site.dir, counted: true })
const noneLeft = (): Promise<unknown> =>
  waitFor('no worker to be left', async () => (await site.client.workers.list()).items.map((one) => one.id), {
    until: (ids) => ids.length === 0,
    timeoutMs: patienceMs,
  })

test('paused, a run waits, also over a restart of the daemon; resumed, it passes', { timeout }, async () => {
  expect(await ask('pause', 'hold', '--reason', 'new image')).toMatchObject({
    code: 0,
    stderr: { text: expect.stringContaining('hold is paused; 0 leases have a worker, 0 wait; it ends with: muster resume hold') },
  })
  const going = startMuster(['run', '-c', site.config, '--pool', 'hold', '--', 'echo', 'ran'], { cwd: site.dir })
  const said = 'waits for a worker of pool hold: the pool is paused by local: new image'
  await waitFor('the run to say why it waits', () => going.stderr().includes(said), { timeoutMs: patienceMs })
  const pools = (await ask('pools')).stdout.text
  expect(pools).toMatch(/^hold +paused /m)
  expect(pools).toMatch(/paused: pool hold: .*paused by local: new image \(It ends with: muster resume hold\)/)
  await site.stop()
  await site.start()
  await site.ready()
  expect(JSON.parse((await ask('pools', '--json')).stdout.text)).toMatchObject({
    pools: expect.arrayContaining([expect.objectContaining({ name: 'hold', state: 'paused', queued: 1 })]),
  })
  expect((await site.client.workers.list()).items).toEqual([])
  const resumed = await ask('resume', 'hold', '--json')
  expect(JSON.parse(resumed.stdout.text)).toMatchObject({ name: 'hold', state: 'active' })
  expect(await going.exited).toMatchObject({ code: 0, stdout: { text: 'ran\n' } })
  await noneLeft()
})

describe('a worker whose run failed', () => {
  test('is kept when asked for, entered, over a restart of the daemon too, and terminated', { timeout }, async () => {
    const exit = await run('cold', ['--keep-failed', '20m'], 'echo left > behind; exit 3')
    expect(exit.code).toBe(3)
    const id = /worker (w[0-9a-z]{26}) is kept until \S+: muster exec -i \1 -- sh; done: muster workers terminate \1/.exec(
      exit.stderr.text,
    )?.[1]
    if (id === undefined) throw new Error(`not said how to get in:\n${exit.stderr.text}`)
    expect(await ask('exec', id, '--', 'cat', 'behind')).toMatchObject({ code: 0, stdout: { text: 'left\n' } })
    await site.stop()
    await site.start()
    await site.ready()
    expect((await ask('workers')).stdout.text).toMatch(new RegExp(`^${id} .*draining .*kept until \\S+ for run `, 'm'))
    expect(await ask('exec', id, '--', 'cat', 'behind')).toMatchObject({ code: 0, stdout: { text: 'left\n' } })
    expect((await ask('why', 'worker', id)).stdout.text).toContain('[keep-failed]')
    const failed = (await site.client.workers.get(id)).keptFor ?? ''
    expect(await site.client.runs.get(failed)).toMatchObject({ outcome: 'failed', worker: id, keepFailedMs: 1_200_000 })
    expect((await ask('workers', 'terminate', id)).code).toBe(0)
    await noneLeft()
  })

  test('is kept by its pool, after a time-out too; one whose run passed is not', { timeout }, async () => {
    expect((await run('keeping', [], 'true')).code).toBe(0)
    await noneLeft()
    const late = await run('keeping', ['--timeout', '1s'], 'sleep 100')
    expect([late.code, late.stderr.text]).toEqual([124, expect.stringContaining('is kept until')])
    const [kept] = (await site.client.workers.list()).items
    expect(await ask('exec', kept?.id ?? '', '--', 'true')).toMatchObject({ code: 0 })
    // It counts against the maximum, and the next run is told so.
    const waits = startMuster(['run', '-c', site.config, '--pool', 'keeping', '--keep-failed', '0s', '--', 'false'], {
      cwd: site.dir,
    })
    await waitFor('the next to say why it waits', () => waits.stderr().includes('1 of them cordoned or kept'), {
      timeoutMs: patienceMs,
    })
    await ask('workers', 'terminate', kept?.id ?? '', '--reason', 'seen enough')
    expect((await waits.exited).code).toBe(1)
    await noneLeft()
  })

  test('cannot be kept where it is its command, and that is said at once', { timeout }, async () => {
    const exit = await run('commands', ['--keep-failed', '5m'], 'true')
    expect(exit.code).toBe(125)
    expect(exit.stderr.text).toContain('that needs one that holds, and pool commands has command')
    expect(exit.stderr.text).toContain('a pool whose provider has workers that hold')
  })
})

test.each(['cold', 'hold'])(
  'ended with force, a run on a worker of the kind %s has not failed by itself',
  { timeout },
  async (pool) => {
    const going = startMuster(['run', '-q', '-c', site.config, '--pool', pool, '--', 'sh', '-c', 'echo begun; sleep 1000'], {
      cwd: site.dir,
    })
    await waitFor('its output', () => going.stdout().includes('begun'), { timeoutMs: patienceMs })
    const [worker] = (await site.client.workers.list({ pool })).items
    const refused = await ask('workers', 'terminate', worker?.id ?? '')
    expect([refused.code, refused.stderr.text]).toEqual([1, expect.stringContaining('--force')])
    expect((await ask('workers', 'terminate', worker?.id ?? '', '--force', '--reason', 'it burns')).code).toBe(0)
    const exit = await going.exited
    expect(exit.code).toBe(125)
    expect(exit.stderr.text).toContain('the command did not run to its end: terminated by local: it burns')
    await noneLeft()
  },
)

test('a worker is cordoned and handed out again; forgotten only when nothing else helps', { timeout }, async () => {
  const idle = async (): Promise<string[]> =>
    (await site.client.workers.list({ pool: 'again' })).items.filter((one) => one.phase === 'idle').map((one) => one.id)
  expect((await run('again', [], 'true')).code).toBe(0)
  const [id = ''] = await waitFor('an idle worker', idle, { until: (ids) => ids.length === 1, timeoutMs: patienceMs })
  expect((await ask('cordon', id, '--reason', 'slow disk')).stderr.text).toContain(`it ends with: muster uncordon ${id}`)
  // The next run gets another.
  expect((await run('again', [], 'true')).code).toBe(0)
  await waitFor('another', idle, { until: (ids) => ids.length === 2, timeoutMs: patienceMs })
  expect((await ask('workers')).stdout.text).toMatch(new RegExp(`^${id} .*idle, cordoned .*cordoned by local: slow disk`, 'm'))
  const unasked = await ask('workers', 'forget', id, '--reason', 'x')
  expect([unasked.code, unasked.stderr.text]).toEqual([2, expect.stringContaining('say --yes')])
  const early = await ask('workers', 'forget', id, '--reason', 'x', '--yes')
  expect([early.code, early.stderr.text]).toEqual([1, expect.stringContaining(`First: muster workers terminate ${id}`)])
  expect((await ask('workers', 'forget', id, '--yes')).code).toBe(2)
  expect((await ask('uncordon', id)).stderr.text).toContain(`${id} is idle, and not cordoned`)
  expect((await ask('drain', 'again')).code).toBe(0)
  await noneLeft()
})

test('a provider is given up only when the configuration names it no longer', { timeout }, async () => {
  const unasked = await ask('providers', 'forget', 'p', '--reason', 'x')
  expect([unasked.code, unasked.stderr.text]).toEqual([2, expect.stringContaining('say --yes')])
  expect((await ask('providers', 'forget', 'p', '--yes')).code).toBe(2)
  const named = await ask('providers', 'forget', 'p', '--reason', 'x', '--yes')
  expect([named.code, named.stderr.text]).toEqual([1, expect.stringContaining('take it out of muster.yaml, and muster apply')])
})

test('orphans are shown before they are reclaimed, and nobody who is not asked removes any', { timeout }, async () => {
  const unasked = await ask('providers', 'reclaim', 'p')
  expect([unasked.code, unasked.stderr.text]).toEqual([2, expect.stringContaining('say --yes, or --dry-run')])
  const dry = await ask('providers', 'reclaim', 'p', '--dry-run')
  expect([dry.code, dry.stderr.text]).toEqual([0, expect.stringContaining('p has no worker of ours without a record')])
  expect(JSON.parse((await ask('providers', 'reclaim', 'p', '--dry-run', '--json')).stdout.text)).toEqual({ orphans: [] })
  const done = await ask('providers', 'reclaim', 'p', '--yes')
  expect([done.code, done.stderr.text]).toEqual([0, expect.stringContaining('0 workers without a record are removed')])
})

test('a provider is disabled and enabled; what is not there is said, with where to look', { timeout }, async () => {
  const disabled = await ask('providers', 'disable', 'p', '--reason', 'its network is down')
  expect([disabled.code, disabled.stderr.text]).toEqual([0, expect.stringContaining('muster providers enable p')])
  const table = (await ask('providers')).stdout.text
  expect(table).toMatch(/^p .*ready, disabled /m)
  expect(table).toContain('p: disabled by local: its network is down')
  expect((await ask('pools')).stdout.text).toContain('disabled: provider p')
  const going = startMuster(['run', '-c', site.config, '--pool', 'cold', '--', 'true'], { cwd: site.dir })
  await waitFor('the run to say why it waits', () => going.stderr().includes('p: it is disabled by local'), {
    timeoutMs: patienceMs,
  })
  expect((await ask('providers', 'enable', 'p')).code).toBe(0)
  expect((await going.exited).code).toBe(0)
  for (const words of [
    ['pause', 'cols'],
    ['providers', 'disable', 'q'],
    ['cordon', 'w0'],
  ]) {
    const exit = await ask(...words)
    expect([words, exit.code, exit.stderr.text]).toEqual([
      words,
      1,
      expect.stringMatching(/`muster (pools|providers|workers)` shows/),
    ])
  }
  await noneLeft()
})

test('why a plugin fell is shown, and written to a file for its author', { timeout }, async () => {
  const none = await ask('providers', 'crash', 'p')
  expect([none.code, none.stderr.text]).toEqual([1, expect.stringContaining('no crash bundle of p is kept')])
  expect((await ask('providers', 'crashes', 'p')).stderr.text).toContain('no crash bundle of p is kept')
  process.kill((await site.client.providers.get('p')).pid ?? 0, 'SIGKILL')
  const [kept] = await waitFor('the crash bundle', () => site.client.providers.crashes().then(({ items }) => items), {
    until: (items) => items.length === 1,
    timeoutMs: patienceMs,
  })
  const id = kept?.id ?? ''
  await site.ready()
  expect((await ask('providers', 'crashes')).stdout.text).toMatch(
    new RegExp(`^${id} +@muster/plugin-baremetal@\\S+ +\\d+s +it ended by itself \\(SIGKILL\\)$`, 'm'),
  )
  expect((await ask('providers', 'crash', 'p')).stdout.text).toMatch(new RegExp(`^${id}: it ended by itself`))
  const file = join(site.dir, 'crash.json')
  expect(await ask('providers', 'crash', id, '--output', file)).toMatchObject({ code: 0, stdout: { text: '' } })
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  const written = JSON.parse(await readFile(file, 'utf8')) as object
  expect(written).toMatchObject({ id, provider: 'p', exit: { signal: 'SIGKILL' } })
  expect(JSON.parse((await ask('providers', 'crash', id, '--json')).stdout.text)).toEqual(written)
  const again = await ask('providers', 'crash', 'p', '--output', file)
  expect([again.code, again.stderr.text]).toEqual([1, expect.stringContaining('--force')])
  expect((await ask('providers', 'crash', 'p', '--output', file, '--force')).code).toBe(0)
  for (const asked of [
    ['crash', 'q'],
    ['crash', `${id}x`],
    ['crashes', 'q'],
  ]) {
    const exit = await ask('providers', ...asked)
    expect([exit.code, exit.stderr.text]).toEqual([1, expect.stringMatching(/there is no (provider q|crash bundle)/)])
  }
})
