/**
 * Callers of a provider while another version of its plugin takes over, again and again, and beside it the plain way: the process is
 * killed and started again. Each caller makes its next call when the last one has ended; every failed call counts.
 */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ProviderError } from '@muster/core'
import { tempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { newId } from '../store/ids.ts'
import type { GuardedProvider } from '../plugins/api.ts'
import { startPlugins, type StartedRoom } from '../plugins/room.ts'
import { launchSpec } from '../plugins/testing/configure.ts'
import { configureVersion, mirrorFixture } from '../plugins/testing/versions.ts'
import { patienceMs } from './daemon.test.helper.ts'

export interface SwitchProof {
  callers: number
  /** At the least: it goes on until there were as many switches as well. */
  calls: number
  switches: number
  kills: number
}

export interface Counted {
  calls: number
  failed: number
  /** Switches, or kills. */
  times: number
  /** Of those that failed, what the first ones said. */
  said: string[]
}

const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

/** Rejects only where it cannot be measured; what failed is in the answer. */
export async function proveSwitch(proof: SwitchProof): Promise<{ switched: Counted; killed: Counted }> {
  const folder = await tempFolder('switch')
  const data = folder.path
  const mirror = join(data, 'mirror')
  await mirrorFixture(mirror, ['1.0.0', '2.0.0'])
  const two = await configureVersion(data, { mirror, version: '2.0.0' })
  const one = await configureVersion(data, { mirror, version: '1.0.0' })
  const deps = { owner: 'me', fence: { epoch: () => 1, mayAct: () => true }, log: silent, random: () => 0 }
  const room = startPlugins({ ...one, ...deps })
  const provider = room.provider('p')
  try {
    await ready(provider)
    let next = two
    const switched = await count(provider, proof, {
      times: proof.switches,
      act: async () => {
        await switchTo(room, next)
        next = next === two ? one : two
      },
    })
    const killed = await count(provider, { ...proof, calls: 0 }, { times: proof.kills, act: () => killAndWait(provider) })
    return { switched, killed }
  } finally {
    await room.stop()
    await folder.remove()
  }
}

async function switchTo(room: StartedRoom, next: Awaited<ReturnType<typeof configureVersion>>): Promise<void> {
  const staged = await room.stage(next, next.at)
  if ('problems' in staged) throw new Error(staged.problems.map((problem) => problem.reason).join())
  staged.commit()
}

async function killAndWait(provider: GuardedProvider): Promise<void> {
  const { pid } = provider.status()
  // Zero would be everybody of this group.
  if (pid === undefined) throw new Error('there is no process to kill')
  process.kill(pid, 'SIGKILL')
  await waitFor(
    'another process',
    async () => {
      const now = provider.status()
      return now.pid !== undefined && now.pid !== pid && now.state === 'ready'
    },
    { timeoutMs: patienceMs },
  )
}

function ready(provider: GuardedProvider): Promise<unknown> {
  return waitFor('the provider to be ready', () => provider.status().state === 'ready', { timeoutMs: patienceMs })
}

async function count(
  provider: GuardedProvider,
  proof: SwitchProof,
  { times, act }: { times: number; act: () => Promise<void> },
): Promise<Counted> {
  const counted: Counted = { calls: 0, failed: 0, times: 0, said: [] }
  let over = false
  const callers = Array.from({ length: proof.callers }, async (_, n) => {
    for (let round = n; !over; round++) {
      try {
        await oneCall(provider, round)
      } catch (error) {
        counted.failed += 1
        if (counted.said.length < 5) counted.said.push((error as Error).message)
        // paced: as long as the refusal itself asks for; the same gap is no second loss for whoever comes again sooner.
        await sleep((error as ProviderError).retryAfterMs ?? 0)
      }
      counted.calls += 1
    }
  })
  try {
    while (counted.times < times || counted.calls < proof.calls) {
      await act()
      counted.times += 1
      const before = counted.calls - counted.failed
      // By the version, or the process, that is there now; after a fall also the breaker takes its time.
      await waitFor('callers to be answered', () => counted.calls - counted.failed >= before + proof.callers, {
        timeoutMs: patienceMs,
      })
    }
  } finally {
    over = true
    await Promise.all(callers)
  }
  return counted
}

/** What changes something, and what only asks, in turn. */
function oneCall(provider: GuardedProvider, round: number): Promise<unknown> {
  const id = newId('w')
  const spec = { ...launchSpec, id, tags: { ...launchSpec.tags, 'muster-worker': id } }
  if (round % 4 === 0) return provider.launch(spec, { idempotencyKey: id })
  if (round % 4 === 1) return provider.list({ limit: 10 })
  if (round % 4 === 2) return provider.inspect([{ id }])
  return provider.terminate({ id }, { graceMs: 0, force: false, reason: 'over' }, { idempotencyKey: id })
}
