import { expect, test } from 'vitest'
import { type Answer, json, refuse, startServer } from './api/server.test.helper.ts'
import { createCluster } from './client.ts'
import { probeCluster } from './probe.ts'

const tags = { 'muster-owner': 'owner-', 'muster-provider': 'kubernetes' }

/** Answers what a probe asks before it tries a Pod, and then so. */
async function probed(last: Answer, gitVersion = 'v1.34.1'): Promise<object> {
  const answer: Answer = (request, response, url) => {
    const { pathname } = url
    if (pathname === '/version') return json({ gitVersion })(request, response, url)
    const review = pathname.endsWith('/selfsubjectaccessreviews')
    return (review ? json({ status: { allowed: true } }) : last)(request, response, url)
  }
  await using server = await startServer([answer])
  return await probeCluster(createCluster({ ...server, close: () => {} }, 'team'), tags, new AbortController().signal)
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
  expect(await probed(made(whole), 'v1.29.3')).toMatchObject({ state: 'ready', notes: [expect.stringContaining('1.30')] })
  expect(await probed(made(whole), 'v1.30.0-eks')).not.toHaveProperty('notes')
})
