/** Into a worker that lives: files in and out, a connection to one of its ports. */
import type { Caller } from './call.ts'
import type { MusterClient } from './muster-client.ts'
import { MusterError } from './errors.ts'
import { saveAs } from './files.ts'
import { acceptTar, toldTar } from './tar-frames.ts'

/** The daemon takes in all of it first, and its provider has half an hour for the rest: so long nothing is said. */
const COPYING_MS = 2_100_000
/** A connection may be silent for long; the server ends it after an hour. */
const SILENCE_MS = 3_600_000

export function reachOf(caller: Caller): Pick<MusterClient['workers'], 'putFiles' | 'saveFiles' | 'forward'> {
  return {
    async putFiles(id, { path, tar, signal }) {
      await caller.call('putFiles', {
        params: { id },
        query: { path },
        headers: { 'content-type': 'application/x-tar' },
        stream: tar,
        silenceMs: COPYING_MS,
        ...(signal === undefined ? {} : { signal }),
      })
    },
    async saveFiles(id, { path, target, replace, onSkipped, signal }) {
      const again = caller.patience(signal)
      for (;;) {
        const answer = await caller.open('getFiles', {
          params: { id },
          query: { path },
          headers: { accept: acceptTar },
          ...(signal === undefined ? {} : { signal }),
        })
        const { tar, problem } = toldTar(answer)
        const partial = `${target}.incomplete`
        let skipped: string[]
        try {
          // What is only a part of it takes the place of nothing that is whole.
          const place = (): string => (problem() === undefined ? target : partial)
          skipped = await saveAs(target, tar, { replace: replace !== false, place })
        } catch (error) {
          await again(problem() ?? error, 'begun')
          continue
        }
        for (const one of skipped) onSkipped?.(one)
        const why = problem()
        if (why !== undefined) throw incomplete(why, partial)
        return
      }
    },
    async forward(id, { port, input, signal }) {
      return caller.open('forwardPort', {
        params: { id, port },
        headers: { 'content-type': 'application/vnd.muster.tcp', accept: 'application/vnd.muster.tcp' },
        stream: () => input,
        duplex: true,
        silenceMs: SILENCE_MS,
        ...(signal === undefined ? {} : { signal }),
      })
    },
  }
}

function incomplete({ code, message, status, problem }: MusterError, partial: string): MusterError {
  return new MusterError(code, `${message}; what could be read is in '${partial}'`, {
    hint: 'Mend what is named, and copy again.',
    ...(status === undefined ? {} : { status }),
    ...(problem === undefined ? {} : { problem }),
  })
}
