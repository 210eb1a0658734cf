/** The daemon's own start and end: what it says, how it exits, what lives on. */
import { writeFileSync } from 'node:fs'
import { rename } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { runProcess } from '@muster/test/systems/process'
import { waitFor } from '@muster/test/systems/wait'
import { makeSite, patienceMs, type Site } from './faults/daemon.test.helper.ts'
import { localVendor } from './faults/vendors.test.helper.ts'
import { muster, startMuster } from './cli/muster.test.helper.ts'

const timeout = 300_000
const disposals: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
})

async function openSite(): Promise<Site> {
  const vendor = await localVendor()
  if (vendor.dispose !== undefined) disposals.push(vendor.dispose)
  const site = await makeSite(vendor.files(), { counted: true })
  disposals.push(() => site.dispose())
  return site
}

const lease = async (site: Site): Promise<{ id: string; worker: string }> => {
  const { id } = await site.client.leases.create({ pool: 'hold', ttlMs: 600_000 })
  const { lease: active } = await site.client.leases.wait(id)
  return { id, worker: active.worker ?? '' }
}

test('SIGTERM stops it in order with 0; a leased worker lives on and the next start has it', { timeout }, async () => {
  const site = await openSite()
  const { pid } = await site.start()
  await site.ready()
  // By it any process of the same user, as a plugin or a job, would open Node's inspector, and run what it likes in here.
  process.kill(pid, 'SIGUSR1')
  const { id, worker } = await lease(site)
  expect(await site.stop()).toMatchObject({ code: 0, signal: null })
  expect(site.output()).toContain('"msg":"stopped"')
  expect(site.output()).not.toContain('Debugger listening')
  await site.start()
  await site.ready()
  expect(await site.client.leases.get(id)).toMatchObject({ lease: { state: 'active' }, worker: { id: worker, phase: 'leased' } })
  await site.client.leases.release(id)
  await waitFor('the worker to be gone', async () => (await site.client.workers.list()).items.length === 0, {
    timeoutMs: patienceMs,
  })
})

test('under an older Node, which starts it as a child, it ends in order when that one is killed', { timeout }, async () => {
  const site = await openSite()
  // An older Node cannot become another program.
  const older = await site.start({ MUSTER_SOURCE: '1', NODE_OPTIONS: '--import data:text/javascript,delete%20process.execve' })
  await site.ready()
  older.kill('SIGUSR1')
  await site.client.version()
  older.kill('SIGKILL')
  await older.exited
  await waitFor('the daemon itself to end', async () => site.output().includes('"msg":"stopped"'), { timeoutMs: patienceMs })
  expect(site.output()).not.toContain('Debugger listening')
})

test(
  'a data folder that is moved while it works ends it, with a code on which no supervisor begins anew at the old path',
  { timeout },
  async () => {
    const site = await openSite()
    const daemon = await site.start()
    await site.ready()
    const { id } = await lease(site)
    const moved = `${site.data}.moved`
    await rename(site.data, moved)
    expect(await daemon.exited).toMatchObject({ code: 66, signal: null })
    expect(site.output()).toContain('the data folder was moved, removed or replaced')
    await rename(moved, site.data)
    await site.start()
    await site.ready()
    expect(await site.client.leases.get(id)).toMatchObject({ lease: { state: 'active' } })
    await site.client.leases.release(id)
  },
)

test('a second daemon on the same data is refused, and names the first', { timeout }, async () => {
  const site = await openSite()
  await site.start()
  await site.ready()
  const second = await muster(['up', '-c', site.config], { cwd: site.dir, counted: true })
  expect(second.code).toBe(1)
  expect(second.stderr.text).toMatch(/muster: not started: the data folder is in use by process \d+ .*\n {2}Stop that daemon/)
  expect(await site.client.version()).toMatchObject({ api: 'v1' })
})

