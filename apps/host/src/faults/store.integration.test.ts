/** A full disk, a locked store, a second daemon: a clear error, no half record, and on again when it is over. */
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { runProcess } from '@muster/test/systems/process'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, describe, expect, it } from 'vitest'
import { makeSite, patienceMs, type Site } from './daemon.test.helper.ts'
import { fakeVendor } from './vendors.test.helper.ts'

const timeout = 600_000
const disposals: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
})

async function openSite(): Promise<Site> {
  const site = await makeSite((await fakeVendor()).files())
  disposals.push(() => site.dispose())
  return site
}

async function passes(site: Site): Promise<void> {
  const { id } = await site.client.runs.create({ pool: 'cold', command: ['true'] })
  expect(await site.client.runs.wait(id)).toMatchObject({ outcome: 'passed' })
}

const mounts =
  process.platform === 'linux' && process.getuid?.() === 0
    ? { name: 'mount', system: {} }
    : { name: 'mount', absent: 'a small disk is mounted by root only' }

suiteWith(mounts, 'a disk that cannot be written', () => {
  it('is said at the start, with what to do', { timeout }, async () => {
    const site = await openSite()
    const mounted = await runProcess(['mount', '-t', 'tmpfs', '-o', 'ro,mode=0700', 'tmpfs', site.data])
    expect(mounted.stderr).toBe('')
    const daemon = await site.start()
    expect((await daemon.exited).code).toBe(1)
    expect(daemon.stderr()).toMatch(/not started: .*read-only.*\n {2}Mount the disk/)
  })
})

suiteWith(mounts, 'a full disk', () => {
  it('is said, leaves no half record, keeps what runs, and is over when there is room', { timeout }, async () => {
    const site = await openSite()
    const mounted = await runProcess(['mount', '-t', 'tmpfs', '-o', 'size=24m,mode=0700', 'tmpfs', site.data])
    expect(mounted.stderr).toBe('')
    await site.start()
    await site.ready()
    const held = await site.client.leases.create({ pool: 'hold', ttlMs: 600_000 })
    const { worker } = await site.client.leases.wait(held.id)
    const ballast = join(site.data, 'ballast')
    await writeFile(ballast, Buffer.alloc(64 << 20)).catch((error: NodeJS.ErrnoException) => expect(error.code).toBe('ENOSPC'))
    const before = (await site.client.runs.list({ ended: 'true' })).items.length
    const failure = await untilRefused(site)
    expect(failure).toMatchObject({ code: 'disk-full', hint: expect.stringMatching(/room/i) as unknown })
    await waitFor('the condition', () => site.client.conditions(), {
      until: (all) => all.some((one) => /disk|room|full/i.test(one.message)),
      timeoutMs: patienceMs,
    })
    expect((await site.client.leases.get(held.id)).lease.state).toBe('active')
    // It answers, and says that it is not well, also to somebody who has no token.
    expect(await probes(site)).toEqual([200, 503, 503])
    await rm(ballast)
    await waitFor('room to be found', () => passes(site).then(() => true), { timeoutMs: patienceMs })
    expect(await probes(site)).toEqual([200, 200, 200])
    const runs = (await site.client.runs.list({ ended: 'true' })).items
    // Those that were taken in before the disk was full, and those after: every one whole, none that was refused.
    expect(runs.length).toBeGreaterThan(before)
    for (const { id } of runs) expect((await site.client.runs.wait(id)).outcome).toBe('passed')
    expect((await site.client.workers.get(worker?.id ?? '')).phase).toBe('leased')
    await site.client.leases.release(held.id)
    await waitFor('no worker to be left', () => site.client.workers.list(), {
      until: ({ items }) => items.length === 0,
      timeoutMs: patienceMs,
    })
  })
})

async function probes(site: Site): Promise<number[]> {
  const { url } = JSON.parse(await readFile(join(site.data, 'endpoint.json'), 'utf8')) as { url: string }
  const paths = ['/healthz', '/v1/health', '/v1/ready']
  return Promise.all(paths.map(async (path) => (await fetch(`${url}${path}`)).status))
}

/** Makes runs until the store refuses one. */
async function untilRefused(site: Site): Promise<unknown> {
  for (let n = 0; n < 5000; n++)
    try {
      const { id } = await site.impatient.runs.create({ pool: 'cold', command: ['true'], env: { FILL: 'x'.repeat(100_000) } })
      await site.client.runs.wait(id)
    } catch (error) {
      return error
    }
  return 'the disk was never full'
}

describe('a locked store', () => {
  it('is waited for, said, and over when the lock is', { timeout }, async () => {
    const site = await openSite()
    await site.start()
    await site.ready()
    const other = new DatabaseSync(join(site.data, 'muster.db'))
    other.exec('begin immediate')
    const refused = await site.impatient.leases.create({ pool: 'hold', ttlMs: 60_000 }).catch((error: unknown) => error)
    expect(refused).toMatchObject({ code: expect.stringMatching(/^store-busy|unavailable$/) as unknown })
    other.exec('rollback')
    other.close()
    await waitFor('the store to be free', () => passes(site).then(() => true), { timeoutMs: patienceMs })
    expect((await site.client.leases.list({ ended: 'true' })).items.filter((one) => one.pool === 'hold')).toEqual([])
  })
})

describe('a second daemon on the same data folder', () => {
  it('is refused with a line that names the first, which goes on', { timeout }, async () => {
    const site = await openSite()
    const first = await site.start()
    await site.ready()
    const second = await site.start()
    expect((await second.exited).code).toBe(1)
    expect(second.stderr()).toMatch(new RegExp(`not started: .*${first.pid}`, 's'))
    await passes(site)
  })
})
