/** Another version of a plugin on a real daemon: rehearsed, taken, refused, gone back from, and cut off in the middle. */
import { readdir, readFile, readlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fakeControl } from '@muster/core/testing'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeAll, expect, test } from 'vitest'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { muster, type MusterExit, startMuster } from './cli/muster.test.helper.ts'
import { upgradePoints } from './engine/killpoint.ts'
import { makeSite, patienceMs, type Site } from './faults/daemon.test.helper.ts'
import { fakeVendor, vendorDir } from './faults/vendors.test.helper.ts'
import { startCounting, gapIn } from './faults/work.test.helper.ts'
import { candidateFileOf } from './plugins/lock.ts'
import { lockVersion, mirrorBuilt } from './plugins/testing/versions.ts'

const timeout = 300_000
const disposals: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
})

/** It does not see workers with a mark in their folder. */
const forgetful = `
import seeing from 'node:fs'
import { syncBuiltinESMExports as seeNoMore } from 'node:module'
const readAll = seeing.readFileSync
seeing.readFileSync = (path, ...given) => {
  const name = String(path)
  if (name.endsWith('/worker.json') && seeing.existsSync(name.replace('worker.json', 'unseen'))) throw new Error('unseen')
  return readAll(path, ...given)
}
seeNoMore()`

let shared: TempFolder
let mirror: string
beforeAll(async () => {
  shared = await tempFolder('versions')
  mirror = join(shared.path, 'mirror')
  await mirrorBuilt(mirror, 'plugin-fake', [
    { version: '1.0.0' },
    { version: '2.0.0' },
    { version: '3.0.0', prologue: forgetful },
    { version: '4.0.0', prologue: 'process.exit(3)' },
    { version: '5.0.0', prologue: forgetful },
  ])
  return () => shared.remove()
})

async function openSite({ start = true } = {}): Promise<Site> {
  const vendor = await fakeVendor()
  const site = await makeSite(vendor.files(), { counted: true })
  disposals.push(() => site.dispose())
  await lock(site, '1.0.0')
  if (start) {
    await site.start()
    await site.ready()
  }
  return site
}

const lock = (site: Site, version: string, file = join(site.dir, 'plugins.json')): Promise<void> =>
  lockVersion({ file, alias: 'fake', package: '@muster/plugin-fake', version, mirror, store: join(site.data, 'plugins') })
const version = async (site: Site): Promise<string> => (await site.client.providers.get('p')).plugin.version
const plugins = (site: Site, ...args: string[]): Promise<MusterExit> =>
  muster(['plugins', ...args, '-c', site.config], { cwd: site.dir })
const told = ({ code, stdout, stderr }: MusterExit): [number | null, string] => [code, stdout.text + stderr.text]
const locked = async (site: Site): Promise<{ version: string; previous?: { version: string } }> => {
  const text = await readFile(join(site.dir, 'plugins.lock.json'), 'utf8')
  return (
    (JSON.parse(text) as { plugins: Record<string, { version: string; previous?: { version: string } }> }).plugins['fake'] ?? {
      version: '',
    }
  )
}
const waived = ['--yes', '--waive', 'a test'] as const

/** Processes of plugins whose files lie in the data folder of this site. */
async function running(site: Site): Promise<string[]> {
  const found: string[] = []
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '')
    if (line.includes(`${join(site.data, 'plugins')}/`) && cwd.startsWith(site.data)) found.push(pid)
  }
  return found
}

