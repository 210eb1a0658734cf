/** A daemon of this version on the data folder of each earlier one: its workers, leases and runs go on. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { waitFor } from '@muster/test/systems/wait'
import { packFolder } from '@muster/client'
import { afterEach, expect, it } from 'vitest'
import { makeSite, patienceMs, type Site } from '../faults/daemon.test.helper.ts'
import { fakeVendor, vendorDir } from '../faults/vendors.test.helper.ts'

const timeout = 600_000
const fixtures = join(import.meta.dirname, 'testing/fixtures')
const disposals: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
})

interface Folder {
  at: number
  key: string
  owner: { owner: string; epoch: number }
  worker: { id: string; createdAt: number }
  log: { run: string; base64: string }
}

/** Columns that hold an instant; what is kept by age must not have grown old with the fixture. */
const instants = /^at$|_at$|^deadline$|^queue_deadline$|^since$|_since$|^first_seen$/

async function unpack(name: string, site: Site): Promise<Folder> {
  const folder = JSON.parse(await readFile(join(fixtures, name, 'folder.json'), 'utf8')) as Folder
  const by = Date.now() - folder.at
  {
    using db = new DatabaseSync(join(site.data, 'muster.db'))
    db.exec(await readFile(join(fixtures, name, 'store.sql'), 'utf8'))
    const tables = db.prepare("select name from sqlite_schema where type = 'table' and name not like 'sqlite_%'").all()
    for (const { name: table } of tables)
      for (const { name: column, type } of db.prepare(`pragma table_info(${String(table)})`).all())
        if (instants.test(String(column)) && String(type).toLowerCase().includes('int'))
          db.exec(`update ${String(table)} set ${String(column)} = ${String(column)} + ${by} where ${String(column)} > 0`)
  }
  await writeFile(join(site.data, 'seal.key'), Buffer.from(folder.key, 'base64'), { mode: 0o600 })
  await writeFile(join(site.data, 'owner.json'), JSON.stringify(folder.owner))
  const worker = join(vendorDir(site.data), 'workers', folder.worker.id)
  await mkdir(worker, { recursive: true })
  await writeFile(join(worker, 'worker.json'), JSON.stringify({ ...folder.worker, createdAt: folder.worker.createdAt + by }))
  const run = join(site.data, 'runs', folder.log.run)
  await mkdir(run, { recursive: true })
  await writeFile(join(run, 'log'), Buffer.from(folder.log.base64, 'base64'))
  return folder
}

const names = (await readdir(fixtures)).filter((name) => /^\d{4}$/.test(name)).sort()
expect(names).toContain('0001')

it.each(names)('goes on with the store of form %s', { timeout }, async (name) => {
  const vendor = await fakeVendor()
  const files = vendor.files()
  const site = await makeSite({ ...files, pools: files.pools.replace(/(hold: .*)max: 20/, '$1max: 1') })
  disposals.push(() => site.dispose())
  const { owner, worker, log } = await unpack(name, site)
  await site.start()
  await site.ready()
  const { client } = site
  expect((await client.version()).owner).toBe(owner.owner)
  // Workers are adopted, not made again.
  const leases = (await client.leases.list()).items
  expect(leases.map(({ state }) => state).sort()).toEqual(['active', 'queued'])
  const active = leases.find(({ state }) => state === 'active')
  expect(active?.worker).toBe(worker.id)
  await waitFor(
    'the worker to be seen',
    async () => (await vendor.existing({ data: site.data, owner: owner.owner })).join() === worker.id,
    {
      timeoutMs: patienceMs,
    },
  )
  expect((await client.tokens.list()).map((token) => token.name)).toEqual(expect.arrayContaining(['admin', 'viewer']))
  let text = ''
  for await (const { data } of client.runs.logs(log.run)) text += Buffer.from(data).toString()
  expect(text).toBe('ended\n')
  // What was sealed opens.
  const waiting = (await client.runs.list()).items.find(({ state }) => state === 'uploading')
  const input = join(site.dir, 'input')
  await mkdir(input)
  await writeFile(join(input, 'file'), 'from the input\n')
  await client.runs.putInput(waiting?.id ?? '', { name: 'in', tar: () => packFolder(input) })
  let written = ''
  for await (const { data } of client.runs.logs(waiting?.id ?? '')) written += Buffer.from(data).toString()
  expect(written).toBe('from the input\ncanary-of-the-run\n')
  expect(await client.runs.wait(waiting?.id ?? '')).toMatchObject({ outcome: 'passed' })
  // The one that waits gets its turn.
  const queued = leases.find(({ state }) => state === 'queued')
  await client.leases.release(active?.id ?? '')
  expect(await client.leases.wait(queued?.id ?? '')).toMatchObject({ lease: { state: 'active' } })
  await client.leases.release(queued?.id ?? '')
  await waitFor('nothing to be left', async () => (await vendor.existing({ data: site.data, owner: owner.owner })).length === 0, {
    timeoutMs: patienceMs,
  })
  for (const [id, count] of vendor.made?.({ data: site.data }) ?? []) expect([id, count]).toEqual([id, 1])
  expect((await readdir(site.data)).filter((file) => file.startsWith('muster.db.before-'))).toHaveLength(1)
  expect((await site.stop()).code).toBe(0)
})