test('a configuration that is wrong, or a port that is taken, is said in a line, and nothing starts', { timeout }, async () => {
  const site = await openSite()
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  disposals.push(() => new Promise((resolve) => server.close(resolve)))
  const { port } = server.address() as AddressInfo
  const taken = await muster(['up', '-c', site.config, '--listen', `127.0.0.1:${port}`], { cwd: site.dir, counted: true })
  expect([taken.code, taken.stderr.text]).toEqual([1, expect.stringContaining(`port ${port} is in use`)])
  writeFileSync(join(site.dir, 'wrong.yaml'), 'providers: {}\npools:\n  ci: { placment: [x] }\n')
  const wrong = await muster(['up', '-c', 'wrong.yaml'], { cwd: site.dir, counted: true })
  expect(wrong.code).toBe(1)
  expect(wrong.stderr.text).toMatch(/wrong\.yaml:3:\d+: .*placment/)
  const check = await muster(['check', '-c', 'wrong.yaml', '--json'], { cwd: site.dir, counted: true })
  expect(check.code).toBe(1)
  expect(JSON.parse(check.stdout.text)).toMatchObject({ problems: [{ file: 'wrong.yaml', line: 3 }, {}] })
  expect((await muster(['check', '-c', site.config], { cwd: site.dir, counted: true })).code).toBe(0)
})

test('an error that nobody caught ends it with a line and 70', { timeout }, async () => {
  const site = await openSite()
  const main = join(import.meta.dirname, 'main.ts')
  const script = `const { runDaemon } = await import(${JSON.stringify(main)})
    setTimeout(() => Promise.reject(new Error('planted by the test')), 100)
    await runDaemon(${JSON.stringify(site.config)}, { logLevel: 'info', logFormat: 'json' })`
  const ended = await runProcess([process.execPath, '--conditions=@muster/source', '--input-type=module', '-e', script], {
    cwd: site.dir,
  })
  expect(ended.code).toBe(70)
  expect(ended.stderr).toContain('planted by the test')
  expect(ended.stderr).toContain('the daemon ends at once')
})

test('commands say where there is no daemon, and what is no command', { timeout }, async () => {
  const site = await openSite()
  for (const args of [['pools'], ['workers'], ['runs'], ['leases'], ['providers'], ['tokens'], ['why', 'pool', 'hold']]) {
    const { code, stderr } = await muster([...args, '-c', site.config], { cwd: site.dir, counted: true })
    expect([args, code, stderr.text]).toEqual([args, 1, expect.stringContaining('Start it with `muster up`.')])
  }
  expect((await muster(['version'], { cwd: site.dir, counted: true })).code).toBe(0)
  expect((await muster(['nonsense'], { cwd: site.dir, counted: true })).code).toBe(2)
  expect((await muster(['run', '--', 'true'], { cwd: site.dir, counted: true })).code).toBe(2)
})

test('the other commands show what there is, as tables and as JSON', { timeout }, async () => {
  const site = await openSite()
  await site.start()
  await site.ready()
  const { id, worker } = await lease(site)
  for (const [args, text] of [
    [['pools'], 'hold'],
    [['workers'], worker],
    [['leases'], id],
    [['providers'], '@muster/plugin-baremetal'],
    [['tokens'], 'admin'],
  ] as const) {
    const table = await muster([...args, '-c', site.config], { cwd: site.dir, counted: true })
    expect([table.code, table.stdout.text]).toEqual([0, expect.stringContaining(text)])
    const json = await muster([...args, '--json', '-c', site.config], { cwd: site.dir, counted: true })
    expect(JSON.stringify(JSON.parse(json.stdout.text))).toContain(text)
  }
  const going = startMuster(['workers', 'terminate', '--force', worker, '-c', site.config], { cwd: site.dir, counted: true })
  expect((await going.exited).stderr.text).toContain(`${worker} is `)
  await waitFor('the worker to be gone', async () => (await site.client.workers.list()).items.length === 0, {
    timeoutMs: patienceMs,
  })
})
