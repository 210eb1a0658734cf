/** Defects of terminate. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ProviderError } from '../../errors.ts'
import type { WorkerId } from '../../spec.ts'
import { processesOf, readText, signalQuietly } from '../fake/cell.ts'
import { claims } from './claims.test.helper.ts'
import { type Defect, recordOf } from './defect.test.helper.ts'
import { busy } from './launch.test.helper.ts'

const ending = claims()

export const terminateDefects: readonly Defect[] = [
  {
    name: 'terminating what is not there is an error',
    caughtBy: 'terminating a worker that never was says gone',
    wrap: (provider) => ({
      async terminate(target, how, call) {
        if (!how.force && (await provider.inspect([target], call)).length === 0)
          throw new ProviderError('not-found', 'no such worker', { effect: 'none' })
        return await provider.terminate(target, how, call)
      },
    }),
  },
  {
    name: 'a second terminate is an error',
    caughtBy: 'terminating twice, one after the other and at once, is no error',
    wrap(provider) {
      const done = new Set<WorkerId>()
      return {
        async terminate(target, how, call) {
          if (done.has(target.id)) throw busy('already terminated')
          const there = (await provider.inspect([target], call)).length > 0
          const answer = await provider.terminate(target, how, call)
          if (there) done.add(target.id)
          return answer
        },
      }
    },
  },
  {
    name: 'what was once said to be gone is never looked at again',
    caughtBy: 'terminating while launching leaves nothing',
    wrap(provider) {
      const gone = new Set<WorkerId>()
      return {
        async terminate(target, how, call) {
          if (gone.has(target.id)) return { state: 'gone' }
          const answer = await provider.terminate(target, how, call)
          gone.add(target.id)
          return answer
        },
      }
    },
  },
  {
    name: 'an exited worker is not stopped, it does not run',
    caughtBy: 'terminating after the exit takes the worker away',
    wrap: (provider) => ({
      async terminate(target, how, call) {
        const [found] = await provider.inspect([target], call)
        if (found?.phase === 'exited' && !how.force) throw busy('it does not run')
        return await provider.terminate(target, how, call)
      },
    }),
  },
  {
    name: 'without a handle a holding worker is not found',
    caughtBy: 'terminating without a handle takes the worker away',
    wrap: (provider, { control }) => ({
      async terminate(target, how, call) {
        const record = recordOf(control.dir, target.id)
        if (target.handle === undefined && record !== undefined && record.command === undefined) return { state: 'gone' }
        return await provider.terminate(target, how, call)
      },
    }),
  },
  {
    name: 'an end that was begun by a process now dead is taken for done',
    caughtBy: 'after SIGKILL at any frame of terminate, a repeat leaves nothing',
    wrap: (provider, { control, life, side }) => ({
      async terminate(target, how, call) {
        const key = join(control.dir, target.id)
        const begun = side('begun')
        if (begun.has(target.id) && ending.holder(key) === undefined) return { state: 'gone' }
        begun.add(target.id)
        ending.take(key, life)
        const answer = await provider.terminate(target, how, call)
        begun.remove(target.id)
        return answer
      },
    }),
  },
  {
    name: 'there is no grace',
    caughtBy: 'a grace period is a SIGTERM and time; force cuts it short',
    wrap: (provider) => ({ terminate: (target, how, call) => provider.terminate(target, { ...how, force: true }, call) }),
  },
  {
    name: 'daemons that a command left behind are not ended',
    caughtBy: 'terminate also ends what a command left running',
    wrap: (provider, { control }) => ({
      async terminate(target, how, call) {
        const home = join(control.dir, 'workers', target.id)
        const processes = processesOf(home)
        const parentOf = (pid: number): number => Number(/^PPid:\s+(\d+)/m.exec(readText(`/proc/${pid}/status`) ?? '')?.[1])
        // Whose parent cannot be read has just ended.
        const daemons = processes.filter((pid) => ![Number.NaN, process.pid, ...processes].includes(parentOf(pid)))
        if (daemons.length === 0) return await provider.terminate(target, how, call)
        for (const pid of processes) if (!daemons.includes(pid)) signalQuietly(pid, 'SIGKILL')
        await delay(50)
        rmSync(home, { recursive: true, force: true })
        return { state: 'gone' }
      },
    }),
  },
]
