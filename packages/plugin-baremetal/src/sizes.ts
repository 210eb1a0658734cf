/** Limits that this machine cannot keep, or that no worker can live with. Pure. */
import type { Resources } from '@muster/core'
import { refused } from './errors.ts'

/** Processors, and bytes of memory. */
export interface Machine {
  cpu: number
  memoryBytes: number
}

/** A shell was killed at its start each time with 1 MiB, never with 2; twice that for what it starts. */
const LEAST_MEMORY = 4 * 1024 * 1024

/** The kernel takes a promise that the machine cannot keep, up to a size at which it refuses to write it. */
export function refuseSizes({ cpu = 0, memoryBytes }: Resources, machine: Machine): void {
  if (cpu > machine.cpu) throw refused('unsupported', 'resources.cpu', { message: `this machine has ${machine.cpu}` })
  if (memoryBytes === undefined) return
  if (memoryBytes > machine.memoryBytes)
    throw refused('unsupported', 'resources.memoryBytes', { message: `this machine has ${machine.memoryBytes}` })
  if (memoryBytes < LEAST_MEMORY)
    throw refused('invalid-spec', 'resources.memoryBytes', {
      message: `a worker needs at least ${LEAST_MEMORY} bytes of memory`,
      hint: 'Write a size with its unit, as 64Mi.',
    })
}
