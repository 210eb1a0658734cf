/** Workers as Pods of their own: the name of each is the worker's id. */
import type { WorkerId } from '@muster/core'
import { calls } from '../api/calls.ts'
import { createReflector } from '../api/reflector.ts'
import { briefOf } from './brief.ts'
import type { Objects } from '../cluster-objects.ts'
import { JOB_NAME, workerOfPod } from './job-view.ts'
import { isOwn, ownerSelector, tagsOf } from '../labels.ts'
import type { Pod } from '../objects.ts'
import type { Workers } from '../workers.ts'

/** So many are asked for one by one: each costs what a list costs, and is sure whatever became of labels. */
const FEW = 3

/** Of what should not be there a page is enough. */
const SOME = 100

export function podWorkers(objects: Objects): Workers {
  const { namespace, client } = objects
  return {
    told: ['Pod'],
    create: (pod, how) => objects.createPod(pod, how),
    read: (id, signal) => objects.readPod(id, signal),
    again: (id, signal) => objects.readPod(id, signal),

    /** A label may have been taken from it: whoever is not found by labels is asked for by name. */
    async find(ids, tags, signal) {
      const found = ids.length <= FEW ? [] : (await objects.listPods({ selector: ownerSelector(tags, ids) }, signal)).items
      const seen = new Set<WorkerId>(found.map(({ metadata }) => metadata.name))
      const others = ids.filter((id) => !seen.has(id)).map((id) => objects.readPod(id, signal))
      return [...found, ...(await Promise.all(others)).filter((pod) => pod !== undefined)]
    },

    async page(query, signal) {
      const { items, metadata } = await objects.listPods(query, signal)
      const next = metadata.continue ?? ''
      return { items, ...(next === '' ? {} : { next }) }
    },

    some: async (selector, signal) => (await objects.listPods({ selector, limit: 1 }, signal)).items.length > 0,

    /** By their Pods, which are what costs: to see Jobs is no right of whoever makes none. */
    async unseen(tags, signal) {
      const { items } = await objects.listPods({ selector: `${ownerSelector(tags)},${JOB_NAME}`, limit: SOME }, signal)
      const own = items.map((pod) => tagsOf(workerOfPod(pod).metadata)).filter((found) => isOwn(found, tags))
      return [...new Set(own.map((found) => found['muster-worker']))]
    },

    remove: (id, { uid, graceSeconds, signal }) => objects.deletePod(id, { uid, graceSeconds, signal }),

    mark: (id, how) => objects.markPod(id, how),

    isGone: async (id, uid, signal) => (await objects.readPod(id, signal))?.metadata.uid !== uid,

    follow({ tags }, options) {
      const what = { list: calls.listPods, call: calls.watchPods, place: { namespace }, labelSelector: ownerSelector(tags) }
      const pods = createReflector<Pod>(client.requests, what, { pick: briefOf, ...options })
      return {
        synced: pods.synced,
        async *changes(signal) {
          for await (const change of pods.changes(signal)) yield { ...change, uid: change.object.metadata.uid ?? '' }
        },
        stop: pods.stop,
      }
    },

    of: (pod) => pod,
    logged: (id) => Promise.resolve(id),
  }
}
