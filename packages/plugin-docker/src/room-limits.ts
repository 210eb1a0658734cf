/** The bounds of one engine's workers together, as its operator writes them (`providers.<name>.config.room`). Pure. */
import { amountOf, sizePattern } from '@muster/provider-parts/sizes'
import * as z from 'zod'

export interface RoomConfig {
  readonly slots?: number
  readonly cpu?: number
  readonly memory?: string
}

/** Absent: no bound but the engine's own. */
export interface RoomLimits {
  readonly slots?: number
  readonly cpu?: number
  readonly memoryBytes?: number
}

export const roomSchema: z.ZodType<RoomConfig> = z
  .strictObject({
    slots: z.int().min(1).describe('Most workers at once.').exactOptional(),
    cpu: z.number().positive().describe('vCPU that their limits may make together.').exactOptional(),
    memory: sizePattern.describe('Memory that their limits may make together, as `48GiB`.').exactOptional(),
  })
  .describe('What workers may take of the engine together; a worker beyond it goes to the next placement. Default: no bound.')

/** Pure. */
export function roomLimitsOf({ slots, cpu, memory }: RoomConfig): RoomLimits {
  return {
    ...(slots === undefined ? {} : { slots }),
    ...(cpu === undefined ? {} : { cpu }),
    ...(memory === undefined ? {} : { memoryBytes: amountOf(memory) }),
  }
}
