/** Crash bundles over the API: who may see them, and which there are. */
import { expect, test } from 'vitest'
import { writeBundle } from '../plugins/bundle.ts'
import { startTestDaemon } from './testing/daemon.ts'

test('crash bundles are an admin’s: a list without their output, and each whole', async () => {
  await using daemon = await startTestDaemon()
  expect((await daemon.ask('GET', '/v1/crashes')).json).toEqual({ items: [] })
  const facts = {
    provider: 'one',
    plugin: { name: 'x', version: '1.0.0' },
    reason: 'it ended by itself (SIGKILL)',
    exit: { code: null, signal: 'SIGKILL' },
    restarts: 0,
    output: ['a line', 'the last'],
  }
  const keep = { most: 9, ms: 9e12 }
  for (const at of [1000, 2000]) await writeBundle(daemon.dir, { at, ...facts }, { keep, clean: (text) => text })
  const { output, ...head } = facts
  const [older, newer] = ['1970-01-01T00-00-01.000Z-one', '1970-01-01T00-00-02.000Z-one']
  const first = await daemon.ask('GET', '/v1/crashes?limit=1&provider=one')
  expect(first.json).toEqual({ items: [{ id: newer, at: '1970-01-01T00:00:02.000Z', ...head }], next: newer })
  expect((await daemon.ask('GET', `/v1/crashes?before=${newer}`)).json).toMatchObject({ items: [{ id: older }] })
  expect((await daemon.ask('GET', '/v1/crashes?provider=two')).json).toEqual({ items: [] })
  expect((await daemon.ask('GET', `/v1/crashes/${older}`)).json).toEqual({
    id: older,
    at: '1970-01-01T00:00:01.000Z',
    ...head,
    output,
  })
  for (const id of ['nope', encodeURIComponent('../admin.token'), '1970-01-01T00-00-01.000Z-two']) {
    const { status, json } = await daemon.ask('GET', `/v1/crashes/${id}`)
    expect([id, status, json]).toMatchObject([id, 404, { code: 'not-found', hint: expect.stringContaining('providers crashes') }])
  }
  expect((await daemon.ask('GET', '/v1/crashes?before=nope')).json).toMatchObject({ code: 'invalid-request' })
  const made = await daemon.ask('POST', '/v1/tokens', { body: { name: 'op', role: 'operator' } })
  for (const path of ['/v1/crashes', `/v1/crashes/${older}`])
    expect((await daemon.ask('GET', path, { token: String(made.json['token']) })).json).toMatchObject({ code: 'forbidden' })
})
