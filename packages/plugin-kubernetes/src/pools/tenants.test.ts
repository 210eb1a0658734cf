import { expect, test } from 'vitest'
import { type Answer, json, refuse, startServer } from '../api/server.test.helper.ts'
import { createCluster } from '../client.ts'
import { newCall } from '../testing/pure.test.helper.ts'
import { keptOf, type TenantConfig } from './tenant.ts'
import { createTenant, inTenant, leaveTenant, type TenantParts } from './tenants.ts'

const tags = { 'muster-owner': 'owner', 'muster-provider': 'team' }
const config: TenantConfig = { quota: { pods: 3 }, make: true, remove: true }
const [made] = keptOf(config, 'team', tags)
const labels = made?.metadata.labels ?? {}
const namespace = (more: object = {}): Answer => json({ metadata: { name: 'team', uid: 'u', labels, ...more } })
const count = keptOf(config, 'team', tags).at(-1) as { metadata: object; spec: { hard: Record<string, string> } }
const counted = json({ metadata: {}, items: [{ metadata: count.metadata, status: { hard: count.spec.hard, used: {} } }] })

/** What was asked of a cluster whose namespace is so. */
async function asked(
  answer: Answer,
  work: (parts: TenantParts) => Promise<unknown>,
): Promise<{ asked: string[]; outcome: unknown }> {
  const all: Answer = (request, response, url) => {
    const list = request.method === 'GET' && url.pathname !== '/api/v1/namespaces/team'
    const empty = json({ metadata: {}, items: [] })
    const answers = list
      ? url.pathname.endsWith('resourcequotas')
        ? counted
        : empty
      : request.method === 'GET'
        ? answer
        : json({})
    answers(request, response, url)
  }
  await using server = await startServer([all])
  const cluster = createCluster({ ...server, close: () => {} }, 'team')
  const outcome = await work({ cluster, tags, tenant: createTenant(config) }).catch((error: unknown) => error)
  return { asked: server.seen.map((one) => one.replace(/\?.*/, '')), outcome }
}

const within = (parts: TenantParts): Promise<string> => inTenant(parts, newCall(), () => Promise.resolve('done'))
const remove = 'DELETE /api/v1/namespaces/team'

test('a namespace that is there, and ours, is set right before the work; nothing is tried in it', async () => {
  const { asked: seen, outcome } = await asked(namespace(), within)
  expect(outcome).toBe('done')
  expect(seen.map((one) => one.split(' ')[0])).toEqual(['GET', 'PATCH', 'PATCH', 'PATCH', 'PATCH', 'PATCH'])
})

test('one that is being removed is waited for, and one of somebody else is left alone', async () => {
  const leaving = await asked(namespace({ deletionTimestamp: '2026-01-01T00:00:00Z' }), within)
  expect(leaving.outcome).toMatchObject({ code: 'transient', effect: 'none', retryAfterMs: 2000 })
  const other = await asked(namespace({ labels: { ...labels, 'muster-provider': 'other' } }), within)
  expect(other.outcome).toMatchObject({ code: 'conflict', effect: 'none', path: 'config.namespace' })
  for (const { asked: seen } of [leaving, other]) expect(seen).toHaveLength(1)
})

test('an empty one of ours is removed, but not one of somebody else, nor one that has gone', async () => {
  const leave = (parts: TenantParts): Promise<void> => leaveTenant(parts, newCall())
  expect((await asked(namespace(), leave)).asked).toContain(remove)
  expect((await asked(namespace({ labels: {} }), leave)).asked).not.toContain(remove)
  expect((await asked(refuse(404, { reason: 'NotFound' }), leave)).asked).not.toContain(remove)
})

test('with a pool of ours in it, it stays, and nobody waits or is told', async () => {
  const told: string[] = []
  const log = { ...newCall().log, warn: (words: string) => void told.push(words) }
  const other = { kind: 'Service', metadata: { name: 'a', labels: {} } }
  const all: Answer = (request, response, url) => {
    const items = url.pathname.endsWith('/services') ? [other] : []
    const answers = url.pathname === '/api/v1/namespaces/team' ? namespace() : json({ metadata: {}, items })
    answers(request, response, url)
  }
  await using server = await startServer([all])
  const cluster = createCluster({ ...server, close: () => {} }, 'team')
  await leaveTenant({ cluster, tags, tenant: createTenant(config) }, { ...newCall(), log })
  const [asks, ...more] = server.seen.map((one) => decodeURIComponent(one))
  expect(asks).toMatch(/^GET .*\/services\?.*labelSelector=muster-owner=owner,muster-provider=team(?:&|$)/)
  expect(more).toEqual([])
  expect(told).toEqual([])
})

test('what somebody else has changed is told by its name, with what to do', async () => {
  const message = 'Apply failed with 1 conflict: conflict with "kubectl-edit" using v1: .spec.hard.pods'
  const all: Answer = (request, response, url) => {
    const conflict = request.method === 'PATCH' && url.pathname.endsWith('/resourcequotas/muster-tenant')
    const answers = conflict ? refuse(409, { reason: 'Conflict', message }) : namespace()
    answers(request, response, url)
  }
  await using server = await startServer([all])
  const cluster = createCluster({ ...server, close: () => {} }, 'team')
  const outcome = await within({ cluster, tags, tenant: createTenant(config) }).catch((error: unknown) => error)
  expect(outcome).toMatchObject({
    ...{ code: 'conflict', effect: 'none' },
    message: `the ResourceQuota muster-tenant of the namespace team was changed by somebody else: 409: ${message}`,
    hint: expect.stringContaining('`tenant`') as string,
  })
})

test('nothing is removed under a preparation, and a preparation waits for a removal', async () => {
  const { asked: seen, outcome } = await asked(namespace(), async (parts) => {
    const held = Promise.withResolvers<void>()
    const preparing = inTenant(parts, newCall(), () => held.promise)
    await leaveTenant(parts, newCall())
    held.resolve()
    await preparing
    const told: string[] = []
    const leaving = leaveTenant(parts, newCall()).then(() => told.push('left'))
    await inTenant(parts, newCall(), async () => void told.push('prepared'))
    await leaving
    return told
  })
  expect(outcome).toEqual(['left', 'prepared'])
  expect(seen.filter((one) => one === remove)).toHaveLength(1)
})
