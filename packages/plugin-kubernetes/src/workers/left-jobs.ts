/** Workers as Pods where some may have been left as Jobs, by this provider before it was told otherwise: those are seen and ended too. */
import { ApiFailure, isStatus } from '../api/failure.ts'
import type { Objects } from '../cluster-objects.ts'
import { ownerSelector } from '../labels.ts'
import type { JobList } from '../objects.ts'
import type { Tags, Workers } from '../workers.ts'
import { workerOfPod } from './job-view.ts'
import { jobWorkers } from './job-workers.ts'
import { podWorkers } from './pod-workers.ts'

/** `pods`: the Role is that of a provider that makes none, so that of Jobs only their Pods, which are what costs, are seen. */
type Left = 'nothing' | 'pods' | 'jobs'

/** Cursors of a cluster are base64 of an object, which begins otherwise. */
const OF_BOTH = 'both.'

/** What is left is looked for with each probe, the first of which comes before all else: nobody makes more of them meanwhile. */
export function podWorkersBesideJobs(objects: Objects): Workers {
  const pods = podWorkers(objects)
  const jobs = jobWorkers(asGranted(objects))
  let left: Left = 'nothing'

  async function look(tags: Tags, signal: AbortSignal): Promise<Left> {
    try {
      const { items } = await objects.listJobs({ selector: ownerSelector(tags), limit: 1 }, signal)
      return items.length > 0 ? 'jobs' : 'nothing'
    } catch (error) {
      if (!isStatus(error, 403)) throw error
      return (await pods.unseen(tags, signal)).length > 0 ? 'pods' : 'nothing'
    }
  }

  return {
    get told() {
      return left === 'jobs' ? jobs.told : pods.told
    },

    async create(pod, how) {
      const { name } = pod.metadata
      // It was launched once, and whoever repeats that is given what there is.
      if (left === 'jobs' && how.dryRun !== true && (await jobs.again(name, how.signal)) !== undefined)
        throw new ApiFailure(`the Job ${name} has the name already`, { status: 409, reason: 'AlreadyExists', sent: true })
      return pods.create(pod, how)
    },

    read: async (id, signal) => (await pods.read(id, signal)) ?? (left === 'nothing' ? undefined : await jobs.read(id, signal)),

    again: async (id, signal) =>
      (await pods.again(id, signal)) ?? (left === 'nothing' ? undefined : await jobs.again(id, signal)),

    async find(ids, tags, signal) {
      const found = await pods.find(ids, tags, signal)
      if (left === 'nothing') return found
      const own = found.map(workerOfPod)
      const seen = new Set(own.map(({ metadata }) => metadata.name))
      return [
        ...own,
        ...(await jobs.find(
          ids.filter((id) => !seen.has(id)),
          tags,
          signal,
        )),
      ]
    },

    async page({ rest, ...query }, signal) {
      if (rest?.startsWith(OF_BOTH) === true || (rest === undefined && left === 'jobs')) {
        const { items, next } = await jobs.page({ ...query, rest: rest?.slice(OF_BOTH.length) }, signal)
        return { items, ...(next === undefined ? {} : { next: `${OF_BOTH}${next}` }) }
      }
      const page = await pods.page({ ...query, rest }, signal)
      return left === 'nothing' ? page : { ...page, items: page.items.map(workerOfPod) }
    },

    some: (selector, signal) => (left === 'jobs' ? jobs : pods).some(selector, signal),

    async unseen(tags, signal) {
      left = await look(tags, signal)
      return left === 'pods' ? pods.unseen(tags, signal) : []
    },

    /** Of both: what was launched anew after its Job could not be seen is there twice. */
    async remove(id, how) {
      const pod = await pods.remove(id, how)
      if (left === 'nothing') return pod
      const job = await jobs.remove(id, how)
      return pod ?? job
    },

    async mark(id, how) {
      await pods.mark(id, how)
      if (left !== 'nothing') await jobs.mark(id, how)
    },

    isGone: async (id, uid, signal) =>
      (await pods.isGone(id, uid, signal)) && (left === 'nothing' || (await jobs.isGone(id, uid, signal))),

    follow(query, options) {
      const followed = pods.follow(query, options)
      return {
        ...followed,
        async *changes(signal) {
          for await (const change of followed.changes(signal))
            yield left === 'nothing' ? change : { ...change, object: workerOfPod(change.object) }
        },
      }
    },

    of: (pod) => (left === 'nothing' ? pod : workerOfPod(pod)),

    logged: (id, how) => (left === 'nothing' ? pods : jobs).logged(id, how),
  }
}

/** Jobs that may not be seen are as those that are not there. */
function asGranted(objects: Objects): Objects {
  const orNone = async <T>(asked: Promise<T>, none: T): Promise<T> => {
    try {
      return await asked
    } catch (error) {
      if (isStatus(error, 403)) return none
      throw error
    }
  }
  const nothing: JobList = { metadata: {}, items: [] }
  return {
    ...objects,
    readJob: (name, signal) => orNone(objects.readJob(name, signal), undefined),
    listJobs: (query, signal) => orNone(objects.listJobs(query, signal), nothing),
    deleteJob: (name, how) => orNone(objects.deleteJob(name, how), undefined),
  }
}
