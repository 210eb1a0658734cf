/** What a pool has beside its workers, and where. */
import { expect, test } from 'vitest'
import { type Answer, json, startServer } from '../api/server.test.helper.ts'
import { createCluster } from '../client.ts'
import { kubernetesProvider } from '../provider.ts'
import { fields, newCall, specOf } from '../testing/pure.test.helper.ts'

const pool = { pool: 'pool', tags: specOf().tags }

test('what was prepared in another namespace is not forgotten here: it is told where it is, and nothing is asked', async () => {
  const all: Answer = (request, response, url) => {
    const named = /services\/|policies\/|budgets\//.test(url.pathname)
    json(named ? { metadata: { name: 'x', labels: pool.tags } } : { metadata: {}, items: [] })(request, response, url)
  }
  await using server = await startServer([all])
  const at = (namespace: string): ReturnType<typeof kubernetesProvider> =>
    kubernetesProvider({
      cluster: createCluster({ ...server, close: () => {} }, namespace),
      context: { owner: 'owner', provider: 'kubernetes' },
      fields,
    })
  const { handle } = await at('before').preparePool(pool, newCall())
  server.seen.length = 0
  await expect(at('now').unpreparePool({ pool, handle }, newCall())).rejects.toMatchObject({
    ...{ code: 'transient', effect: 'none' },
    message: 'it was prepared in the namespace before, and this provider is configured for now',
  })
  expect(server.seen).toEqual([])
  // As those before this version said nothing of it.
  for (const known of [handle, { v: 1, data: { digest: 'd' } }])
    await at('before').unpreparePool({ pool, handle: known }, newCall())
})
