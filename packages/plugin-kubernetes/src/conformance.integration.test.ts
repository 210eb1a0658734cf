import { describeProvider, type ProviderSetup } from '@muster/core/testing'
import { findStartKubernetes } from '@muster/test/systems/kubernetes'
import { suiteWith } from '@muster/test/systems/presence'
import { afterAll, describe, it } from 'vitest'
import { makePlace } from './cluster.test.helper.ts'
import { kubernetesSetup } from './conformance.test.helper.ts'

const found = await findStartKubernetes()
const cluster = await found.system?.()
const setup: ProviderSetup | undefined =
  cluster === undefined ? undefined : kubernetesSetup(cluster, await makePlace(cluster, 'conformance'))

suiteWith(found, 'the Kubernetes provider, in its own process, under the Role that it asks for,', () => {
  if (setup === undefined) return
  describeProvider('it', setup, { describe, it, afterAll })
  afterAll(() => cluster?.stop())
})