test(
  'rehearsed, taken and gone back from, while a run goes on: every byte once, and each step is told',
  { timeout },
  async () => {
    const site = await openSite()
    const run = await startCounting(site.client, 'hold')
    await waitFor('some output', async () => run.seen() > 3, { timeoutMs: patienceMs })
    const { pid } = await site.client.providers.get('p')

    const rehearsed = await plugins(site, 'upgrade', 'fake@2.0.0', '--rehearse', ...waived)
    expect(told(rehearsed)).toEqual([
      0,
      expect.stringMatching(
        /ok +verify: its files are those of the lock\nok +start: described, configured and probed for p[^\n]*\nok +account: it accounts for all 1 live workers\n[^]*go: fake 1\.0\.0 → 2\.0\.0; nothing was switched/,
      ),
    ])
    expect([await version(site), (await locked(site)).version]).toEqual(['1.0.0', '1.0.0'])
    expect(await site.client.providers.get('p')).toMatchObject({ pid })

    // What cannot be loaded is told of by its own version, and in the file that the operator has.
    const manifest = join(site.dir, 'plugins.json')
    const manifestText = await readFile(manifest, 'utf8')
    await writeFile(manifest, manifestText.replace('"version":', '"isolation":"L3","version":'))
    const refused = told(await plugins(site, 'upgrade', 'fake@2.0.0', ...waived))
    expect(refused[1]).toMatch(
      /plugins\.json:\d+:\d+: below-level: [^]*plugin-refused: version 2\.0\.0 of 'fake' does not take over from 1\.0\.0/,
    )
    expect([refused[0], refused[1].includes('.next-')]).toEqual([1, false])
    await writeFile(manifest, manifestText)

    const upgraded = await plugins(site, 'upgrade', 'fake@2.0.0', '--wait', ...waived)
    expect(told(upgraded)).toEqual([
      0,
      expect.stringMatching(
        /switch: it has taken over[^]*fake: 2\.0\.0 has taken over from 1\.0\.0[^]*written: plugins\.json and its lock/,
      ),
    ])
    expect(await version(site)).toBe('2.0.0')
    expect(await locked(site)).toMatchObject({ version: '2.0.0', previous: { version: '1.0.0' } })
    expect(await running(site)).toHaveLength(1)
    const seen = run.seen()
    await waitFor('output after the switch', async () => run.seen() > seen, { timeoutMs: patienceMs })
    expect(told(await plugins(site, 'upgrade', 'fake'))).toEqual([0, expect.stringContaining('fake: 2.0.0 is what runs')])

    const back = await plugins(site, 'rollback', 'fake', '--wait', '--yes')
    expect(told(back)).toEqual([0, expect.stringContaining('fake: 1.0.0 has taken over from 2.0.0')])
    expect([await version(site), await locked(site)]).toMatchObject([
      '1.0.0',
      { version: '1.0.0', previous: { version: '2.0.0' } },
    ])
    await run.end()
    const { run: ended, text } = await run.done
    expect([ended.exit?.code, gapIn(text)]).toEqual([5, undefined])
    const rows = await site.client.why('provider', 'p')
    expect(rows.filter((one) => one.rule === 'plugin-upgraded').map((one) => one.decision)).toEqual([
      'version 2.0.0 of its plugin takes over from 1.0.0',
      'version 1.0.0 of its plugin takes over from 2.0.0',
    ])
    expect((await readdir(site.dir)).filter((name) => name.includes('.next'))).toEqual([])
  },
)

test('one that loses a worker is refused by the name of that worker, by an upgrade and by apply', { timeout }, async () => {
  const site = await openSite()
  const leases = [await site.client.leases.create({ pool: 'hold' }), await site.client.leases.create({ pool: 'hold' })]
  const workers: string[] = []
  for (const { id } of leases) workers.push((await site.client.leases.wait(id)).worker?.id ?? '')
  const [unseen = '', seen = ''] = workers
  await writeFile(join(vendorDir(site.data), 'workers', unseen, 'unseen'), '')
  const before = await site.client.providers.get('p')

  const rehearsed = told(await plugins(site, 'upgrade', 'fake@3.0.0', '--rehearse', ...waived))
  expect(rehearsed).toEqual([1, expect.stringContaining(`p/${unseen}: it neither lists it nor knows it by name`)])
  expect(rehearsed[1]).toContain('no-go: fake 1.0.0 → 3.0.0')
  const refused = told(await plugins(site, 'upgrade', 'fake@3.0.0', ...waived))
  expect(refused).toEqual([
    1,
    expect.stringMatching(new RegExp(`p/${unseen}: it neither lists it[^]*not-accounted: version 3\\.0\\.0`)),
  ])
  expect(refused[1]).not.toContain(`p/${seen}`)
  expect(await locked(site)).toMatchObject({ version: '1.0.0' })

  await lock(site, '3.0.0')
  const applied = await site.impatient.apply().catch((error: unknown) => error)
  expect(applied).toMatchObject({
    code: 'config-refused',
    problem: { errors: [{ message: expect.stringContaining(unseen) as string }] },
  })
  // As if nothing had been.
  expect(await site.client.providers.get('p')).toMatchObject({ pid: before.pid, restarts: 0, plugin: { version: '1.0.0' } })
  expect(await running(site)).toHaveLength(1)
  expect((await site.client.why('provider', 'p')).filter((one) => one.rule === 'plugin-refused')).toHaveLength(1)
  const control = fakeControl(vendorDir(site.data))
  expect(
    control
      .workers()
      .map((one) => one.id)
      .sort(),
  ).toEqual(workers.sort())
})

