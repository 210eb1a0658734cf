/** Backup of a daemon that works, restore over it and elsewhere: what lived goes on, what came later is removed, nothing runs twice. */
import { copyFile, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { isMusterError } from '@muster/client'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, describe, expect, it } from 'vitest'
import { makeSite, patienceMs, type Site } from '../faults/daemon.test.helper.ts'
import { fakeVendor, localVendor, type OpenVendor, type Vendor } from '../faults/vendors.test.helper.ts'
import { type Counting, gapIn, startCounting } from '../faults/work.test.helper.ts'
import { muster, type MusterExit } from './muster.test.helper.ts'

const timeout = 600_000
const disposals: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
})

async function open(openVendor: OpenVendor, more = ''): Promise<{ site: Site; vendor: Vendor; owner: string }> {
  const vendor = await openVendor()
  if (vendor.dispose !== undefined) disposals.push(vendor.dispose)
  const files = vendor.files()
  const site = await makeSite({ ...files, pools: `${files.pools}\n${more}` })
  disposals.push(() => site.dispose())
  disposals.push(() => emptied(site))
  await site.start()
  await site.ready()
  return { site, vendor, owner: (await site.client.version()).owner }
}

/** What a daemon that still runs has under way ends with its test. */
async function emptied(site: Site): Promise<void> {
  // A stock would be filled again.
  for (const { name } of await site.impatient.pools.list().catch(() => [])) await site.client.pools.pause(name)
  const { items } = await site.impatient.workers.list().catch(() => ({ items: [] }))
  // One that is ending may be gone by now.
  for (const { id } of items)
    await site.client.workers.terminate(id, { force: true }).catch((error: unknown) => {
      if (!isMusterError(error) || error.code !== 'not-found') throw error
    })
  if (items.length > 0)
    await waitFor('every worker to be gone', async () => (await site.client.workers.list()).items.length === 0, {
      timeoutMs: patienceMs,
    })
}

const run = (site: Site, ...args: string[]): Promise<MusterExit> => muster([...args, '-c', site.config], { cwd: site.dir })

async function lease(site: Site): Promise<{ id: string; worker: string }> {
  const { id } = await site.client.leases.create({ pool: 'hold', ttlMs: 600_000 })
  const { worker } = await site.client.leases.wait(id)
  return { id, worker: worker?.id ?? '' }
}

async function writing(one: Counting): Promise<void> {
  await waitFor('the run to write', () => one.seen() > 2, { timeoutMs: patienceMs })
}

async function backup(site: Site, ...args: string[]): Promise<string> {
  const file = join(site.dir, `backup-${args.length}.tar`)
  const taken = await run(site, 'backup', file, ...args)
  expect([taken.stderr.text, taken.code]).toEqual([expect.stringContaining('read back and whole'), 0])
  return file
}

/** The last line of a daemon that did not start. */
async function refused(site: Site): Promise<string> {
  const daemon = await site.start()
  expect((await daemon.exited).code).toBe(1)
  return daemon.stderr()
}

async function adopted(site: Site, owner: string): Promise<void> {
  await site.start({}, ['--adopt'])
  await site.ready()
  expect((await site.client.version()).owner).toBe(owner)
}

