import { expect, test } from 'vitest'
import { EngineError } from '../engine/api.ts'
import { startTestDaemon } from './testing/daemon.ts'

const path = '/v1/dev/dev-shed'
const until = '2026-01-01T00:00:00.000Z'
const body = { folder: '/srv/shed', until, pool: { worker: { image: 'a' } } }

test('an admin alone attaches a plugin under development, and takes it away', async () => {
  await using daemon = await startTestDaemon()
  const asked: unknown[] = []
  daemon.dev = {
    attach: async (...all) => {
      asked.push(all)
      return { attached: { name: 'dev-shed', version: '1.0.0', until: Date.parse(until), changed: true }, problems: [] }
    },
    detach: async (...all) => void asked.push(all),
  }
  const operator = await daemon.ask('POST', '/v1/tokens', { body: { name: 'op', role: 'operator' } })
  const token = String(operator.json['token'])
  const refused = [await daemon.ask('PUT', path, { body, token }), await daemon.ask('DELETE', path, { token })]
  expect([refused.map((one) => one.status), asked]).toEqual([[403, 403], []])
  const { status, json } = await daemon.ask('PUT', path, { body })
  expect([status, json]).toEqual([200, { name: 'dev-shed', version: '1.0.0', until, changed: true }])
  expect((await daemon.ask('DELETE', path)).status).toBe(204)
  const whole = { name: 'dev-shed', folder: '/srv/shed', until: Date.parse(until), provider: {}, pool: body.pool }
  expect(asked).toEqual([
    [whole, 'token:admin'],
    ['dev-shed', 'token:admin'],
  ])
  // What is under development is seen to be so.
  expect((await daemon.ask('PUT', '/v1/dev/shed', { body })).json['code']).toBe('invalid-request')
})

test('what is wrong with it is a problem with every reason', async () => {
  await using daemon = await startTestDaemon()
  const problem = { file: 'dev-shed', line: 1, column: 1, reason: 'it cannot start', fix: 'mend it' }
  daemon.dev = {
    attach: async () => ({ problems: [problem] }),
    detach: async () => {
      throw new EngineError('not-found', 'no plugin under development has the name dev-shed')
    },
  }
  const { status, json } = await daemon.ask('PUT', path, { body })
  expect([status, json['code'], json['detail'], json['errors']]).toEqual([
    422,
    'config-refused',
    'dev-shed is refused: 1 problem',
    [{ path: 'dev-shed:1:1', message: 'it cannot start\n    fix: mend it' }],
  ])
  expect((await daemon.ask('DELETE', path)).json['code']).toBe('not-found')
})