test(
  'with --keep-old the version before stays for the worker that the other loses, over a kill of the daemon, until that worker is gone',
  { timeout },
  async () => {
    const site = await openSite()
    const { client } = site
    const leases = [await client.leases.create({ pool: 'hold' }), await client.leases.create({ pool: 'hold' })]
    const workers: string[] = []
    for (const { id } of leases) workers.push((await client.leases.wait(id)).worker?.id ?? '')
    const [unseen = '', seen = ''] = workers
    const control = fakeControl(vendorDir(site.data))
    await writeFile(join(vendorDir(site.data), 'workers', unseen, 'unseen'), '')

    const rehearsed = told(await plugins(site, 'upgrade', 'fake@3.0.0', '--keep-old', '--rehearse', ...waived))
    expect(rehearsed).toEqual([0, expect.stringContaining(`p/${unseen} would stay with 1.0.0: it neither lists it`)])
    expect(await running(site)).toHaveLength(1)
    const upgraded = told(await plugins(site, 'upgrade', 'fake@3.0.0', '--keep-old', ...waived))
    expect(upgraded).toEqual([
      0,
      expect.stringMatching(new RegExp(`1 live workers; 1\\.0\\.0 stays for ${unseen}\\n[^]*3\\.0\\.0 has taken`)),
    ])
    const provider = await client.providers.get('p')
    expect(provider).toMatchObject({ plugin: { version: '3.0.0' }, kept: { version: '1.0.0', state: 'ready' } })
    expect(told(await plugins(site, 'show', 'fake'))[1]).toMatch(/kept +version 1\.0\.0 is kept for its last workers: ready/)
    expect((await client.conditions()).map((one) => one.type)).toContain('kept')
    // The lock has room for two.
    expect(told(await plugins(site, 'upgrade', 'fake@5.0.0', '--keep-old', ...waived))).toEqual([
      1,
      expect.stringContaining(`p/${unseen}: it neither lists it nor knows it by name; 1.0.0 is kept for it`),
    ])

    await site.kill()
    await waitFor('no plugin to be left', async () => (await running(site)).length === 0, { timeoutMs: patienceMs })
    await site.start()
    await site.ready()
    await waitFor('both to be ready', async () => (await client.providers.get('p')).kept?.state === 'ready', {
      timeoutMs: patienceMs,
    })
    expect(await running(site)).toHaveLength(2)
    await client.providers.reconcile('p')
    const { id } = await client.leases.create({ pool: 'hold' })
    const fresh = (await client.leases.wait(id)).worker?.id ?? ''
    expect(
      control
        .workers()
        .map((one) => one.id)
        .sort(),
    ).toEqual([unseen, seen, fresh].sort())
    for (const lease of leases) expect(await client.leases.get(lease.id)).toMatchObject({ lease: { state: 'active' } })

    await client.leases.release(leases[0]?.id ?? '')
    await waitFor('its worker and its version to be gone', async () => (await running(site)).length === 1, {
      timeoutMs: patienceMs,
    })
    expect(
      control
        .workers()
        .map((one) => one.id)
        .sort(),
    ).toEqual([seen, fresh].sort())
    expect((await client.providers.get('p')).kept).toBeUndefined()
    expect((await client.why('provider', 'p')).map((one) => one.rule)).toContain('plugin-let-go')
    expect(control.count('create')).toBe(3)
  },
)

