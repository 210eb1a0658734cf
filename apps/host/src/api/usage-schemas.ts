/** The schemas of what workers use. */
import { z } from 'zod'
import type { PoolUsage, WorkerUsage } from '../engine/used.ts'

const amount = z.number().min(0)

export const usageSchema: z.ZodType<WorkerUsage> = z.object({
  at: z.iso.datetime(),
  cpuSeconds: amount.describe('Since the start of the worker, as all that is summed.'),
  cpu: amount.describe('vCPUs, since the sample before.').exactOptional(),
  memoryBytes: amount.describe('Without what could be given back at once, as a page cache.'),
  memoryPeakBytes: amount.describe('The most it had, as its provider counts; a page cache may count.').exactOptional(),
  pids: amount.exactOptional(),
  network: z.object({ receivedBytes: amount, sentBytes: amount }).exactOptional(),
  disk: z.object({ readBytes: amount, writtenBytes: amount }).exactOptional(),
})
z.globalRegistry.add(usageSchema, { id: 'WorkerUsage' })

export const poolUsageSchema: z.ZodType<PoolUsage> = z
  .object({ workers: z.int().describe('Of so many it is known.'), cpu: z.number(), memoryBytes: z.number() })
  .describe('What its live workers use now, by their last samples.')
