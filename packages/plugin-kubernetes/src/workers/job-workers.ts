/** Workers as Jobs: a Job of the worker's id, whose controller makes one Pod with a name that the cluster chooses. */
import type { WorkerId } from '@muster/core'
import { pause } from '@muster/provider-parts/waiting'
import { isStatus } from '../api/failure.ts'
import type { Objects } from '../cluster-objects.ts'
import { followJobs } from './job-watch.ts'
import { hasBegun, JOB_NAME, jobOf, workerOfJob, workerOfPod } from './job-view.ts'
import { changedName, isOwn, tagsOf } from '../labels.ts'
import type { Job, Pod, PodManifest } from '../objects.ts'
import { isOrphan, type WorkerQuery, type Workers } from '../workers.ts'

/** How often it is asked for a Pod whose log somebody waits for. */
const LOOK_MS = 500

export function jobWorkers(objects: Objects): Workers {
  /** What the watch that is open knows of the cluster's names: a guess, which saves a search. */
  const guesses = new Map<WorkerId, { name: string; uid: string }>()

  const podsBy = async (selector: string, signal: AbortSignal): Promise<Pod[]> => {
    const pods: Pod[] = []
    let rest: string | undefined
    do {
      const { items, metadata } = await objects.listPods({ selector, limit: PAGE, rest }, signal)
      pods.push(...items)
      rest = metadata.continue === '' ? undefined : metadata.continue
    } while (rest !== undefined)
    return pods
  }
  const podsOf = async (ids: readonly WorkerId[], signal: AbortSignal): Promise<Pod[]> => {
    const parts = Array.from({ length: Math.ceil(ids.length / NAMES) }, (_, at) => ids.slice(at * NAMES, (at + 1) * NAMES))
    return (await Promise.all(parts.map((part) => podsBy(`muster-worker in (${part.join(',')})`, signal)))).flat()
  }

  async function podOf(id: WorkerId, signal: AbortSignal): Promise<Pod | undefined> {
    const guess = guesses.get(id)
    const guessed = guess === undefined ? undefined : await objects.readPod(guess.name, signal)
    if (guessed !== undefined && workerOfPod(guessed).metadata.name === id) return workerOfPod(guessed)
    return first(await podsOf([id], signal), id)
  }

  /** Of a worker whose Pod was not found by its label. */
  async function jobAlone(job: Job, signal: AbortSignal): Promise<Pod> {
    if (!hasBegun(job)) return workerOfJob(job)
    // It has come meanwhile, or somebody took the label from it.
    const { name, uid } = job.metadata
    const pods = await podsBy(`${JOB_NAME}=${name}`, signal)
    return workerOfJob(
      job,
      pods.filter(({ metadata }) => metadata.ownerReferences?.some((owner) => owner.uid === uid) === true),
    )
  }

  async function read(id: WorkerId, signal: AbortSignal): Promise<Pod | undefined> {
    const pod = await podOf(id, signal)
    if (pod !== undefined) return pod
    const job = await objects.readJob(id, signal)
    return job === undefined ? undefined : jobAlone(job, signal)
  }

  /** As it would be made; undefined: nobody knows. */
  async function tryPod(pod: PodManifest, signal: AbortSignal): Promise<Pod | undefined> {
    const { name } = pod.metadata
    const tried = { ...pod, metadata: { ...pod.metadata, name: `${name}-tried` } }
    try {
      return await objects.createPod(tried, { dryRun: true, signal })
    } catch (error) {
      if (isStatus(error, 400) && /does not support dry run/i.test((error as Error).message)) return undefined
      // Whoever has its place already is not refused for want of it.
      if ((await objects.readJob(name, signal)) === undefined) throw error
      return undefined
    }
  }

  /** With its Pods, which are listed after it. */
  async function pageOfJobs(
    { selector, limit, rest }: WorkerQuery,
    signal: AbortSignal,
  ): Promise<{ items: Pod[]; next: string }> {
    const { items: jobs, metadata } = await objects.listJobs({ selector, limit, rest }, signal)
    const next = metadata.continue ?? ''
    const names = jobs.map((job) => job.metadata.name)
    const all = await (rest === undefined && next === '' ? podsBy(selector, signal) : podsOf(names, signal))
    const pods = Map.groupBy(all, (pod) => workerOfPod(pod).metadata.name)
    const seen = jobs.map(async (job) => {
      const own = pods.get(job.metadata.name)
      if (own !== undefined || !hasBegun(job)) return workerOfJob(job, own)
      // It may have gone since the list.
      const now = await objects.readJob(job.metadata.name, signal)
      return now !== undefined && now.metadata.uid === job.metadata.uid ? jobAlone(now, signal) : undefined
    })
    const items = (await Promise.all(seen)).filter((worker) => worker !== undefined)
    return { items, next: next === '' ? OTHERS : `${JOBS}${next}` }
  }

  /** Pods of workers that have no Job: it was taken away from above them, or there never was one. */
  async function pageOfOthers(
    { selector, limit, rest }: WorkerQuery,
    signal: AbortSignal,
  ): Promise<{ items: Pod[]; next?: string }> {
    const { items, metadata } = await objects.listPods({ selector, limit, rest }, signal)
    const next = metadata.continue ?? ''
    const others = items.filter(({ metadata: { ownerReferences = [] } }) => !ownerReferences.some(({ kind }) => kind === 'Job'))
    return { items: others.map(workerOfPod), ...(next === '' ? {} : { next: `${OTHERS}${next}` }) }
  }

  return {
    told: ['Pod', 'Job'],

    async create(pod, { dryRun = false, signal }) {
      const tried = await tryPod(pod, signal)
      const made = workerOfJob(await objects.createJob(jobOf(pod), { dryRun, signal }))
      // What is rewritten of Pods alone is seen in the Pod that was tried.
      if (tried === undefined || changedName(pod.metadata, tried.metadata) === undefined) return made
      const { labels = {}, annotations = {} } = tried.metadata
      return { ...made, job: { ...made.job, template: { labels, annotations } } }
    },

    read,

    async again(id, signal) {
      const job = await objects.readJob(id, signal)
      return job === undefined ? undefined : workerOfJob(job)
    },

    async find(ids, _tags, signal) {
      const pods = Map.groupBy(await podsOf(ids, signal), (pod) => workerOfPod(pod).metadata.name)
      const found = ids.map(async (id) => {
        const pod = first(pods.get(id) ?? [], id)
        const job = pod === undefined ? await objects.readJob(id, signal) : undefined
        return job === undefined ? pod : jobAlone(job, signal)
      })
      return (await Promise.all(found)).filter((worker) => worker !== undefined)
    },

    page: ({ rest = JOBS, ...query }, signal) => {
      const at = { ...query, rest: rest.slice(1) === '' ? undefined : rest.slice(1) }
      return rest.startsWith(JOBS) ? pageOfJobs(at, signal) : pageOfOthers(at, signal)
    },

    async some(selector, signal) {
      const query = { selector, limit: 1 }
      const [jobs, pods] = await Promise.all([objects.listJobs(query, signal), objects.listPods(query, signal)])
      return jobs.items.length + pods.items.length > 0
    },

    // Pods without a Job are seen, as what is left of one.
    unseen: () => Promise.resolve([]),

    /**
     * The Pod first: a Job gives its Pod's own grace, not the one that was asked for. Nothing comes in its place meanwhile, and the Job has its
     * name until its Pod has gone.
     */
    async remove(id, { uid, graceSeconds, tags, signal }) {
      const end = (pod: { name: string; uid: string }): Promise<Pod | undefined> =>
        objects.deletePod(pod.name, { uid: pod.uid, graceSeconds, signal })
      const ours = async (): Promise<{ name: string; uid: string }[]> =>
        (await podsOf([id], signal))
          .filter((pod) => isOwn(tagsOf(workerOfPod(pod).metadata), tags))
          .map(({ metadata }) => ({ name: metadata.name, uid: metadata.uid ?? '' }))
      const guess = guesses.get(id)
      const ended = await Promise.all((guess === undefined ? await ours() : [guess]).map(end))
      const job = await objects.deleteJob(id, { uid, signal })
      // Without a Job above it any Pod of this id is what is left of the worker.
      if (job === undefined && guess !== undefined) ended.push(...(await Promise.all((await ours()).map(end))))
      const pods = ended.filter((pod) => pod !== undefined)
      if (job !== undefined) return workerOfJob(job, pods)
      return pods.map(workerOfPod)[0]
    },

    async mark(id, { uid, leased, signal }) {
      const guess = guesses.get(id)
      if (guess !== undefined) return await objects.markPod(guess.name, { uid: guess.uid, leased, signal })
      const worker = await read(id, signal)
      const pod = worker?.job?.pod
      if (worker !== undefined && pod !== undefined && (worker.metadata.uid === uid || isOrphan(worker)))
        await objects.markPod(pod.name, { uid: pod.uid, leased, signal })
    },

    isGone: async (id, _uid, signal) => (await podsOf([id], signal)).length === 0,

    follow: (query, options) => followJobs(objects, { query, guesses }, options),

    of: workerOfPod,

    async logged(id, { follow, signal }) {
      for (;;) {
        const worker = await read(id, signal)
        if (worker === undefined || worker.job === undefined) return id
        if (worker.job.pod !== undefined) return worker.job.pod.name
        // Of one that had a Pod nothing can be read any more; the cluster says so of this name too.
        if (!follow || worker.status?.phase !== 'Pending') return worker.status?.phase === 'Pending' ? undefined : id
        await pause(LOOK_MS, signal)
      }
    },
  }
}

/** As the requests of all pages. */
const PAGE = 500

/** So many ids are named in one request: 6 KB of address, where proxies take 8. */
const NAMES = 200

/** A walk goes over Jobs first: what ends meanwhile ends by its Pod, and is not told twice. */
const JOBS = 'j'
const OTHERS = 'p'

/** The oldest, which is the worker. */
function first(pods: readonly Pod[], id: WorkerId): Pod | undefined {
  const own = pods.map(workerOfPod).filter(({ metadata }) => metadata.name === id)
  return own.toSorted((left, right) => bornAt(left) - bornAt(right))[0]
}

const bornAt = ({ metadata }: Pod): number => Date.parse(metadata.creationTimestamp ?? '') || 0
