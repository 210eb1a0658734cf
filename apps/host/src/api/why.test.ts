/** What `GET /v1/why` says of a story whose beginning retention has dropped. */
import { expect, test } from 'vitest'
import { startTestDaemon, type TestDaemon } from './testing/daemon.ts'

interface Story {
  items: { rule: string; seq: number; at: string; worker?: string }[]
  next?: string
  droppedBefore?: string
}

const story = async (daemon: TestDaemon, path: string): Promise<Story> =>
  (await daemon.ask('GET', `/v1/why/${path}`)).json as unknown as Story

/** As retention does, by number or by age. */
const dropTo = (daemon: TestDaemon, seq: number): Promise<unknown> =>
  daemon.harness.engine.store.write((tx) => tx.deleteFrom('journal').where('seq', '<=', seq).execute())

test('a story that is whole says nothing; one that begins in the middle says since when decisions are kept', async () => {
  await using daemon = await startTestDaemon()
  const { id } = (await daemon.ask('POST', '/v1/leases', { body: { pool: 'ci', ttlMs: 60_000 } })).json as { id: string }
  await daemon.harness.pass(1000)
  const whole = await story(daemon, `lease/${id}`)
  const worker = whole.items.find((row) => row.worker !== undefined)?.worker ?? ''
  const launch = (await story(daemon, `worker/${worker}`)).items[0]
  expect(launch).toMatchObject({ rule: 'launch-for-lease' })
  for (const path of [`lease/${id}`, `worker/${worker}`, 'pool/ci', 'provider/one'])
    expect(await story(daemon, path)).not.toHaveProperty('droppedBefore')

  // Up to the launch, which is kept: the lease has lost its beginning, the worker has not.
  await dropTo(daemon, (launch?.seq ?? 0) - 1)
  const droppedBefore = launch?.at
  expect(await story(daemon, `lease/${id}`)).toMatchObject({ droppedBefore })
  expect(await story(daemon, `lease/${id}?limit=1`)).toMatchObject({ droppedBefore, next: expect.any(String) })
  expect(await story(daemon, 'pool/ci')).toMatchObject({ droppedBefore })
  expect(await story(daemon, 'provider/one')).toMatchObject({ droppedBefore })
  expect(await story(daemon, `worker/${worker}`)).not.toHaveProperty('droppedBefore')

  // Nothing at all is left of it: said too.
  await dropTo(daemon, Number.MAX_SAFE_INTEGER)
  expect(await story(daemon, `worker/${worker}`)).toMatchObject({ items: [], droppedBefore: expect.any(String) })
})

test('the story of a run is that of its lease and its worker too', async () => {
  await using daemon = await startTestDaemon({ realRuns: true })
  const { id } = (await daemon.ask('POST', '/v1/runs', { body: { pool: 'ci', command: ['true'] } })).json as { id: string }
  await daemon.harness.pass(1000)
  const whole = await story(daemon, `run/${id}`)
  expect(whole).not.toHaveProperty('droppedBefore')
  const rules = whole.items.map((row) => row.rule)
  for (const rule of ['run-created', 'lease-queued', 'launch-for-lease']) {
    const at = whole.items[rules.indexOf(rule)]
    await daemon.harness.engine.store.write((tx) =>
      tx
        .deleteFrom('journal')
        .where('seq', '=', at?.seq ?? 0)
        .execute(),
    )
    // A journal is dropped from its beginning: with its first row gone, what is missing after it was dropped too.
    await dropTo(daemon, 1)
    expect(await story(daemon, `run/${id}`)).toMatchObject({ droppedBefore: expect.any(String) })
  }
})
