/** The kinds, the view and the pools on a real cluster: one for all, since its start is most of the time. */
import { join } from 'node:path'
import { findStartKubernetes, type KubernetesCluster } from '@muster/test/systems/kubernetes'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, describe } from 'vitest'
import { definitionsOnServer } from './crd/server.test.helper.ts'
import { poolsFromCluster } from './pools/pools.test.helper.ts'
import { programOnCluster } from './program.test.helper.ts'
import { workersInCluster } from './view/view.test.helper.ts'

const crds = join(import.meta.dirname, '../crds')

suiteWith(await findStartKubernetes(), 'Muster in a cluster', (start) => {
  let cluster: KubernetesCluster

  beforeAll(async () => {
    cluster = await start()
    const applied = await cluster.kubectl(['apply', '-f', crds])
    if (applied.code !== 0) throw new Error(applied.stderr)
    const known = await cluster.kubectl(['wait', '--for=condition=Established', '--timeout=60s', '-f', crds])
    if (known.code !== 0) throw new Error(known.stderr)
    // A server that has taken a kind lists it some moments later.
    await waitFor('the kinds to be served', async () => {
      const { code } = await cluster.kubectl(['get', '--raw', '/apis/muster.dev/v1alpha1/workers?resourceVersion=0'])
      return code === 0
    })
  })
  afterAll(async () => {
    await cluster?.stop()
  })

  describe('the definitions', () => {
    definitionsOnServer(() => cluster)
  })
  describe('the view', () => {
    workersInCluster(() => cluster)
  })
  describe('the pools', () => {
    poolsFromCluster(() => cluster)
  })
  // Last: it takes the API server away for a while.
  describe('the program', () => {
    programOnCluster(() => cluster)
  })
})