describe.each([
  ['the fake provider', fakeVendor],
  ['local processes', localVendor],
] as const)('a restore over the folder, with %s', (_name, openVendor) => {
  it('hands nobody a worker that somebody had since the backup', { timeout }, async () => {
    const stock = 'stock: { placement: [p], worker: { work: hold, grace: 500ms }, scale: { warm: 1, max: 1 } }'
    const { site, vendor, owner } = await open(openVendor, stock)
    const idle = await waitFor(
      'a worker that waits',
      async () => (await site.client.workers.list()).items.find(({ pool, phase }) => pool === 'stock' && phase === 'idle'),
      { timeoutMs: patienceMs },
    )
    const file = await backup(site)
    const leased = async (): Promise<string> => {
      const { id } = await site.client.leases.create({ pool: 'stock', ttlMs: 600_000 })
      return (await site.client.leases.wait(id)).worker?.id ?? ''
    }
    expect(await leased()).toBe(idle?.id)
    await site.kill()
    expect((await run(site, 'restore', file, '--force')).code).toBe(0)
    await adopted(site, owner)
    expect(await leased()).not.toBe(idle?.id)
    const rules = (await site.client.why('worker', idle?.id ?? '')).map(({ rule }) => rule)
    expect(rules).toContain('restored-unused')
    await waitFor('its end', async () => !(await vendor.existing({ data: site.data, owner })).includes(idle?.id ?? ''), {
      timeoutMs: patienceMs,
    })
  })

  it('begins no run that waited: it may have had its turn since', { timeout }, async () => {
    const { site, owner } = await open(
      openVendor,
      'one: { placement: [p], worker: { work: hold, grace: 500ms }, scale: { max: 1 } }',
    )
    const before = await startCounting(site.client, 'one')
    await writing(before)
    const waiting = await startCounting(site.client, 'one')
    expect((await site.client.runs.get(waiting.id)).state).toBe('queued')
    const file = await backup(site)
    await before.end()
    await writing(waiting)
    await waiting.end()
    await waiting.done
    await site.kill()
    expect((await run(site, 'restore', file, '--force')).code).toBe(0)
    await adopted(site, owner)
    const ended = await site.client.runs.wait(waiting.id)
    expect(ended).toMatchObject({ outcome: 'unknown', reason: expect.stringContaining('the store was put back') })
    expect(ended).not.toHaveProperty('worker')
    const rules = (await site.client.why('run', waiting.id)).map(({ rule }) => rule)
    expect(rules).toContain('restored-unbegun')
  })

  it(
    'asks for the owner; then what lived goes on, later workers are removed, what ended since is found gone',
    { timeout },
    async () => {
      const { site, vendor, owner } = await open(openVendor)
      const held = await lease(site)
      const goesOn = await startCounting(site.client, 'hold')
      const endsSoon = await startCounting(site.client, 'hold')
      await writing(goesOn)
      await writing(endsSoon)
      const file = await backup(site)
      expect((await stat(file)).mode & 0o777).toBe(0o600)
      const later = await lease(site)
      await endsSoon.end()
      await endsSoon.done
      const journaled = await site.client.runs.get(endsSoon.id)
      expect(journaled.outcome).toBe('failed')

      const again = await run(site, 'backup', file)
      expect([again.code, again.stderr.text]).toEqual([1, expect.stringContaining('is there already')])
      const inUse = await run(site, 'restore', file, '--force')
      expect([inUse.code, inUse.stderr.text]).toEqual([1, expect.stringContaining('in use by process')])
      await site.stop()
      const full = await run(site, 'restore', file)
      expect([full.code, full.stderr.text]).toEqual([1, expect.stringMatching(/is not empty[^]*--force/)])
      const restored = await run(site, 'restore', file, '--force', '--json')
      expect([restored.stderr.text, restored.code]).toEqual(['', 0])
      const { aside } = JSON.parse(restored.stdout.text) as { aside: string }
      expect((await readdir(aside)).sort()).toEqual(expect.arrayContaining(['muster.db', 'owner.json']))

      expect(await refused(site)).toMatch(/not started: the store is older[^]*--adopt/)
      await adopted(site, owner)
      await waitFor(
        'the worker made later to be removed',
        async () => !(await vendor.existing({ data: site.data, owner })).includes(later.worker),
        {
          timeoutMs: patienceMs,
        },
      )
      expect((await site.client.leases.get(held.id)).lease.state).toBe('active')
      const ended = await site.client.runs.wait(endsSoon.id)
      expect(['unknown', 'infrastructure']).toContain(ended.outcome)
      await goesOn.end()
      const { run: whole, text } = await goesOn.done
      expect(whole).toMatchObject({ outcome: 'failed', exit: { code: 5 } })
      expect(gapIn(text)).toBeUndefined()
      expect(await vendor.existing({ data: site.data, owner })).toContain(held.worker)
      await site.client.leases.release(held.id)
      await waitFor('nothing to be left', async () => (await vendor.existing({ data: site.data, owner })).length === 0, {
        timeoutMs: patienceMs,
      })
      for (const [id, count] of vendor.made?.({ data: site.data }) ?? []) expect([id, count]).toEqual([id, 1])
      expect((await run(site, 'restore', file, '--force')).code).toBe(1)
    },
  )
})

