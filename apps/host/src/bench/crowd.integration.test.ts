/** A crowd of workers on played nodes: none is forgotten, and each costs the API server few requests. The full form is measured by `pnpm bench`. */
import { CLUSTER_IMAGES, findStartKubernetes } from '@muster/test/systems/kubernetes'
import { suiteWith } from '@muster/test/systems/presence'
import { expect, test } from 'vitest'
import { crowdOn, total } from './crowd.ts'

suiteWith(await findStartKubernetes(), 'a crowd of workers on a cluster', (start) => {
  test('500 on 20 nodes are all there, all go, and cost four requests each at most', async () => {
    await using cluster = await start()
    const workers = 500
    const facts = await crowdOn(cluster, { nodes: 20, workers, image: CLUSTER_IMAGES.busybox })
    expect(facts).toMatchObject({ there: workers, left: 0 })
    expect(facts.requests).toMatchObject({ 'POST pods': workers })
    // Of a node that gives no connection for samples a try is made ever more rarely, and by one of its workers.
    const { 'GET exec': tries = 0 } = facts.requests
    expect({ tries, few: tries > 0 && tries <= workers / 2 }).toEqual({ tries, few: true })
    expect({ requests: facts.requests, most: total(facts.requests) <= 4 * workers }).toEqual({
      requests: facts.requests,
      most: true,
    })
  }, 600_000)
})
