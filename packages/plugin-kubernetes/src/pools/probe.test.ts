import { expect, test } from 'vitest'
import { type Answer, json, refuse, startServer } from '../api/server.test.helper.ts'
import { createCluster } from '../client.ts'
import { probeCluster } from './probe.ts'

const tags = { 'muster-owner': 'owner-', 'muster-provider': 'kubernetes' }

/** Answers what a probe asks before it tries a Pod, and then so. */
async function probed(last: Answer, { gitVersion = 'v1.34.1', gates = [] as object[] } = {}): Promise<object> {
  const answer: Answer = (request, response, url) => {
    const { pathname } = url
    if (pathname === '/version') return json({ gitVersion })(request, response, url)
    // Of workers whose network is closed.
    if (request.method === 'GET') return json({ metadata: {}, items: gates })(request, response, url)
    const review = pathname.endsWith('/selfsubjectaccessreviews')
    return (review ? json({ status: { allowed: true } }) : last)(request, response, url)
  }
  await using server = await startServer([answer])
  const cluster = createCluster({ ...server, close: () => {} }, 'team')
  return await probeCluster({ cluster, tags, tried: {} }, new AbortController().signal)
}

const made = (labels: object): Answer => json({ metadata: { name: 'muster-probe', labels }, spec: {} })
const whole = { 'muster-owner': 'Zowner-Z', 'muster-provider': 'kubernetes' }

test.each<[string, Answer, object]>([
  ['takes a plain worker', made(whole), { state: 'ready' }],
  ['adds a label', made({ ...whole, more: '1' }), { state: 'ready' }],
  [
    'rewrites ours',
    made({ ...whole, 'muster-owner': 'team' }),
    { state: 'failed', message: 'the cluster changes muster-owner of a worker, by which it is found' },
  ],
  [
    'has a webhook that cannot be tried',
    refuse(400, { message: 'admission webhook "a.test" does not support dry run' }),
    { state: 'ready', notes: [expect.stringContaining('is not known')] },
  ],
  ['has a policy against it', refuse(403), { state: 'ready', notes: [expect.stringContaining('would be refused')] }],
  ['has no such namespace', refuse(404), { state: 'failed', hint: expect.stringContaining('Make the namespace') }],
])('a cluster that %s', async (_what, answer, outcome) => {
  expect(await probed(answer)).toMatchObject(outcome)
})

test('a cluster that is too old for commands says so', async () => {
  expect(await probed(made(whole), { gitVersion: 'v1.29.3' })).toMatchObject({
    state: 'ready',
    notes: [expect.stringContaining('1.30')],
  })
  expect(await probed(made(whole), { gitVersion: 'v1.30.0-eks' })).not.toHaveProperty('notes')
})

test('whether policies hold is what the gate that ended last has seen', async () => {
  const gate = (exitCode: number, finishedAt: string): object => ({
    metadata: {},
    status: {
      initContainerStatuses: [{ name: 'muster-gate', state: { terminated: { exitCode, finishedAt, message: 'open' } } }],
    },
  })
  const [first, later] = ['2026-01-01T00:00:00Z', '2026-01-01T00:00:01Z']
  expect(await probed(made(whole))).toMatchObject({ facts: { networkPolicies: 'not tried' } })
  expect(await probed(made(whole), { gates: [gate(1, later), gate(0, first)] })).toMatchObject({
    state: 'ready',
    facts: { networkPolicies: 'not enforced' },
    notes: [expect.stringContaining('open')],
  })
  const holds = await probed(made(whole), { gates: [gate(1, first), gate(0, later)] })
  expect(holds).toMatchObject({ facts: { networkPolicies: 'enforced' } })
  expect(holds).not.toHaveProperty('notes')
})
