import { existsSync, mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readArchive } from '../store/archive.ts'
import { startTestDaemon } from './testing/daemon.ts'

test('a backup is an admin’s, ends with its manifest, is in the journal, and leaves nothing behind', async () => {
  await using daemon = await startTestDaemon()
  const made = await daemon.ask('POST', '/v1/tokens', { body: { name: 'op', role: 'operator' } })
  const refused = await daemon.ask('POST', '/v1/backup', { token: String(made.json['token']) })
  expect([refused.status, refused.json['code']]).toEqual([403, 'forbidden'])
  const answer = await fetch(`${daemon.api.url}/v1/backup`, {
    method: 'POST',
    headers: { authorization: `Bearer ${daemon.token}` },
  })
  expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'application/x-tar'])
  const file = join(daemon.dir, 'x.tar')
  writeFileSync(file, Buffer.from(await answer.arrayBuffer()))
  expect(await readArchive(file)).toMatchObject({ version: '1.2.3', key: false, logs: false })
  await expect.poll(() => existsSync(join(daemon.dir, 'backup.part'))).toBe(false)
  const rows = await daemon.harness.engine.store.read
    .selectFrom('journal')
    .selectAll()
    .where('rule', '=', 'backup-taken')
    .execute()
  expect(rows.map((row) => JSON.parse(row.inputs) as unknown)).toEqual([{ principal: 'token:admin', key: false, logs: false }])
})

test('of backups that are asked for at once, only those that are taken are in the journal', async () => {
  await using daemon = await startTestDaemon()
  const ask = async (): Promise<number> => {
    const headers = { authorization: `Bearer ${daemon.token}` }
    const answer = await fetch(`${daemon.api.url}/v1/backup`, { method: 'POST', headers })
    await answer.arrayBuffer()
    return answer.status
  }
  const statuses = await Promise.all([ask(), ask(), ask(), ask()])
  expect(statuses).toContain(429)
  const taken = daemon.harness.engine.store.read.selectFrom('journal').select('seq').where('rule', '=', 'backup-taken')
  expect(await taken.execute()).toHaveLength(statuses.filter((status) => status === 200).length)
})

test('a download that takes nothing for minutes is cut off, so that the next backup can be taken', async () => {
  await using daemon = await startTestDaemon()
  // More than the buffers of a connection hold.
  const run = join(daemon.dir, 'runs', `r${'0'.repeat(26)}`)
  mkdirSync(run, { recursive: true })
  writeFileSync(join(run, 'log'), '')
  truncateSync(join(run, 'log'), 64 * 1_048_576)
  const headers = { authorization: `Bearer ${daemon.token}`, 'content-type': 'application/json' }
  const asked = request(`${daemon.api.url}/v1/backup`, { method: 'POST', headers, agent: false })
  asked.end('{"logs":true}')
  const [still] = (await once(asked, 'response')) as [IncomingMessage]
  const cut = once(still, 'error')
  const other = await daemon.ask('POST', '/v1/backup')
  expect([other.status, other.json['code'], other.json['hint']]).toEqual([
    429,
    'rate-limited',
    expect.stringContaining('takes nothing for 5 minutes is cut off'),
  ])
  const told = (): typeof daemon.log => daemon.log.filter(({ msg }) => String(msg).startsWith('a backup was cut off'))
  while (told().length === 0) await daemon.harness.pass(60_000)
  still.resume()
  expect(await cut).toMatchObject([{ code: 'ECONNRESET' }])
  await expect.poll(async () => (await daemon.ask('POST', '/v1/backup')).status).toBe(200)
  expect(told()).toMatchObject([{ principal: 'token:admin' }])
})

test('what it takes of its disk, by kind', async () => {
  await using daemon = await startTestDaemon()
  const { status, json } = await daemon.ask('GET', '/v1/storage')
  expect(status).toBe(200)
  expect(json).toMatchObject({
    rows: { workers: 0, leases: 0, runs: 0, tokens: 1 },
    store: { bytes: expect.any(Number) as number, freeBytes: expect.any(Number) as number },
    disk: { total: expect.any(Number) as number },
  })
})
