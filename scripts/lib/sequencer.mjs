// The order of test files: the longest first, so that none of them runs alone at the end while the other cores have nothing to do. Those of
// a cluster wait more than they work; they come last as long as its programs are being built.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { BaseSequencer } from 'vitest/node'
import { root } from './paths.mjs'

// Of those that take a minute or more on two cores; all others follow as they come.
const long = [
  'packages/plugin-kubernetes/src/conformance.integration',
  'apps/host/src/faults/kill.integration',
  'packages/plugin-docker/src/workers/kill.integration',
  'apps/host/src/cli/run.integration',
  'scripts/start.integration',
  'packages/plugin-baremetal/src/workers.integration',
  'apps/host/src/faults/survive.integration',
  'packages/core/src/testing/defects/',
  'conformance.contract',
]

const cluster = /(kubernetes[^/]*|mixed-providers|crowd)(\/.*)?\.integration\.test/

export class LongestFirst extends BaseSequencer {
  /** @override @param {import('vitest/node').TestSpecification[]} files */
  async sort(files) {
    const built = files.some(({ moduleId }) => cluster.test(moduleId)) && isBuilt()
    const rank = (/** @type {string} */ path) => (!built && cluster.test(path) ? long.length + 1 : rankOf(path))
    return [...files].sort((a, b) => rank(a.moduleId) - rank(b.moduleId) || a.moduleId.localeCompare(b.moduleId))
  }
}

function isBuilt() {
  return spawnSync(join(root, 'test/systems/kubernetes/build.sh'), ['--paths']).status === 0
}

/** @param {string} path */
function rankOf(path) {
  const at = long.findIndex((part) => path.includes(part))
  return at === -1 ? long.length : at
}
