/** How much of an engine workers may take together. Counted before each launch over all workers there, of whatever owner. */
import { type Call, type Headroom, type LaunchSpec, ProviderError } from '@muster/core'
import type { Engine } from '../client.ts'
import { listRows, type Row } from './rows.ts'
import { type Need, needOf } from '../labels.ts'
import { refuse } from '../settings.ts'
import type { RoomLimits } from '../room-limits.ts'

export interface Room {
  /**
   * Runs a launch with room held for it. Rejects with `capacity` when there is none left, with `unsupported` when such a worker never fits.
   * Exact among the launches of this process; another host's in the same moment may go beyond the bound.
   */
  hold<T>(spec: LaunchSpec, call: Call, launch: () => Promise<T>): Promise<T>
}

export function createRoom(engine: Engine, limits: RoomLimits): Room {
  const held = new Map<string, Need>()
  if (Object.keys(limits).length === 0) return { hold: (_spec, _call, launch) => launch() }
  return {
    async hold(spec, call, launch) {
      const need = checkNeed(spec, limits)
      // Whoever came before is counted from here on, whether the engine shows it by then or not.
      const before = new Map(held)
      before.delete(spec.id)
      held.set(spec.id, need)
      try {
        const rows = await listRows(engine, undefined, call.signal)
        if (!rows.some(({ id }) => id === spec.id)) checkRoom(need, limits, takenOf(rows, before))
        return await launch()
      } finally {
        held.delete(spec.id)
      }
    },
  }
}

/** What is free of the limits, as the contract tells it. Pure. */
export function freeOf({ slots, cpu, memoryBytes }: RoomLimits, rows: readonly Row[]): Headroom {
  const taken = takenOf(rows)
  const free = (total: number, used: number): { free: number; total: number } => ({ free: Math.max(0, total - used), total })
  return {
    ...(slots === undefined ? {} : { slots: free(slots, taken.slots) }),
    ...(cpu === undefined ? {} : { cpu: free(cpu, taken.cpu) }),
    ...(memoryBytes === undefined ? {} : { memoryBytes: free(memoryBytes, taken.memoryBytes) }),
  }
}

type Taken = Required<RoomLimits>

/** An ended worker takes nothing; one of `besides` is counted once. */
function takenOf(rows: readonly Row[], besides: ReadonlyMap<string, Need> = new Map()): Taken {
  const holding = rows.filter(({ id, state }) => state !== 'exited' && state !== 'dead' && !besides.has(id))
  const all: Need[] = [...holding, ...besides.values()]
  return {
    slots: all.length,
    cpu: all.reduce((sum, one) => sum + one.cpu, 0),
    memoryBytes: all.reduce((sum, one) => sum + one.memoryBytes, 0),
  }
}

function checkNeed(spec: LaunchSpec, { cpu, memoryBytes }: RoomLimits): Need {
  const need = needOf(spec)
  const check = (what: 'cpu' | 'memoryBytes', limit: number | undefined, unit: string): void => {
    if (limit === undefined) return
    if (need[what] === 0)
      throw refuse('unsupported', `resources.${what}`, `this engine counts it (room): say how much the worker needs`)
    if (need[what] > limit)
      throw refuse(
        'unsupported',
        `resources.${what}`,
        `${need[what]}${unit} are more than the ${limit}${unit} that workers may take here`,
      )
  }
  check('cpu', cpu, ' vCPU')
  check('memoryBytes', memoryBytes, ' bytes')
  return need
}

function checkRoom(need: Need, { slots, cpu, memoryBytes }: RoomLimits, taken: Taken): void {
  if (slots !== undefined && taken.slots >= slots) throw full(`all ${slots} slots are taken`)
  if (cpu !== undefined && taken.cpu + need.cpu > cpu + ROUNDING)
    throw full(`${taken.cpu} of ${cpu} vCPU are taken, ${need.cpu} are needed`)
  if (memoryBytes !== undefined && taken.memoryBytes + need.memoryBytes > memoryBytes)
    throw full(`${taken.memoryBytes} of ${memoryBytes} bytes of memory are taken, ${need.memoryBytes} are needed`)
}

/** vCPU are kept in whole billionths. */
const ROUNDING = 1e-6

function full(why: string): ProviderError {
  return new ProviderError('capacity', `no room on this engine: ${why}`, { effect: 'none' })
}
