import { digestOf } from '@muster/provider-parts/digest'
/** How a worker begins and ends: steps that may be taken again from anywhere, by this process or another. */
import { setTimeout as delay } from 'node:timers/promises'
import {
  type Call,
  type LaunchedWorker,
  type LaunchSpec,
  ProviderError,
  type Terminated,
  type TerminateHow,
  type WorkerId,
} from '@muster/core'
import { type Client, newMark } from './client.ts'
import type { WorkerState } from './folder.ts'
import type { Site } from './site.ts'
import { handleOf, type Plan, planOf } from './translate.ts'

export interface Life {
  site: Site
  client: Client
  now(): number
  slots: number | undefined
}

/** A terminate that takes longer is answered with `terminating` and goes on by itself: a call must not wait out a worker's grace. */
const INLINE_MS = 2000
/** After the grace: killing, removing, and a machine under load. */
const AFTER_GRACE_MS = 5000
/** From the end of one stop to the claim of the one that ended it: two short steps of a shell. */
const TAKE_OVER_MS = 1000
/** Between two looks at whether somebody else's stop has come to its end. */
const LOOK_MS = 20

/**
 * Two steps, each done by one of many: the folder appears whole under the worker's id, and the supervisor claims it. Whoever comes
 * later, in whatever state it is, takes the next step or finds both done.
 */
export async function launch(life: Life, spec: LaunchSpec, { signal }: Call): Promise<LaunchedWorker> {
  const { site, client } = life
  const { id } = spec
  const digest = digestOf(spec)
  for (;;) {
    signal.throwIfAborted()
    const state = await client.state(id)
    if (state === undefined) {
      const plan = planOf(spec, client.workspace(id), site)
      await checkSlots(life)
      await site.disk.check()
      // Whoever wins: the next round looks at what is there.
      await client.publish(newState(life, { spec, digest, plan }), plan)
      continue
    }
    if (state.digest !== digest) throw conflict('a worker of this id has another spec')
    const facts = await client.facts(id)
    if (facts.stopping) throw conflict('a worker of this id is being terminated')
    if (facts.supervisor === 'none') {
      if (state.boot !== site.boot) {
        // Half made when the machine went down: nothing of it ever ran, and not all of it may be on disk.
        await client.stop(id, { graceMs: 0, waitMs: AFTER_GRACE_MS, signal })
        continue
      }
      const outcome = await client.start(id).catch(async (error: unknown) => {
        await client.stop(id, { graceMs: 0, waitMs: AFTER_GRACE_MS, signal })
        throw error
      })
      if (outcome === 'stopping') continue
    }
    const { granted } = state
    return { handle: handleOf(id), ...(granted === undefined ? {} : { granted }) }
  }
}

export async function terminate(
  life: Life,
  { id, how }: { id: WorkerId; how: TerminateHow },
  { signal }: Call,
): Promise<Terminated> {
  const { client, now } = life
  if ((await client.state(id)) === undefined) return { state: 'gone' }
  const until = performance.now() + INLINE_MS
  const graceMs = how.force ? 0 : how.graceMs
  let trouble: string | undefined
  // A second SIGTERM would tell many programs to hurry.
  if (graceMs === 0 || !(await client.facts(id)).stopper) trouble = await client.stop(id, { graceMs, waitMs: INLINE_MS, signal })
  // One that ends without a word was killed by another that takes over, and that one claims the worker a moment later.
  const interrupted = trouble === ''
  const last = interrupted ? Math.max(until, performance.now() + TAKE_OVER_MS) : until
  const isWorkedOn = async (): Promise<boolean> => interrupted || (await client.facts(id)).stopper
  while (performance.now() < last && (await client.state(id)) !== undefined && (await isWorkedOn()))
    await delay(LOOK_MS, undefined, { signal })
  if ((await client.state(id)) === undefined) return { state: 'gone' }
  if (trouble !== undefined && !(await client.facts(id)).stopper)
    throw new ProviderError('transient', `the worker could not be removed: ${trouble || 'its end was interrupted'}`)
  return { state: 'terminating', by: new Date(now() + graceMs + AFTER_GRACE_MS).toISOString() }
}

function newState({ site, now }: Life, { spec, digest, plan }: { spec: LaunchSpec; digest: string; plan: Plan }): WorkerState {
  const { id, tags } = spec
  const granted = site.cgroups?.limits(id, plan.limits).granted ?? {}
  return {
    v: 1,
    id,
    tags,
    digest,
    mode: plan.command === undefined ? 'hold' : 'command',
    boot: site.boot,
    createdAt: now(),
    noNewPrivileges: plan.noNewPrivileges,
    mark: newMark(),
    workdir: plan.workdir,
    labels: plan.labels,
    ...(plan.ports === undefined ? {} : { ports: plan.ports }),
    ...(site.cgroups === undefined ? {} : { cgroup: site.cgroups.worker(id) }),
    ...(Object.keys(granted).length === 0 ? {} : { granted }),
  }
}

async function checkSlots({ client, slots }: Life): Promise<void> {
  if (slots === undefined || (await client.ids()).length < slots) return
  throw new ProviderError('capacity', `all ${slots} slots are taken`, { effect: 'none' })
}

function conflict(message: string): ProviderError {
  return new ProviderError('conflict', message, { effect: 'none' })
}
