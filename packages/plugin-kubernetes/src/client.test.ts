/** What an answer means for a worker: only the API server's own word that there is none counts as gone. */
import { expect, test } from 'vitest'
import { type Answer, json, refuse, startServer } from './api/server.test.helper.ts'
import { createCluster } from './client.ts'
import { launchWorker } from './workers/launch.ts'
import { fields, newCall, specOf } from './testing/pure.test.helper.ts'

const signal = new AbortController().signal
const pod = (uid: string): object => ({ metadata: { name: 'w1', uid }, spec: { containers: [] } })

/** How the end of the Pod with uid `ours` comes out. */
async function deleted(...answers: Answer[]): Promise<unknown> {
  await using server = await startServer(answers)
  const cluster = createCluster({ ...server, close: () => {} }, 'team')
  return await cluster.deletePod('w1', { uid: 'ours', graceSeconds: 1, signal }).then(
    (found) => found?.metadata.uid ?? 'gone',
    (error: { status?: number }) => error.status,
  )
}

test.each<[string, Answer[], unknown]>([
  ['it is there, and ends', [json(pod('ours'))], 'ours'],
  ['there is none', [refuse(404, { reason: 'NotFound' })], 'gone'],
  ['something before the API server does not know the way', [refuse(404)], 404],
  ['another one has its name', [refuse(409, { reason: 'Conflict' }), json(pod('theirs'))], 'gone'],
  ['its name is free by then', [refuse(409, { reason: 'Conflict' }), refuse(404, { reason: 'NotFound' })], 'gone'],
  ['somebody refuses its end', [refuse(409, { message: 'admission webhook denied the request' }), json(pod('ours'))], 409],
])('%s', async (_what, answers, outcome) => {
  expect(await deleted(...answers)).toBe(outcome)
})

test('a conflict over a quota is no worker of this name', async () => {
  const message = 'Operation cannot be fulfilled on resourcequotas "q": the object has been modified'
  await using server = await startServer([refuse(409, { reason: 'Conflict', message })])
  const cluster = createCluster({ ...server, close: () => {} }, 'team')
  await expect(launchWorker({ cluster, fields, network: {} }, specOf(), newCall())).rejects.toMatchObject({ status: 409 })
  expect(server.seen).toHaveLength(1)
})
