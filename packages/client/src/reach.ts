/** Into a worker that lives: files in and out, a connection to one of its ports. */
import type { Caller } from './call.ts'
import type { MusterClient } from './client.ts'
import { saveAs } from './files.ts'

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
        ...(signal === undefined ? {} : { signal }),
      })
    },
    async saveFiles(id, { path, target, replace, onSkipped, signal }) {
      const again = caller.patience(signal)
      for (;;) {
        const answer = await caller.open('getFiles', {
          params: { id },
          query: { path },
          headers: { accept: 'application/x-tar' },
          ...(signal === undefined ? {} : { signal }),
        })
        try {
          const skipped = await saveAs(target, answer, { replace: replace !== false })
          for (const one of skipped) onSkipped?.(one)
          return
        } catch (error) {
          await again(error, 'begun')
        }
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
