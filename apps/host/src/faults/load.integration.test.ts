/** Many at once: what cannot be served now waits or is refused in clear words, and nothing is left. */
import { connect, type MusterClient } from '@muster/client'
import { startProcess } from '@muster/test/systems/process'
import { waitFor } from '@muster/test/systems/wait'
import { readFileSync, readdirSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { makeSite, patienceMs, type Site } from './daemon.test.helper.ts'
import { fakeVendor, type Vendor } from './vendors.test.helper.ts'

const timeout = 600_000
const disposals: (() => unknown)[] = []
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
})

interface Endpoint {
  pid: number
  url: string
}

async function openSite(): Promise<{ site: Site; vendor: Vendor; endpoint(): Endpoint }> {
  const vendor = await fakeVendor()
  disposals.push(() => vendor.dispose?.())
  const site = await makeSite(vendor.files())
  disposals.push(() => site.dispose())
  const endpoint = (): Endpoint => JSON.parse(readFileSync(join(site.data, 'endpoint.json'), 'utf8')) as Endpoint
  return { site, vendor, endpoint }
}

const openFiles = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length

async function nothingLeft({ site, vendor }: { site: Site; vendor: Vendor }): Promise<void> {
  await waitFor('every worker to be gone', async () => (await site.client.workers.list({ limit: 1 })).items.length === 0, {
    timeoutMs: patienceMs,
  })
  const { owner } = await site.client.version()
  expect(await vendor.existing({ data: site.data, owner })).toEqual([])
  expect((await site.client.leases.list({ limit: 1 })).items).toEqual([])
  expect((await site.client.runs.list({ limit: 1 })).items).toEqual([])
}

test(
  'a thousand runs at once, half of them cancelled while they wait or run, each followed by its log',
  { timeout },
  async () => {
    const opened = await openSite()
    const { site, endpoint } = opened
    await site.start()
    await site.ready()
    const before = openFiles(endpoint().pid)
    const client = connect({ socket: site.socket }, { patienceMs })
    const ends = await Promise.all(
      Array.from({ length: 1000 }, async (_, index) => {
        const run = await client.runs.create({ pool: 'cold', command: ['/bin/sh', '-c', `echo ${index}; exit ${index % 3}`] })
        const follow = index < 200 ? readAll(client, run.id) : undefined
        if (index % 2 === 1) {
          // Some before they are looked at, some while they start or run.
          if (index % 4 === 1) await client.runs.wait(run.id, { until: 'starting' })
          await client.runs.cancel(run.id, { force: index % 8 === 7 })
        }
        const { outcome, exit } = await client.runs.wait(run.id)
        return { index, outcome, code: exit?.code, text: await follow }
      }),
    )
    client.close()
    for (const { index, outcome, code, text } of ends) {
      if (outcome === 'cancelled') expect(index % 2).toBe(1)
      else expect([outcome, code]).toEqual(index % 3 === 0 ? ['passed', 0] : ['failed', index % 3])
      if (text !== undefined && outcome !== 'cancelled') expect(text).toBe(`${index}\n`)
    }
    await nothingLeft(opened)
    await waitFor('the files to be closed', () => openFiles(endpoint().pid) <= before + 5, { timeoutMs: patienceMs })
  },
)

test(
  'three hundred streams where 256 files may be open: each is served or refused in words, and all works after it',
  { timeout },
  async () => {
    const opened = await openSite()
    const { site, endpoint } = opened
    const bin = join(import.meta.dirname, '../../bin/muster.mjs')
    const fresh = process.env['CI'] === 'true' || process.env['MUSTER_TEST_BUILT'] === '1'
    const daemon = await startProcess(
      ['/bin/sh', '-c', 'ulimit -n 256; exec "$@"', 'sh', process.execPath, bin, 'up', '-c', site.config],
      { cwd: site.dir, env: { ...process.env, ...(fresh ? {} : { MUSTER_SOURCE: '1' }) } },
    )
    disposals.push(() => daemon.stop())
    await waitFor('the daemon', () => daemon.stderr().includes('"msg":"ready"'), { timeoutMs: patienceMs })
    await site.ready()
    const token = readFileSync(join(site.data, 'admin.token'), 'utf8').trim()
    const run = await site.client.runs.create({
      pool: 'hold',
      command: ['/bin/sh', '-c', 'echo begun; while [ ! -e go ]; do sleep 0.1; done; echo over'],
    })
    const { worker = '' } = await site.client.runs.wait(run.id, { until: 'running' })
    const before = openFiles(endpoint().pid)

    const path = `/v1/runs/${run.id}/logs?follow=true`
    const asked = Array.from({ length: 300 }, () =>
      request(`${endpoint().url}${path}`, { agent: false, headers: { authorization: `Bearer ${token}` } }),
    )
    const statuses = await Promise.all(
      asked.map(
        (one) =>
          new Promise<number>((resolve) => {
            // One that finds no place at all is closed at once.
            one.once('error', () => resolve(0))
            one.once('response', (answer) => {
              if (answer.statusCode !== 200) answer.resume()
              answer.on('error', () => undefined)
              resolve(answer.statusCode ?? 0)
            })
            one.end()
          }),
      ),
    )
    const counts = Object.fromEntries([200, 429, 0].map((status) => [status, statuses.filter((one) => one === status).length]))
    expect([...new Set(statuses)].filter((status) => ![0, 200, 429].includes(status))).toEqual([])
    // One token has half of the places, as long as it is alone.
    expect(counts[200]).toBeGreaterThan(15)
    expect(counts[429]).toBeGreaterThan(0)
    expect(openFiles(endpoint().pid)).toBeLessThan(256)
    for (const one of asked) one.destroy()
    await waitFor('the files to be closed', () => openFiles(endpoint().pid) <= before + 5, { timeoutMs: patienceMs })

    await site.client.workers.exec(worker, { command: ['/bin/sh', '-c', 'touch go'] })
    expect(await site.client.runs.wait(run.id)).toMatchObject({ outcome: 'passed' })
    expect(await readAll(site.client, run.id)).toBe('begun\nover\n')
    await nothingLeft(opened)
    expect(daemon.running()).toBe(true)
  },
)

async function readAll(client: MusterClient, id: string): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const { data } of client.runs.logs(id)) chunks.push(data)
  return Buffer.concat(chunks).toString()
}
