import { expect, test } from 'vitest'
import type { LiveWorker } from './model.ts'
import { countOwners } from './owners.ts'

const worker = (given: Partial<LiveWorker> = {}): LiveWorker =>
  ({
    ...{ provider: 'one', plugin_version: '1.0.0', plugin_package: 'cloud', launched_at: 1, provider_config: 'a' },
    ...given,
  }) as LiveWorker

test('each version, package and configuration of a provider that has workers is one of them, until its last worker is gone', () => {
  const owners = countOwners()
  const all = [
    worker(),
    worker({ plugin_version: '2.0.0' }),
    worker({ plugin_package: 'other' }),
    worker({ provider_config: 'b' }),
    worker({ plugin_version: null, plugin_package: null, provider_config: null }),
  ]
  for (const one of all) owners.add(one, 1)
  owners.add(worker(), 1)
  owners.add(worker({ plugin_version: '3.0.0', launched_at: null }), 1)
  expect(owners.list()).toEqual(all)
  owners.add(worker(), -1)
  expect(owners.list()).toHaveLength(5)
  for (const one of all) owners.add(one, -1)
  expect(owners.list()).toEqual([])
})
