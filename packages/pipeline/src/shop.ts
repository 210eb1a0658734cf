/** What all jobs of one execution of a pipeline share. */
import type { PipelineEvent } from './events.ts'
import type { Muster } from './muster.ts'
import type { PackedTar } from './transfer/pack.ts'

type Told<E = PipelineEvent> = E extends PipelineEvent ? Omit<E, 'at'> : never
/** Resolves when the listener has taken it: who produces much must wait. */
export type Emit = (event: Told) => Promise<void>

/** What all jobs of one pipeline share. */
export interface Workshop {
  muster: Muster
  emit: Emit
  /** Unique to this execution of the pipeline; a part of the keys of its runs. */
  id: string
  name: string
  /** Scratch folder of this execution. */
  folder: string
  workspace: PackedTar
  /** Artifacts made so far; `path` is where they were made. */
  artifacts: Map<string, PackedTar & { path: string }>
  /** Aborted: every run is to end. */
  cancel: AbortSignal
  /** Aborted: at once. */
  force: AbortSignal
  /** Also the outputs of failed jobs are fetched. */
  keepAll: boolean
}
