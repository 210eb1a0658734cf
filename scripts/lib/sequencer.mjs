// The order of test files: the longest first, so that none of them runs alone at the end while the other cores have nothing to do. Last
// those of a cluster, whose programs may be being built until then.
import { BaseSequencer } from 'vitest/node'

// Of those that take a minute or more on two cores; all others follow as they come.
const long = [
  'apps/host/src/faults/kill.integration',
  'packages/plugin-docker/src/kill.integration',
  'apps/host/src/cli/run.integration',
  'scripts/start.integration',
  'packages/plugin-baremetal/src/workers.integration',
  'apps/host/src/faults/survive.integration',
  'packages/core/src/testing/defects/',
  'conformance.contract',
]

const cluster = /kubernetes(\/.*)?\.integration\.test/

export class LongestFirst extends BaseSequencer {
  /** @override @param {import('vitest/node').TestSpecification[]} files */
  async sort(files) {
    return [...files].sort((a, b) => rank(a.moduleId) - rank(b.moduleId) || a.moduleId.localeCompare(b.moduleId))
  }
}

/** @param {string} path */
function rank(path) {
  if (cluster.test(path)) return long.length + 1
  const at = long.findIndex((part) => path.includes(part))
  return at === -1 ? long.length : at
}
