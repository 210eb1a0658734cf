import { expect, test } from 'vitest'
import { startTestDaemon } from './testing/daemon.ts'

test('what was wrong with a certificate is no matter any more where none is configured', async () => {
  await using daemon = await startTestDaemon()
  const { conditions } = daemon.harness.engine
  conditions.raise({ scope: 'host', name: 'api', type: 'certificate', message: 'it expires', hint: 'Renew it.' })
  await daemon.restart()
  expect(conditions.list()).toEqual([])
})
