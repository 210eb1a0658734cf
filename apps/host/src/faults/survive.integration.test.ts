/** What may be killed while runs go on: the daemon with twenty of them, a plugin, a client, the provider itself. */
import type { Run } from '@muster/client'
import { fakeControl } from '@muster/core/testing'
import { findDocker, startDocker } from '@muster/test/systems/docker'
import { ensureImage } from '@muster/test/systems/images'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, describe, expect, it } from 'vitest'
import { makeSite, patienceMs, type Site } from './daemon.test.helper.ts'
import { dockerVendor, fakeVendor, localVendor, type OpenVendor, type Vendor, vendorDir } from './vendors.test.helper.ts'
import { type Counting, gapIn, startCounting } from './work.test.helper.ts'

const timeout = 600_000
const disposals: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
})

async function open(openVendor: OpenVendor): Promise<{ site: Site; vendor: Vendor }> {
  const vendor = await openVendor()
  if (vendor.dispose !== undefined) disposals.push(vendor.dispose)
  const site = await makeSite(vendor.files())
  disposals.push(() => site.dispose())
  await site.start()
  await site.ready()
  return { site, vendor }
}

async function startMany(site: Site, { pool, count }: { pool: string; count: number }): Promise<Counting[]> {
  const all = await Promise.all(Array.from({ length: count }, () => startCounting(site.client, pool)))
  await waitFor('every run to write', () => all.every((one) => one.seen() > 2), { timeoutMs: patienceMs })
  return all
}

/** Ends the runs, and holds that each ended as it was, with every line once. */
async function endAll(all: readonly Counting[]): Promise<void> {
  await Promise.all(all.map((one) => one.end()))
  for (const one of all) {
    const { run, text } = await one.done
    expect(run).toMatchObject({ outcome: 'failed', exit: { code: 5 } })
    expect(gapIn(text)).toBeUndefined()
  }
}

async function workersOf(site: Site): Promise<string[]> {
  return (await site.client.workers.list({ limit: 100 })).items.map((one) => one.id).sort()
}

async function noneLeft(site: Site): Promise<void> {
  await waitFor('no worker to be left', () => workersOf(site), { until: (ids) => ids.length === 0, timeoutMs: patienceMs })
}

function survives(vendor: OpenVendor, pools: string[]): void {
  it.each(pools)(
    'keeps 20 runs of pool %s through a SIGKILL of the daemon: the same workers, every line once',
    { timeout },
    async (pool) => {
      const { site } = await open(vendor)
      const all = await startMany(site, { pool, count: 20 })
      const before = await workersOf(site)
      expect(before).toHaveLength(20)
      const killed = await site.kill()
      expect(killed.signal).toBe('SIGKILL')
      await site.start()
      await site.ready()
      const seen = all.map((one) => one.seen())
      await waitFor('every run to go on', () => all.every((one, index) => one.seen() > (seen[index] ?? 0)), {
        timeoutMs: patienceMs,
      })
      expect(await workersOf(site)).toEqual(before)
      await endAll(all)
      await noneLeft(site)
    },
  )

  it('keeps a run through a SIGKILL of its plugin, of the daemon, and of both', { timeout }, async () => {
    const { site } = await open(vendor)
    const all = [...(await startMany(site, { pool: 'hold', count: 2 })), ...(await startMany(site, { pool: 'cold', count: 2 }))]
    const before = await workersOf(site)
    for (const what of ['plugin', 'daemon', 'both'] as const) {
      if (what !== 'daemon') process.kill((await site.client.providers.get('p')).pid ?? 0, 'SIGKILL')
      if (what !== 'plugin') {
        await site.kill()
        await site.start()
      }
      await site.ready()
      const seen = all.map((one) => one.seen())
      await waitFor(
        `every run to go on after a SIGKILL of the ${what}`,
        () => all.every((one, index) => one.seen() > (seen[index] ?? 0)),
        { timeoutMs: patienceMs },
      )
    }
    expect(await workersOf(site)).toEqual(before)
    await endAll(all)
    await noneLeft(site)
  })
}

