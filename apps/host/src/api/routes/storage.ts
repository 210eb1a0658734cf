/** What Muster has on its disk. */
import { z } from 'zod'
import type { App, AppDeps } from '../deps.ts'
import { needs } from '../describe.ts'
import { named } from '../schemas.ts'

const storage = named(
  'StorageFacts',
  z.object({
    at: z.string().describe('When it was looked at; at most a minute ago.'),
    disk: z.object({ free: z.int(), total: z.int() }).describe('Bytes of the disk of the data folder.'),
    store: z.object({ bytes: z.int(), freeBytes: z.int().describe('Free inside its file; used again, or given back.') }),
    rows: z.record(z.string(), z.int()).describe('Of the store, by table.'),
    folders: z.record(z.string(), z.int()).describe('Bytes, by folder of the data folder.'),
  }),
)

export function storageRoutes(app: App, deps: AppDeps): void {
  app.get(
    '/v1/storage',
    {
      ...needs('viewer'),
      schema: { operationId: 'storage', summary: 'What it takes of its disk', response: { 200: storage } },
    },
    async () => {
      const { at, ...facts } = await deps.storage.facts()
      return { at: new Date(at).toISOString(), ...facts }
    },
  )
}
