/** The backup of the data folder, as it is taken. */
import { z } from 'zod'
import { principalOf } from '../access.ts'
import type { App, AppDeps } from '../deps.ts'
import { bytes, content, needs } from '../describe.ts'
import { ApiProblem } from '../problems.ts'
import { watchReader } from '../still.ts'

/** A line that is slow, or a disk that hangs for a moment, is borne: in this time it must take one chunk, 256 KiB at most. */
const STILL_MS = 300_000
const STILL = 'takes nothing for 5 minutes is cut off'

export function backupRoutes(app: App, { backups, engine, streams }: AppDeps): void {
  app.post(
    '/v1/backup',
    {
      ...needs('admin'),
      schema: {
        operationId: 'createBackup',
        summary: 'A backup, a tar',
        description:
          'One consistent copy of the store while the daemon works. The last entry is its manifest: without that it is not whole. One at a time; it is cut off when nothing of it is read for five minutes.',
        body: z
          .strictObject({
            key: z
              .boolean()
              .describe('With the seal key: who has the backup can then read the env, files and inputs of runs that were live.')
              .default(false),
            logs: z.boolean().describe('With the logs, outputs and waiting inputs of runs.').default(false),
          })
          .prefault({}),
        response: { 200: content('The tar.', { 'application/x-tar': bytes }) },
      },
    },
    async (request, reply) => {
      const { key, logs } = request.body
      const principal = principalOf(request)
      const { store, journal } = engine
      const backup = await backups.begin({ key, logs }, streams.signalOf(reply))
      if (backup === undefined)
        throw new ApiProblem('rate-limited', 'another backup is under way', {
          hint: `One is taken at a time; one whose reader ${STILL}.`,
          retryAfterMs: 5000,
        })
      // Once it is certain that there is one: a copy that could not be made has given nothing away.
      try {
        await store.write((tx, after) =>
          journal.append(tx, after, { rule: 'backup-taken', decision: 'the store is copied', inputs: { principal, key, logs } }),
        )
      } catch (error) {
        await backup.dispose()
        throw error
      }
      // It has the only place for a backup, and a copy of the whole store.
      const reader = watchReader({
        clock: engine.clock,
        ms: STILL_MS,
        onStill: () => {
          request.log.warn({ principal, id: request.id }, `a backup was cut off: a reader that ${STILL}`)
          reply.raw.destroy()
        },
      })
      reply.raw.once('close', () => {
        reader.end()
        void backup.dispose()
      })
      if (reply.raw.destroyed) await backup.dispose()
      return streams.send(reply, { type: 'application/x-tar', source: () => reader.follow(backup.tar) })
    },
  )
}