describe('a restore elsewhere', () => {
  it(
    'brings logs and outputs with it, takes the key from the backup, and leaves earlier workers alone when told to',
    { timeout },
    async () => {
      const { site, vendor, owner } = await open(localVendor)
      const { id } = await site.client.runs.create({ pool: 'cold', command: ['sh', '-c', 'echo canary'] })
      await site.client.runs.wait(id)
      const held = await lease(site)
      const file = await backup(site, '--with-key', '--logs')
      await site.stop()
      const there = join(site.dir, 'there')
      const restored = await muster(['restore', file, '--data', there], { cwd: site.dir })
      expect([restored.stderr.text, restored.code]).toEqual([expect.stringContaining('--new-owner'), 0])
      expect((await stat(there)).mode & 0o777).toBe(0o700)
      for (const name of await readdir(there))
        if (name !== 'runs') expect([name, (await stat(join(there, name))).mode & 0o777]).toEqual([name, 0o600])
      const config = join(site.dir, 'there.yaml')
      await writeFile(
        config,
        (await readFile(site.config, 'utf8')).replace('data: data', 'data: there').replace('muster.sock', 'there.sock'),
      )
      const other: Site = await siteOf(site, { config, data: there })
      expect(await refused(other)).toMatch(/not started: [^]*--adopt/)
      await other.start({}, ['--new-owner'])
      await other.ready()
      expect((await other.client.version()).owner).not.toBe(owner)
      const logs = await muster(['logs', id, '-c', config], { cwd: site.dir })
      expect(logs.stdout.text).toBe('canary\n')
      expect((await other.client.leases.get(held.id)).lease.state).toBe('ended')
      // Left alone: it is the former owner's, who goes on with it.
      expect(await vendor.existing({ data: site.data, owner })).toEqual([held.worker])
      await other.stop()
      await site.start()
      await site.ready()
      expect((await site.client.leases.get(held.id)).lease.state).toBe('active')
      await site.client.leases.release(held.id)
      await waitFor('nothing to be left', async () => (await vendor.existing({ data: site.data, owner })).length === 0, {
        timeoutMs: patienceMs,
      })
    },
  )

  it(
    'asks for a key that it does not have, refuses a wrong one, and ends what was live when the key is lost',
    { timeout },
    async () => {
      const { site, vendor, owner } = await open(localVendor)
      const held = await lease(site)
      const goesOn = await startCounting(site.client, 'hold')
      await writing(goesOn)
      const file = await backup(site)
      await site.stop()
      const key = join(site.dir, 'kept.key')
      await copyFile(join(site.data, 'seal.key'), key)
      const there = join(site.dir, 'there')
      const restore = (...args: string[]): Promise<MusterExit> =>
        muster(['restore', file, '--data', there, ...args], { cwd: site.dir })
      const none = await restore()
      expect([none.code, none.stderr.text]).toEqual([1, expect.stringMatching(/no seal key[^]*--key FILE[^]*--without-key/)])
      await expect(readdir(there)).rejects.toMatchObject({ code: 'ENOENT' })
      await writeFile(join(site.dir, 'wrong.key'), Buffer.alloc(32, 7))
      const wrong = await restore('--key', join(site.dir, 'wrong.key'))
      expect([wrong.code, wrong.stderr.text]).toEqual([1, expect.stringContaining('is not the seal key of this backup')])
      expect((await restore('--key', key)).code).toBe(0)
      expect(await readFile(join(there, 'seal.key'))).toEqual(await readFile(key))

      await rm(join(site.data, 'seal.key'))
      const lost = await run(site, 'restore', file, '--force', '--without-key')
      expect([lost.stderr.text, lost.code]).toEqual([expect.stringContaining('have ended'), 0])
      await adopted(site, owner)
      expect(await site.client.runs.get(goesOn.id)).toMatchObject({ state: 'ended', outcome: 'unknown' })
      expect((await site.client.leases.get(held.id)).lease.state).toBe('ended')
      await waitFor('their workers to be gone', async () => (await vendor.existing({ data: site.data, owner })).length === 0, {
        timeoutMs: patienceMs,
      })
      const { id } = await site.client.runs.create({ pool: 'cold', command: ['true'], env: { A: 'b' } })
      expect(await site.client.runs.wait(id)).toMatchObject({ outcome: 'passed' })
    },
  )
})