test('one that cannot start is refused with what it said, and so is one that the lock does not hold', { timeout }, async () => {
  const site = await openSite()
  const dies = told(await plugins(site, 'upgrade', 'fake@4.0.0', ...waived))
  expect(dies).toEqual([
    1,
    expect.stringMatching(/cannot start: describe: it ended by itself \(exit 3\)[^]*plugin-refused: version 4\.0\.0/),
  ])
  expect([await version(site), (await locked(site)).version]).toEqual(['1.0.0', '1.0.0'])
  const client = site.impatient
  await expect(client.plugins.upgrade('none')).rejects.toMatchObject({ code: 'not-found' })
  await expect(client.plugins.upgrade('fake', { candidate: '0123456789abcdef' })).rejects.toMatchObject({
    code: 'plugin-refused',
  })
  await writeFile(site.config, (await readFile(site.config, 'utf8')).replace('max: 20', 'max: 21'))
  await expect(client.plugins.upgrade('fake')).rejects.toMatchObject({ code: 'conflict' })
})

test.each(upgradePoints.map((point, n) => [point, n % 2 === 0] as const))(
  'a host that dies at %s leaves one version, never none and never two',
  { timeout },
  async (point, candidate) => {
    const site = await openSite({ start: false })
    const daemon = await site.start({ MUSTER_KILL_AT: point })
    await site.ready()
    const { id } = await site.client.leases.create({ pool: 'hold', ttlMs: 600_000 })
    const { worker } = await site.client.leases.wait(id)
    // By the lock itself the next start runs the new one; by what stands beside it, the old one.
    const file = join(site.dir, 'plugins.json')
    const ours = '0123456789abcdef'
    const how = candidate ? { candidate: ours } : {}
    const wanted = candidate ? '1.0.0' : '2.0.0'
    if (candidate) await copyLock(site, candidateFileOf(file, ours))
    await lock(site, '2.0.0', candidate ? candidateFileOf(file, ours) : file)
    await expect(site.impatient.plugins.upgrade('fake', how)).rejects.toMatchObject({ code: 'unreachable' })
    expect((await daemon.exited).signal).toBe('SIGKILL')
    await waitFor('no plugin to be left', async () => (await running(site)).length === 0, { timeoutMs: patienceMs })
    await site.start()
    await site.ready()
    expect([await version(site), (await running(site)).length]).toEqual([wanted, 1])
    expect(await site.client.leases.get(id)).toMatchObject({ lease: { state: 'active' }, worker: { id: worker?.id } })
    const done = await site.client.plugins.upgrade('fake', how)
    expect(done).toMatchObject({ after: '2.0.0', go: true, switched: candidate })
    const control = fakeControl(vendorDir(site.data))
    expect(control.workers().map((one) => one.id)).toEqual([worker?.id])
    await site.client.leases.release(id)
    await waitFor('nothing to be left', () => control.workers().length === 0, { timeoutMs: patienceMs })
    expect(control.count('create')).toBe(1)
  },
)

test(
  'whoever asked for it is told at once that the daemon ended in the middle, and has what was asked for once it is back',
  { timeout },
  async () => {
    const site = await openSite({ start: false })
    const daemon = await site.start({ MUSTER_KILL_AT: upgradePoints[0] })
    await site.ready()
    const going = startMuster(['plugins', 'upgrade', 'fake@2.0.0', ...waived, '-c', site.config], { cwd: site.dir })
    disposals.push(async () => going.kill('SIGKILL'))
    const known = 'whether fake was switched is not known, and plugins.json and the lock stay as they were'
    await waitFor('what is known', () => going.stderr().includes(known), { timeoutMs: patienceMs })
    expect(going.stderr()).toMatch(/the connection to [^\n]+ ended before the answer: [^\n]+\n[^\n]+: muster providers\n/)
    expect([(await daemon.exited).signal, (await locked(site)).version]).toEqual(['SIGKILL', '1.0.0'])
    await site.start()
    const done = await going.exited
    expect(told(done)).toEqual([0, expect.stringContaining('fake: 2.0.0 has taken over from 1.0.0')])
    await site.ready()
    expect([await version(site), (await locked(site)).version]).toEqual(['2.0.0', '2.0.0'])
  },
)

/** What is locked now is what the candidate's lock begins with. */
async function copyLock(site: Site, candidate: string): Promise<void> {
  const text = await readFile(join(site.dir, 'plugins.lock.json'), 'utf8')
  await writeFile(candidate.replace(/\.json$/, '.lock.json'), text)
}
