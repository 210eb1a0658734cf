import { expect, test } from 'vitest'
import type { UpgradeHow } from '../upgrade.ts'
import type { Upgraded } from '../upgrade-report.ts'
import { startTestDaemon } from './testing/daemon.ts'

const path = '/v1/plugins/cloud/upgrade'
const done: Upgraded = {
  ...{ alias: 'cloud', before: '1.0.0', after: '2.0.0', go: true, switched: true, lost: [], kept: [], problems: [] },
  steps: [{ step: 'verify', ok: true, fact: 'its files are those of the lock' }],
}

test('an admin alone lets another version take over, and is told each step', async () => {
  await using daemon = await startTestDaemon()
  const asked: [string, UpgradeHow][] = []
  daemon.upgrade = async (alias, how) => {
    asked.push([alias, how])
    return done
  }
  const operator = await daemon.ask('POST', '/v1/tokens', { body: { name: 'op', role: 'operator' } })
  const forbidden = await daemon.ask('POST', path, { token: String(operator.json['token']) })
  expect([forbidden.status, asked]).toEqual([403, []])
  const { status, json } = await daemon.ask('POST', path)
  const { problems: _problems, ...shown } = done
  expect([status, json]).toEqual([200, { ...shown, errors: [] }])
  await daemon.ask('POST', path, { body: { rehearse: true, candidate: '0123456789abcdef', keepOld: true } })
  expect(asked).toEqual([
    ['cloud', { principal: 'token:admin', rehearse: false, keepOld: false }],
    ['cloud', { principal: 'token:admin', rehearse: true, candidate: '0123456789abcdef', keepOld: true }],
  ])
})

test('one that does not account for a worker is a problem that names it; rehearsed, it is an answer', async () => {
  await using daemon = await startTestDaemon()
  const lost = [{ provider: 'one', worker: 'w1', why: 'it neither lists it nor knows it by name' }]
  const steps: Upgraded['steps'] = [{ step: 'account', ok: false, fact: 'not for w1' }]
  daemon.upgrade = async () => ({ ...done, steps, lost, go: false, switched: false })
  const { status, json } = await daemon.ask('POST', path)
  expect([status, json['code'], json['detail'], json['errors']]).toEqual([
    409,
    'not-accounted',
    "version 2.0.0 of 'cloud' does not take over from 1.0.0: not for w1",
    [{ path: 'one/w1', message: 'it neither lists it nor knows it by name' }],
  ])
  const rehearsed = await daemon.ask('POST', path, { body: { rehearse: true } })
  expect([rehearsed.status, rehearsed.json]).toMatchObject([200, { go: false, switched: false, lost, steps }])
})

test('one that cannot be loaded or started is a problem with every place', async () => {
  await using daemon = await startTestDaemon()
  const problem = {
    file: 'plugins.next.json',
    line: 1,
    column: 2,
    reason: 'the lock has no plugin',
    fix: 'run: muster plugins lock',
  }
  const steps: Upgraded['steps'] = [{ step: 'verify', ok: false, fact: 'it cannot be loaded' }]
  daemon.upgrade = async () => ({ ...done, steps, problems: [problem], go: false, switched: false })
  const { status, json } = await daemon.ask('POST', path)
  expect([status, json['code'], json['errors']]).toEqual([
    422,
    'plugin-refused',
    [{ path: 'plugins.next.json:1:2', message: 'the lock has no plugin\n    fix: run: muster plugins lock' }],
  ])
})

test('an operator says that it was seen that a plugin fell back; where nothing says so, there is nothing to see', async () => {
  await using daemon = await startTestDaemon()
  const { conditions } = daemon.harness.engine
  conditions.raise({ scope: 'pool', name: 'ci', type: 'fell-back:cloud', message: 'it fell back', hint: 'see it' })
  const viewer = await daemon.ask('POST', '/v1/tokens', { body: { name: 'eve', role: 'viewer' } })
  const operator = await daemon.ask('POST', '/v1/tokens', { body: { name: 'op', role: 'operator' } })
  const seen = '/v1/plugins/cloud/acknowledge'
  expect((await daemon.ask('POST', seen, { token: String(viewer.json['token']) })).status).toBe(403)
  const { status, json } = await daemon.ask('POST', seen, { token: String(operator.json['token']) })
  expect([status, json, conditions.list()]).toEqual([200, { alias: 'cloud', pools: ['ci'] }, []])
  expect((await daemon.ask('POST', seen)).status).toBe(404)
})