describe('a backup that is not what was written', () => {
  it('is refused, and the folder stays as it is', { timeout }, async () => {
    const { site } = await open(fakeVendor)
    const folder = join(site.dir, 'backups')
    await mkdir(folder)
    const taken = await run(site, 'backup', folder, '--with-key', '--json')
    expect(taken.code).toBe(0)
    const { file } = JSON.parse(taken.stdout.text) as { file: string }
    const storage = await run(site, 'storage')
    expect([storage.code, storage.stdout.text, storage.stderr.text]).toEqual([
      0,
      expect.stringMatching(/store +\d[^]*providers/),
      expect.stringContaining('free on its disk'),
    ])
    const nowhere = await run(site, 'backup', join(site.dir, 'no', 'folder.tar'))
    expect([nowhere.code, nowhere.stderr.text]).toEqual([1, expect.stringContaining('there is no folder')])
    expect(await readdir(folder)).toEqual([file.slice(folder.length + 1)])
    const replaced = await run(site, 'backup', file, '--force', '--json')
    expect([replaced.code, JSON.parse(replaced.stdout.text)]).toEqual([0, expect.objectContaining({ file, key: false })])
    expect(await readdir(folder)).toHaveLength(1)
    await site.stop()
    const whole = await readFile(file)
    const there = join(site.dir, 'there')
    const broken = join(site.dir, 'broken.tar')
    const attempt = async (bytes: Uint8Array): Promise<string> => {
      await writeFile(broken, bytes)
      const { code, stderr } = await muster(['restore', broken, '--data', there], { cwd: site.dir })
      expect(code).toBe(1)
      expect(await readdir(there).catch(() => 'not made')).toBe('not made')
      return stderr.text
    }
    const flipped = Buffer.from(whole)
    flipped[512 + 50_000] = (flipped[512 + 50_000] ?? 0) ^ 1
    expect(await attempt(flipped)).toMatch(/not restored: .*SHA-256 differs/)
    // Cut at every kind of place: in the database, between two entries, in the manifest, before the end.
    for (const at of [10, 512, 100_000, whole.length - 1024 - 512 - 1024, whole.length - 1600])
      expect([at, await attempt(whole.subarray(0, at))]).toEqual([
        at,
        expect.stringMatching(/not restored: .*(no backup|not whole|not the whole)/),
      ])
    expect(await attempt(Buffer.from('this is no tar, '.repeat(100)))).toMatch(/not restored: .*no backup/)
    expect(await attempt(Buffer.alloc(0))).toMatch(/not restored: .*no backup/)
    const missing = await muster(['restore', join(site.dir, 'none.tar'), '--data', there], { cwd: site.dir })
    expect([missing.code, missing.stderr.text]).toEqual([1, expect.stringContaining('there is no file')])
  })

  it('of a newer Muster is refused by name', { timeout }, async () => {
    const { site } = await open(fakeVendor)
    await site.stop()
    {
      using db = new DatabaseSync(join(site.data, 'muster.db'))
      db.prepare('insert into kysely_migration (name, timestamp) values (?, ?)').run('9999-later', new Date().toISOString())
    }
    expect(await refused(site)).toMatch(
      /not started: the store was written by a newer Muster: this one does not know its 9999-later/,
    )
  })
})

describe('a backup that is cut', () => {
  it('is said, and nothing is left of it', { timeout }, async () => {
    const { site } = await open(fakeVendor)
    // Without its key the daemon goes on, and cannot put it into a backup.
    await rm(join(site.data, 'seal.key'))
    const cut = await run(site, 'backup', join(site.dir, 'cut.tar'), '--with-key')
    expect([cut.code, cut.stderr.text]).toEqual([1, expect.stringContaining('cut before the whole backup')])
    expect((await readdir(site.dir)).filter((name) => name.startsWith('cut'))).toEqual([])
    await waitFor('the copy to be gone', async () => !(await readdir(site.data)).includes('backup.part'), {
      timeoutMs: patienceMs,
    })
    expect((await run(site, 'backup', join(site.dir, 'whole.tar'))).code).toBe(0)
  })
})

/** Another deployment with the files of a first one. */
async function siteOf(site: Site, { config, data }: { config: string; data: string }): Promise<Site> {
  const { connect } = await import('@muster/client')
  const { startProcess } = await import('@muster/test/systems/process')
  const socket = join(site.dir, 'there.sock')
  const client = connect({ socket }, { patienceMs })
  let daemon: Awaited<ReturnType<typeof startProcess>> | undefined
  const other: Site = {
    ...site,
    client,
    config,
    data,
    socket,
    async start(env = {}, args = []) {
      daemon = await startProcess(
        [process.execPath, join(import.meta.dirname, '../../bin/muster.mjs'), 'up', '-c', config, ...args],
        {
          cwd: site.dir,
          env: { ...process.env, MUSTER_SOURCE: '1', ...env },
        },
      )
      return daemon
    },
    ready: () =>
      waitFor('every provider to be ready', async () => (await client.providers.list()).every((one) => one.state === 'ready'), {
        timeoutMs: patienceMs,
      }).then(() => undefined),
    stop: async () => {
      client.close()
      return (await daemon?.stop()) ?? { code: null, signal: null }
    },
  }
  disposals.push(() => other.stop())
  return other
}
