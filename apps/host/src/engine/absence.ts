/** When a worker that a list did not show may be taken for gone. Pure: the rule of the contract, word by word. */

export interface ListFacts {
  /** When its first page was asked for. */
  startedAt: number
  /** Every page was read, the last one said so. */
  complete: boolean
  /** Parts that could not be seen. */
  blind: readonly string[]
  /** Kept versions of the plugin that could not be asked for their workers. */
  unseen?: readonly string[]
}

export interface AbsentWorker {
  /** The part it was last seen in; null when never told. */
  part: string | null
  /** The version of the plugin that it belongs to. */
  version?: string | null
  /** That version runs no longer, and is not kept. */
  stranded?: boolean
  /** When the last launch or terminate call for it settled; null when it never was called by this host. */
  settledAt: number | null
  /** A mutating call is open. */
  open: boolean
  launchedAt: number | null
  /** The provider's declared lag of a launch. Milliseconds. */
  visibilityMs: number
}

/** Why absence means nothing yet; undefined: it is to be inspected, and gone if that agrees. */
export function absenceExcuse(worker: AbsentWorker, list: ListFacts): string | undefined {
  if (!list.complete) return 'the list was not complete'
  if (list.unseen?.some((version) => version === worker.version) === true)
    return 'the version that it belongs to could not be asked'
  if (worker.stranded === true) return 'it belongs to another version than the one that was asked'
  if (worker.part === null ? list.blind.length > 0 : list.blind.includes(worker.part)) return 'its part could not be seen'
  if (worker.open) return 'a call for it is open'
  if (worker.settledAt !== null && list.startedAt < worker.settledAt) return 'the list began before the last call for it settled'
  if (worker.launchedAt === null) return 'its launch is not known to have happened'
  if (list.startedAt < worker.launchedAt + worker.visibilityMs) return 'a launch may stay unseen so long'
  return undefined
}

/** Did the list show all there is? */
export function sawAll({ complete, blind, unseen = [] }: ListFacts): boolean {
  return complete && blind.length === 0 && unseen.length === 0
}
