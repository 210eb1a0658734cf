import { json, startServer } from '@muster/plugin-kubernetes/api/server.test.helper'
import { expect, test } from 'vitest'
import { ourCluster } from './cluster.ts'

test('nothing is followed by somebody whose time is over: it would go on for ever', async () => {
  await using server = await startServer([json({ metadata: { resourceVersion: '1' }, items: [] })])
  const client = { ...server, close: () => {} }
  const ended = { signal: AbortSignal.abort(new Error('the term is over')), check: () => {} }
  const following = ourCluster(client, 'team', ended).workers.follow({ changed: () => {}, onFailure: () => {} })
  await expect(following).rejects.toThrow('the term is over')
  await server.transport.json({ method: 'GET', path: '/after', signal: AbortSignal.timeout(30_000) })
  expect(server.seen).toEqual(['GET /after'])
})
