/** Another configuration on a real daemon, while a command runs. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, expect, test } from 'vitest'
import { fakeControl } from '@muster/core/testing'
import { waitFor } from '@muster/test/systems/wait'
import { muster } from './cli/muster.test.helper.ts'
import { makeSite, patienceMs, type Site } from './faults/daemon.test.helper.ts'
import { storePath } from './store/files.ts'
import { fakeVendor, localVendor, type OpenVendor, vendorDir } from './faults/vendors.test.helper.ts'

const timeout = 300_000
const disposals: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
})

async function openSite(open: OpenVendor = localVendor, counted = true): Promise<Site> {
  const vendor = await open()
  if (vendor.dispose !== undefined) disposals.push(vendor.dispose)
  const site = await makeSite(vendor.files(), { counted })
  disposals.push(() => site.dispose())
  await site.start()
  await site.ready()
  return site
}

async function edit(site: Site, change: (text: string) => string): Promise<void> {
  const text = await readFile(site.config, 'utf8')
  const next = change(text)
  expect(next).not.toBe(text)
  await writeFile(site.config, next)
}

const apply = (site: Site, ...flags: string[]): ReturnType<typeof muster> =>
  muster(['apply', '-c', site.config, ...flags], { cwd: site.dir, counted: true })

test('a provider is swapped and a pool grows under a run: the same command, every byte once', { timeout }, async () => {
  const site = await openSite()
  const { pid, restarts } = await site.client.providers.get('p')
  // Numbers until it is told to stop, by a file in its own folder.
  const script = 'i=0; until [ -e stop ]; do echo $i; i=$((i+1)); sleep 0.02; done; echo last; exit 3'
  const run = await site.client.runs.create({ pool: 'hold', command: ['/bin/sh', '-c', script] })
  const { worker = '' } = await site.client.runs.wait(run.id, { until: 'running' })
  const lines = async (): Promise<string[]> => {
    const chunks: Uint8Array[] = []
    for await (const { data } of site.client.runs.logs(run.id, { follow: false })) chunks.push(data)
    return Buffer.concat(chunks).toString().split('\n').slice(0, -1)
  }
  await waitFor('some output', async () => (await lines()).length > 3, { timeoutMs: patienceMs })

  await edit(site, (text) =>
    text
      .replace('{ plugin: baremetal', '{ url: "http://127.0.0.1:1", plugin: baremetal')
      .replace(/hold: .*max: 20/, (line) => line.replace('20', '21')),
  )
  const looked = await apply(site, '--dry-run')
  expect([looked.code, looked.stdout.text.trim().split('\n')]).toEqual([
    0,
    [
      '+ providers.p.url http://127.0.0.1:1  a new process takes over; open calls end on the old one',
      '~ pools.hold.scale.max 20 → 21  at once',
    ],
  ])
  expect(looked.stderr.text).toContain('nothing was changed; apply it with: muster apply')
  expect(await site.client.providers.get('p')).toMatchObject({ pid, restarts })

  const applied = await apply(site, '--json')
  expect([applied.code, JSON.parse(applied.stdout.text)]).toMatchObject([0, { applied: true }])
  const after = await site.client.providers.get('p')
  expect(after).toMatchObject({ state: 'ready', restarts })
  expect(after.pid).not.toBe(pid)
  expect((await site.client.pools.get('hold')).scale.max).toBe(21)
  expect((await apply(site)).stderr.text).toContain('nothing differs from what runs')

  const before = (await lines()).length
  await waitFor('output after the swap', async () => (await lines()).length > before, { timeoutMs: patienceMs })
  await site.client.workers.exec(worker, { command: ['/bin/sh', '-c', ': >stop'] })
  const ended = await site.client.runs.wait(run.id)
  expect(ended).toMatchObject({ outcome: 'failed', exit: { code: 3 }, worker })
  const all = await lines()
  expect(all).toEqual([...all.slice(0, -1).map((_, index) => String(index)), 'last'])
})

test('what is wrong is refused whole, with its place; SIGHUP says the same in the log', { timeout }, async () => {
  const site = await openSite()
  const daemonPid = JSON.parse(await readFile(join(site.data, 'endpoint.json'), 'utf8')) as { pid: number }
  const before = await site.client.providers.get('p')
  await edit(site, (text) => text.replace(/hold: .*max: 20/, (line) => line.replace('20', '21, warn: 1')))
  const refused = await apply(site)
  expect([refused.code, refused.stdout.text]).toEqual([
    1,
    expect.stringMatching(/muster\.yaml:\d+:\d+: unknown key 'warn'[^\n]*\n {4}fix: .*warm/) as string,
  ])
  expect(refused.stderr.text).toContain('the configuration is refused: 1 problem; nothing has changed')
  process.kill(daemonPid.pid, 'SIGHUP')
  await waitFor('the refusal in the log', async () => site.output().includes('"msg":"the configuration is refused"'), {
    timeoutMs: patienceMs,
  })
  expect((await site.client.pools.get('hold')).scale.max).toBe(20)

  await edit(site, (text) => text.replace('21, warn: 1', '21').replace('listen: 127.0.0.1:0', 'listen: 127.0.0.1:1'))
  const restart = await apply(site)
  expect(restart.stdout.text).toMatch(
    /muster\.yaml:3:\d+: host\.listen cannot change from '127\.0\.0\.1:0' to '127\.0\.0\.1:1' while/,
  )
  expect((await site.client.pools.get('hold')).scale.max).toBe(20)

  await edit(site, (text) => text.replace('listen: 127.0.0.1:1', 'listen: 127.0.0.1:0'))
  process.kill(daemonPid.pid, 'SIGHUP')
  await waitFor('the change', async () => (await site.client.pools.get('hold')).scale.max === 21, { timeoutMs: patienceMs })
  expect(await site.client.providers.get('p')).toMatchObject({ pid: before.pid })
  expect(await site.client.conditions()).toEqual([])
})

test('a pool and its provider that are renamed go on until their last lease ends', { timeout }, async () => {
  const site = await openSite()
  const { id } = await site.client.leases.create({ pool: 'hold', ttlMs: 600_000 })
  const { worker } = await site.client.leases.wait(id)
  await edit(site, (text) =>
    text.replace('p: { plugin', 'q: { plugin').replaceAll('placement: [p]', 'placement: [q]').replace('hold: {', 'kept: {'),
  )
  expect((await apply(site)).code).toBe(0)
  expect((await site.client.providers.list()).map((one) => one.name)).toEqual(['p', 'q'])
  expect(await site.client.conditions()).toMatchObject([{ scope: 'provider', name: 'p', type: 'leaving' }])
  const refused = await site.impatient.leases.create({ pool: 'hold' }).catch((error: Error) => error)
  expect(refused).toMatchObject({ code: 'refused' })
  // The worker is there, and works.
  const run = await site.client.runs.create({ lease: id, command: ['/bin/sh', '-c', 'echo here'] })
  expect(await site.client.runs.wait(run.id)).toMatchObject({ outcome: 'passed', worker: worker?.id })
  const next = await site.client.runs.create({ pool: 'kept', command: ['/bin/sh', '-c', 'exit 0'] })
  expect(await site.client.runs.wait(next.id)).toMatchObject({ outcome: 'passed' })
  await site.client.leases.release(id)
  await waitFor('the old provider to be gone', async () => (await site.client.providers.list()).length === 1, {
    timeoutMs: patienceMs,
  })
  expect((await site.client.pools.list()).map((pool) => pool.name)).toEqual(['cold', 'kept'])
  expect(await site.client.conditions()).toEqual([])
})

test('a provider that was renamed goes on for what it has over a crash, applied or not', { timeout }, async () => {
  const site = await openSite(localVendor, false)
  const rename = (from: string, to: string): Promise<void> =>
    edit(site, (text) =>
      text.replace(`${from}: { plugin`, `${to}: { plugin`).replaceAll(`placement: [${from}]`, `placement: [${to}]`),
    )
  const crash = async (down: () => Promise<void> = async () => undefined): Promise<void> => {
    await site.kill()
    await down()
    await site.start()
    await site.ready()
  }
  const names = async (): Promise<string[]> => (await site.client.providers.list()).map((one) => one.name)
  // Each goes on until somebody who can reach into its worker lets it end.
  const script = 'i=0; until [ -e stop ]; do echo $i; i=$((i+1)); sleep 0.05; done; echo last; exit 3'
  const begin = async (): Promise<{ id: string; worker: string }> => {
    const { id } = await site.client.runs.create({ pool: 'hold', command: ['/bin/sh', '-c', script] })
    const { worker = '' } = await site.client.runs.wait(id, { until: 'running' })
    return { id, worker }
  }
  const { id: lease } = await site.client.leases.create({ pool: 'hold', ttlMs: 600_000 })
  const { worker: leased } = await site.client.leases.wait(lease)
  const first = await begin()
  await rename('p', 'q')
  expect((await apply(site)).code).toBe(0)
  const second = await begin()
  await crash(() => rename('q', 'r'))
  expect((await names()).toSorted()).toEqual(['p', 'q', 'r'])
  expect(await site.client.conditions()).toMatchObject([
    { scope: 'provider', name: 'p', type: 'leaving' },
    { scope: 'provider', name: 'q', type: 'leaving' },
  ])
  for (const { id, worker } of [first, second]) {
    const { id: stop } = await site.client.workers.exec(worker, { command: ['/bin/sh', '-c', ': >stop'] })
    expect(await site.client.runs.wait(stop)).toMatchObject({ outcome: 'passed' })
    expect(await site.client.runs.wait(id)).toMatchObject({ outcome: 'failed', exit: { code: 3 }, worker })
    const chunks: Uint8Array[] = []
    for await (const { data } of site.client.runs.logs(id, { follow: false })) chunks.push(data)
    const all = Buffer.concat(chunks).toString().split('\n').slice(0, -1)
    expect(all).toEqual([...all.slice(0, -1).map((_, index) => String(index)), 'last'])
  }
  const look = await site.client.workers.exec(leased?.id ?? '', { command: ['/bin/sh', '-c', 'exit 0'] })
  expect(await site.client.runs.wait(look.id)).toMatchObject({ outcome: 'passed' })
  const next = await site.client.runs.create({ pool: 'hold', command: ['/bin/sh', '-c', 'exit 0'] })
  expect(await site.client.runs.wait(next.id)).toMatchObject({ outcome: 'passed' })
  await site.client.leases.release(lease)
  await waitFor('what was renamed to be gone', async () => (await names()).join() === 'r', { timeoutMs: patienceMs })
  expect(await site.client.conditions()).toEqual([])
  // Once its process has ended.
  await waitFor('its note to be gone', () => keptEntries(site.data).join() === 'r', { timeoutMs: patienceMs })
})

/** Names of the providers whose configuration the store has. */
function keptEntries(data: string): string[] {
  using db = new DatabaseSync(storePath(data), { readOnly: true })
  const rows = db.prepare("select key from meta where key like 'provider:%'").all()
  return rows.map(({ key }) => String(key).slice('provider:'.length))
}

test('what a provider prepared for a pool goes with the pool', { timeout }, async () => {
  const site = await openSite(fakeVendor)
  const control = fakeControl(vendorDir(site.data))
  for (const pool of ['cold', 'hold']) {
    const { id } = await site.client.runs.create({ pool, command: ['true'] })
    expect(await site.client.runs.wait(id)).toMatchObject({ outcome: 'passed' })
  }
  expect([control.count('prepare'), control.count('unprepare')]).toEqual([2, 0])
  await edit(site, (text) => text.replace(/^ *cold: .*\n/m, ''))
  const applied = await apply(site)
  expect({ code: applied.code, stderr: applied.code === 0 ? '' : applied.stderr }).toEqual({ code: 0, stderr: '' })
  await waitFor('the pool to be prepared no longer', () => control.count('unprepare') === 1, { timeoutMs: patienceMs })
  const told = await site.client.why('pool', 'cold')
  expect(told.map((one) => one.rule)).toContain('pool-unprepared')
})
