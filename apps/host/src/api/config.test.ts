import { expect, test } from 'vitest'
import type { Apply } from '../apply.ts'
import type { Change } from '../config/diff.ts'
import { startTestDaemon } from './testing/daemon.ts'

const change: Change = { path: 'pools.ci.scale.max', kind: 'changed', before: '8', after: '20', effect: 'at once' }
const problem = { file: 'muster.yaml', line: 3, column: 5, reason: "unknown key 'warn'", fix: "write 'warm'" }

test('applies for an admin alone, says who it was, and what changes', async () => {
  await using daemon = await startTestDaemon()
  const asked: Parameters<Apply>[0][] = []
  daemon.apply = async (how) => {
    asked.push(how)
    return { changes: [change], problems: [], applied: !how.dryRun }
  }
  const operator = await daemon.ask('POST', '/v1/tokens', { body: { name: 'op', role: 'operator' } })
  const refused = await daemon.ask('POST', '/v1/config/apply', { token: String(operator.json['token']) })
  expect([refused.status, asked]).toEqual([403, []])
  const looked = await daemon.ask('POST', '/v1/config/apply', { body: { dryRun: true } })
  expect([looked.status, looked.json]).toEqual([200, { applied: false, changes: [change] }])
  const applied = await daemon.ask('POST', '/v1/config/apply')
  expect([applied.status, applied.json]).toEqual([200, { applied: true, changes: [change] }])
  expect(asked).toEqual([
    { principal: 'token:admin', dryRun: true },
    { principal: 'token:admin', dryRun: false },
  ])
})

test('a configuration that is wrong is a problem that names every place', async () => {
  await using daemon = await startTestDaemon()
  daemon.apply = async () => ({ changes: [], problems: [problem, { ...problem, line: 9 }], applied: false })
  const { status, json } = await daemon.ask('POST', '/v1/config/apply')
  expect([status, json['code'], json['detail']]).toEqual([422, 'config-refused', 'the configuration is refused: 2 problems'])
  expect(json['errors']).toEqual([
    { path: 'muster.yaml:3:5', message: "unknown key 'warn'\n    fix: write 'warm'" },
    { path: 'muster.yaml:9:5', message: "unknown key 'warn'\n    fix: write 'warm'" },
  ])
})
