import { expect, test } from 'vitest'
import { plainManifest } from './plugins/testing/manifest.ts'
import { report, type Standing } from './upgrade-report.ts'

const ran: Standing = { name: 'one', alias: 'cloud', state: 'ready' }

test('what runs already is nothing to do; that it has failed is no success', () => {
  const file = '/etc/plugins.json'
  const same = (...statuses: Standing[]): unknown => report('cloud', { manifest: plainManifest('p') }).same(statuses, file)
  expect(same(ran, { name: 'two', alias: 'other', state: 'failed', reason: 'not its own' })).toMatchObject({
    ...{ go: true, problems: [] },
    steps: [{ step: 'verify', ok: true, fact: 'it is what runs' }],
  })
  const failed: Standing = { name: 'two', alias: 'cloud', state: 'failed', reason: 'it describes itself otherwise' }
  expect(same(ran, failed, { name: 'three', alias: 'cloud', state: 'failed' })).toMatchObject({
    ...{ go: false, switched: false },
    steps: [{ step: 'verify', ok: false, fact: 'it was started already, and has failed' }],
    problems: [
      {
        file,
        reason: 'two: it describes itself otherwise',
        fix: expect.stringContaining('muster plugins rollback cloud') as string,
      },
      { reason: 'three: it says no more' },
    ],
  })
})
