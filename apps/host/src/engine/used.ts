/** What workers use, as the engine says it. */
import type { WorkerStats } from '@muster/core'
import type { LiveWorker } from './model.ts'

/** A sample, and what follows from the one before it. */
export interface WorkerUsage extends Omit<WorkerStats, 'id'> {
  /** vCPUs, since the sample before; absent with the first one. */
  cpu?: number
}

export interface PoolUsage {
  /** Of how many workers it is known. */
  workers: number
  cpu: number
  memoryBytes: number
}

export interface Usage {
  /** Of a worker that lives; undefined: nobody has said. */
  of(worker: string): WorkerUsage | undefined
  /** By pool; absent: nobody has said anything of its workers. */
  byPool(): ReadonlyMap<string, PoolUsage>
  /** The most memory that a worker had while it served one lease alone; undefined: nobody knows. */
  peakOf(worker: Pick<LiveWorker, 'id' | 'uses'>): number | undefined
  /** Told of every sample that is taken, with the one before it; for those who count. Stays as long as the engine. */
  onSample(listener: (worker: LiveWorker, now: WorkerUsage, before: WorkerUsage | undefined) => void): void
}
