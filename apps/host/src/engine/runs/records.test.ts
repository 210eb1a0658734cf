import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openSqliteStore } from '../../store/open.ts'
import { testClock } from '../testing/clock.ts'
import { createRecords } from './records.ts'

test('a change of a run that is no more, since retention dropped it meanwhile, says so', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'muster-records-'))
  const store = await openSqliteStore(dir)
  try {
    const change = createRecords({ store, clock: testClock() }).change('r-none', () => ({ reason: 'no need' }))
    await expect(change).rejects.toMatchObject({ code: 'not-found', message: 'no run r-none' })
  } finally {
    await store.close()
    await rm(dir, { recursive: true, force: true })
  }
})
