import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { openSqliteStore } from '../open.ts'
import { migrations } from './index.ts'

test('of workers of before nobody knows the package; the older binary then refuses the store', async () => {
  await using temp = await tempFolder('migrate')
  const older = Object.fromEntries(Object.entries(migrations).filter(([name]) => name < '0008-plugin-packages'))
  const before = await openSqliteStore(temp.path, { migrations: older })
  const worker = { id: 'w1', pool: 'ci', provider: 'p', phase: 'idle' as const, rev: 3, spec: '{}', shape: 's', epoch: 1 }
  const more = { attempt: 0, created_at: 1, terminate_force: 0, grace_ms: 1, uses: 0, log_hold: 0, cordoned: 0 }
  await before.write(async (tx) => {
    await tx
      .insertInto('workers')
      .values({ ...worker, ...more, plugin_version: '1.0.0' })
      .execute()
  })
  await before.close()
  const store = await openSqliteStore(temp.path)
  expect(await store.read.selectFrom('workers').select(['id', 'rev', 'plugin_version', 'plugin_package']).execute()).toEqual([
    { id: 'w1', rev: 3, plugin_version: '1.0.0', plugin_package: null },
  ])
  await store.close()
  await expect(openSqliteStore(temp.path, { migrations: older })).rejects.toMatchObject({ code: 'newer' })
})
