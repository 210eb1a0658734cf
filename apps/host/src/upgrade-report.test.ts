import { expect, test } from 'vitest'
import { plainManifest } from './plugins/testing/manifest.ts'
import { report, type Standing } from './upgrade-report.ts'

const ran: Standing = { name: 'one', alias: 'cloud', state: 'ready' }

test('what runs already is nothing to do; that it has failed is no success', () => {
  const same = (...statuses: Standing[]): unknown => report('cloud', { manifest: plainManifest('p') }).same(statuses)
  expect(same(ran, { name: 'two', alias: 'other', state: 'failed', reason: 'not its own' })).toMatchObject({
    go: true,
    steps: [{ step: 'verify', ok: true, fact: 'it is what runs' }],
  })
  const failed: Standing = { name: 'two', alias: 'cloud', state: 'failed', reason: 'it describes itself otherwise' }
  expect(same(ran, failed, { ...failed, name: 'three' })).toMatchObject({
    go: false,
    switched: false,
    steps: [
      {
        step: 'verify',
        ok: false,
        fact: 'it is what was started, and two has failed: it describes itself otherwise; three has failed: it describes itself otherwise',
      },
    ],
  })
})
