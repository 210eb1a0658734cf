/** Defects of the plugin's words and of launch. */
import { ProviderError } from '../../errors.ts'
import type { LaunchedWorker, WorkerProvider } from '../../provider.ts'
import type { WorkerId } from '../../spec.ts'
import { digestOf, handleOf, toRecord } from '../fake/translate.ts'
import { join } from 'node:path'
import { claims } from './claims.test.helper.ts'
import { type Defect, littered, observing } from './defect.test.helper.ts'

const pending = claims()
const responsible = claims()

export const busy = (message: string): ProviderError => new ProviderError('conflict', message, { effect: 'none' })

export const launchDefects: readonly Defect[] = [
  {
    name: 'the manifest names another version than the plugin',
    caughtBy: 'the running plugin describes itself as its manifest does',
    manifest: (manifest) => ({ ...manifest, version: '9.9.9' }),
  },
  {
    name: 'quote is declared and not there',
    caughtBy: 'every method of a declared capability is there',
    wrap: () => ({ quote: undefined }) as unknown as Partial<WorkerProvider>,
  },
  {
    name: 'quote is there and not declared',
    caughtBy: 'no method of an undeclared capability is there',
    capabilities: { quote: false },
    wrap: () => ({
      quote: () =>
        Promise.resolve({ pricePerHour: 0, currency: 'EUR', billingSeconds: 1, expectedStartMs: 0, interruptionRisk: 0 }),
    }),
  },
  {
    name: 'the probe never gets ready',
    caughtBy: 'the probe says ready and changes nothing',
    wrap: (provider) => ({ probe: async (call) => ({ ...(await provider.probe(call)), state: 'initialising' }) }),
  },
  {
    name: 'a launch that was answered before is a conflict',
    caughtBy: 'launching twice makes one worker',
    wrap(provider) {
      const answered = new Set<WorkerId>()
      return {
        async launch(spec, call) {
          if (answered.has(spec.id)) throw busy(`${spec.id} is there already`)
          const launched = await provider.launch(spec, call)
          answered.add(spec.id)
          return launched
        },
      }
    },
  },
  {
    name: 'a launch of an id that is being launched is refused',
    caughtBy: 'many launches of one id at once make one worker',
    wrap(provider) {
      const open = new Set<WorkerId>()
      return {
        async launch(spec, call) {
          if (open.has(spec.id)) throw busy(`${spec.id} is being launched`)
          open.add(spec.id)
          try {
            return await provider.launch(spec, call)
          } finally {
            open.delete(spec.id)
          }
        },
      }
    },
  },
  {
    name: 'a name that another process has just taken is an error',
    caughtBy: 'launches of one id from two plugin processes make one worker',
    wrap: (provider, { control, life }) => ({
      async launch(spec, call) {
        const key = join(control.dir, spec.id)
        const holder = pending.holder(key)
        if (holder !== undefined && holder !== life) throw busy('the name is taken')
        pending.take(key, life)
        try {
          return await provider.launch(spec, call)
        } finally {
          pending.drop(key)
        }
      },
    }),
  },
  {
    name: 'another spec under the same id is taken for a repeat',
    caughtBy: 'the same id with another spec is a conflict and changes nothing',
    wrap: (provider) => ({
      launch: (spec, call) =>
        provider.launch(spec, call).catch((error: unknown): LaunchedWorker => {
          if (error instanceof ProviderError && error.message.includes('another spec'))
            return { handle: handleOf({ id: spec.id, part: 'a' }) }
          throw error
        }),
    }),
  },
  {
    name: 'every worker is said to be of the first epoch',
    caughtBy: 'a worker carries the tags it was launched with',
    wrap: (provider) => observing(provider, (one) => ({ ...one, tags: { ...one.tags, 'muster-epoch': '1' } })),
  },
  {
    name: 'an exit is lost unless the process that launched the worker sees it',
    caughtBy: 'a worker whose plugin is killed right after acceptance runs on to its right exit',
    wrap: (provider, { control, life }) => ({
      ...observing(provider, (one) =>
        one.exit === undefined || responsible.holder(join(control.dir, one.id)) !== undefined
          ? one
          : { ...one, exit: { reason: 'unknown' } },
      ),
      async launch(spec, call) {
        const launched = await provider.launch(spec, call)
        responsible.take(join(control.dir, spec.id), life)
        return launched
      },
    }),
  },
  {
    name: 'a launch notes its intent, and a repeat takes the note for the worker',
    caughtBy: 'after SIGKILL at any frame of launch, a repeat makes one worker',
    wrap: (provider, { side }) => ({
      async launch(spec, call) {
        const notes = side('notes')
        const note = `${spec.id}.${digestOf(spec)}`
        const parts = ['a', 'b', 'c']
        if (notes.has(note)) return { handle: handleOf(toRecord(spec, { parts, now: 0 })) }
        notes.add(note)
        try {
          return await provider.launch(spec, call)
        } catch (error) {
          notes.remove(note)
          throw error
        }
      },
    }),
  },
  {
    name: 'a launch makes a network first, which only a worker’s end takes away',
    caughtBy: 'after SIGKILL at any frame of launch, nothing is there that the list does not show, and terminate takes it away',
    wrap: (provider, { side }) => ({
      async launch(spec, call) {
        side(littered).add(spec.id)
        try {
          return await provider.launch(spec, call)
        } catch (error) {
          side(littered).remove(spec.id)
          throw error
        }
      },
      async terminate(target, how, call) {
        const there = (await provider.inspect([target], call)).length > 0
        const answer = await provider.terminate(target, how, call)
        if (there) side(littered).remove(target.id)
        return answer
      },
    }),
  },
  {
    name: 'observations carry handles of the old version',
    caughtBy: 'a handle is of the first declared version, and no call needs one',
    wrap: (provider) => observing(provider, (one) => ({ ...one, handle: { v: 1, data: one.id } })),
  },
  {
    name: 'old handles are refused',
    caughtBy: 'handles of older versions are read',
    wrap: (provider) => ({
      inspect(targets, call) {
        if (targets.some(({ handle }) => handle?.v === 1))
          throw new ProviderError('invalid-spec', 'an old handle', { path: 'handle' })
        return provider.inspect(targets, call)
      },
    }),
  },
  {
    name: 'memory is rounded down',
    caughtBy: 'what is granted is no less than what was asked',
    wrap: (provider) => ({
      async launch(spec, call) {
        const { handle, granted } = await provider.launch(spec, call)
        const memory = spec.resources?.memoryBytes
        if (memory === undefined) return { handle }
        return { handle, granted: { ...granted, memoryBytes: memory - (memory % (1024 * 1024)) } }
      },
    }),
  },
]
