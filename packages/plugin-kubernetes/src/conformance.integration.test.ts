import { describeProvider, type ProviderSetup } from '@muster/core/testing'
import { findStartKubernetes, type KubernetesCluster } from '@muster/test/systems/kubernetes'
import { suiteWith } from '@muster/test/systems/presence'
import { afterAll, describe, it } from 'vitest'
import { makePlace } from './testing/cluster.test.helper.ts'
import { kubernetesSetup } from './testing/conformance.test.helper.ts'

const found = await findStartKubernetes()
// The suite is made of what it is told here, before any hook could be.
const cluster = await found.system?.()
const setup = await setupOf(cluster)

async function setupOf(on: KubernetesCluster | undefined): Promise<ProviderSetup | undefined> {
  try {
    return on === undefined ? undefined : kubernetesSetup(on, await makePlace(on, 'conformance'))
  } catch (error) {
    await on?.stop()
    throw error
  }
}

suiteWith(found, 'the Kubernetes provider, in its own process, under the Role that it asks for,', () => {
  if (setup === undefined) return
  describeProvider('it', setup, { describe, it, afterAll })
  afterAll(() => cluster?.stop())
})
