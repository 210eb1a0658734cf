import { expect, test } from 'vitest'
import { type Answer, json, refuse, startServer } from '../api/server.test.helper.ts'
import { createCluster } from '../client.ts'
import { labelsOf } from '../labels.ts'
import { specOf } from '../testing/pure.test.helper.ts'
import type { WorkerKind } from '../workers.ts'
import { probeCluster } from './probe.ts'
import { createTenant } from './tenants.ts'

const tags = { 'muster-owner': 'owner-', 'muster-provider': 'kubernetes' }

interface Place {
  gitVersion?: string
  /** Pods with a gate, and Pods of Jobs. */
  gates?: object[]
  ofJobs?: object[]
  /** May it see Jobs? */
  jobs?: boolean
  as?: WorkerKind
}

/** Answers what a probe asks before it tries a Pod, and then so. */
async function probed(
  last: Answer,
  { gitVersion = 'v1.34.1', gates = [], ofJobs = [], jobs = false, as = 'pod' }: Place = {},
): Promise<object> {
  const answer: Answer = (request, response, url) => {
    const { pathname } = url
    if (pathname === '/version') return json({ gitVersion })(request, response, url)
    if (request.method === 'GET' && pathname.endsWith('/jobs'))
      return (jobs ? json({ metadata: {}, items: ofJobs }) : refuse(403))(request, response, url)
    if (url.searchParams.get('labelSelector')?.includes('job-name'))
      return json({ metadata: {}, items: ofJobs })(request, response, url)
    // Of workers whose network is closed.
    if (request.method === 'GET') return json({ metadata: {}, items: gates })(request, response, url)
    const review = pathname.endsWith('/selfsubjectaccessreviews')
    return (review ? json({ status: { allowed: true } }) : last)(request, response, url)
  }
  await using server = await startServer([answer])
  const cluster = createCluster({ ...server, close: () => {} }, 'team', as)
  return await probeCluster({ cluster, tags, tried: {} }, new AbortController().signal)
}

const made = (labels: object): Answer => json({ metadata: { name: 'muster-probe', labels }, spec: { template: {} } })
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

test('workers that were made as Jobs, which the Role does not let be seen, are told where they are Pods', async () => {
  const ids = ['1', '2', '3', '4'].map((end) => `w0000000000000000000000000${end}`)
  const podOf = (id: string, provider = 'kubernetes'): object => {
    const of = { 'muster-owner': 'owner-', 'muster-provider': provider, 'muster-pool': 'pool', 'muster-epoch': '1' }
    const labels = labelsOf({ ...specOf(), id, tags: { ...of, 'muster-worker': id } })
    return {
      metadata: { name: `${id}-abcde`, labels, ownerReferences: [{ kind: 'Job', name: id, uid: 'job', controller: true }] },
    }
  }
  const ofJobs = [...ids.map((id) => podOf(id)), podOf('w00000000000000000000000009', 'another')]
  expect(await probed(made(whole), { ofJobs })).toMatchObject({
    state: 'ready',
    notes: [
      `workers of this provider were made as Jobs, which its Role does not let it see: ${ids.slice(0, 3).join(', ')} and 1 more; ` +
        'their Pods are seen and ended, the Jobs stay: bind `role-jobs.yaml` again until they have gone, or ' +
        '`kubectl delete jobs --namespace=team --selector=muster-owner=Zowner-Z,muster-provider=kubernetes`, which ends what runs in them',
    ],
  })
  expect(await probed(made(whole), { ofJobs, jobs: true })).not.toHaveProperty('notes')
  expect(await probed(made(whole), { ofJobs, as: 'job' })).not.toHaveProperty('notes')
})

test('where workers are Jobs, a tenant’s maker is asked for the rights of Jobs too, and told the role that has them', async () => {
  const config = { quota: { pods: 1 }, make: true }
  await using server = await startServer([json({ gitVersion: 'v1.34.1' }), json({ status: { allowed: false } })])
  const cluster = createCluster({ ...server, close: () => {} }, 'team', 'job')
  const parts = { cluster, tags, tried: {}, tenant: createTenant(config) }
  const { message, hint } = (await probeCluster(parts, new AbortController().signal)) as { message: string; hint: string }
  for (const right of ['create namespaces', 'create jobs', 'delete jobs', 'patch pods']) expect(message).toContain(right)
  expect(hint).toMatch(/kind: ClusterRole\n.*resources: \['jobs'\]/s)
})
