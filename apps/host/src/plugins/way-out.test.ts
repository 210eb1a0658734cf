import { expect, test } from 'vitest'
import { wayOfMisdescribed } from './way-out.ts'

test('who runs a plugin that is not what its manifest says is told how to go back, and who writes it what is wrong', () => {
  expect(wayOfMisdescribed({ alias: 'cloud', source: { registry: 'default' } })).toMatch(
    /^build the plugin .*; or, where the lock has a version before: muster plugins rollback cloud$/,
  )
  expect(wayOfMisdescribed({ alias: 'cloud', source: { folder: '.' } })).not.toMatch(/rollback/)
})