describe('on the fake provider', () => {
  survives(fakeVendor, ['hold', 'cold'])

  it.each([
    ['ends its list early', [{ id: 'a', method: 'list', action: { kind: 'short', workers: 3 } }]],
    ['lists nothing', [{ id: 'b', method: 'list', action: { kind: 'hide' } }]],
    [
      'lists nothing and cannot be asked',
      [
        { id: 'c', method: 'list', action: { kind: 'hide' } },
        { id: 'd', method: 'inspect', action: { kind: 'fail', code: 'auth', effect: 'none' } },
      ],
    ],
  ] as const)('closes nothing and launches nothing again while it %s', { timeout }, async (_name, faults) => {
    const { site } = await open(fakeVendor)
    const all = await startMany(site, { pool: 'hold', count: 20 })
    const before = await workersOf(site)
    const control = fakeControl(vendorDir(site.data))
    const creates = control.count('create')
    const lists = control.count('list')
    control.faults([...faults])
    // Several whole passes, asked for: each could have been the one that believes it.
    for (let n = 0; n < 4; n++) await site.client.providers.reconcile('p').catch(() => undefined)
    expect(control.count('list') - lists).toBeGreaterThanOrEqual(4)
    expect(await workersOf(site)).toEqual(before)
    expect(control.count('create')).toBe(creates)
    expect(control.count('stop') + control.count('remove')).toBe(0)
    control.faults([])
    await endAll(all)
    await noneLeft(site)
    expect(control.leftovers()).toEqual([])
  })

  it('reads the log of a command that ended while its provider could not be asked', { timeout }, async () => {
    const { site } = await open(fakeVendor)
    const control = fakeControl(vendorDir(site.data))
    control.faults([{ id: 'away', method: 'logs', action: { kind: 'fail', code: 'transient', effect: 'none' } }])
    const { id } = await site.client.runs.create({ pool: 'cold', command: ['echo', 'the last words'] })
    let text = ''
    const reading = (async () => {
      for await (const { data } of site.client.runs.logs(id)) text += Buffer.from(data).toString()
    })()
    await waitFor('the log to be asked for many times', () => control.count('logs') > 10, { timeoutMs: patienceMs })
    control.faults([])
    await reading
    expect(await site.client.runs.wait(id)).toMatchObject({ outcome: 'passed' })
    expect(text).toBe('the last words\n')
    await noneLeft(site)
  })

  it('gives up a command that its plugin falls over each time, and goes on with the next one', { timeout }, async () => {
    const { site } = await open(fakeVendor)
    const control = fakeControl(vendorDir(site.data))
    const run = async (): Promise<Run> =>
      site.client.runs.wait((await site.client.runs.create({ pool: 'hold', command: ['true'] })).id)
    control.faults([{ id: 'fall', method: 'exec', action: { kind: 'die' } }])
    expect(await run()).toMatchObject({
      outcome: 'infrastructure',
      reason: expect.stringMatching(/^the plugin failed at it 6 times: /),
    })
    expect(control.count('exec')).toBe(6)
    control.faults([])
    expect(await run()).toMatchObject({ outcome: 'passed' })
    await noneLeft(site)
  })

  it('knows a worker that is really gone from one that is only not seen', { timeout }, async () => {
    const { site } = await open(fakeVendor)
    const [one] = await startMany(site, { pool: 'hold', count: 1 })
    const control = fakeControl(vendorDir(site.data))
    await control.lose((await workersOf(site))[0] ?? '', 'absent')
    expect((await one?.done)?.run).toMatchObject({ outcome: 'infrastructure', reason: expect.stringMatching(/lost/) })
    await noneLeft(site)
  })
})

describe('on local processes', () => {
  survives(localVendor, ['hold', 'cold'])
})

suiteWith(await findDocker(), 'on Docker', ({ socket }) => {
  survives(dockerVendor(socket), ['hold'])

  it(
    'keeps runs through a stop of the engine that leaves containers running, and goes on when it is back',
    { timeout },
    async () => {
      const engine = await startDocker({ args: ['--live-restore'] })
      disposals.push(() => engine.stop())
      await ensureImage(engine.socket, 'busybox')
      const { site } = await open(dockerVendor(engine.socket))
      const all = await startMany(site, { pool: 'hold', count: 3 })
      const before = await workersOf(site)
      await engine.halt()
      await waitFor('the provider to be degraded', async () => (await site.client.providers.get('p')).state, {
        until: (state) => state === 'degraded',
        timeoutMs: patienceMs,
      })
      expect(await workersOf(site)).toEqual(before)
      await engine.start()
      await site.ready()
      const seen = all.map((one) => one.seen())
      await waitFor('every run to go on', () => all.every((one, index) => one.seen() > (seen[index] ?? 0)), {
        timeoutMs: patienceMs,
      })
      expect(await workersOf(site)).toEqual(before)
      await endAll(all)
      await noneLeft(site)
    },
  )

  it(
    'says of commands that a stopping engine ended that nobody can tell, also while it stops: they are not failures of their own',
    { timeout },
    async () => {
      const engine = await startDocker()
      disposals.push(() => engine.stop())
      await ensureImage(engine.socket, 'busybox')
      const { site } = await open(dockerVendor(engine.socket))
      const scripts = [
        'echo up; exec sleep 1000',
        // It keeps the engine stopping for ten seconds, in which the other one is seen to have ended.
        'trap "" TERM; echo up; while :; do sleep 1; done',
      ]
      const create = (pool: string, script: string): Promise<Run> =>
        site.client.runs.create({ pool, command: ['sh', '-c', script] })
      const commands = await Promise.all(scripts.map((script) => create('cold', script)))
      const held = await create('hold', scripts[0] ?? '')
      const runs = [...commands, held]
      const up = async (): Promise<boolean> =>
        (await Promise.all(runs.map(({ id }) => site.client.runs.logState(id)))).every(({ stdoutBytes }) => stdoutBytes > 0)
      await waitFor('all commands to run', up, { timeoutMs: patienceMs })
      await engine.halt()
      await engine.start()
      for (const { id } of commands)
        expect(await site.client.runs.wait(id)).toMatchObject({
          outcome: 'unknown',
          reason: expect.stringMatching(/^unknown: the engine restarted; it says exited with code 1(37|43)$/) as string,
        })
      expect(await site.client.runs.wait(held.id)).toMatchObject({ outcome: 'infrastructure' })
      await noneLeft(site)
    },
  )
})
