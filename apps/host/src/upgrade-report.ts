/** What an upgrade of a plugin leads to, step by step, as its caller is told. Pure. */
import type { Problem } from './config/problem.ts'
import type { ProviderStatus } from './plugins/api.ts'
import type { DiscoveredPlugin } from './plugins/package.ts'

export const upgradeSteps = ['verify', 'start', 'account', 'switch'] as const

export interface UpgradeStep {
  step: (typeof upgradeSteps)[number]
  ok: boolean
  /** What was found. */
  fact: string
}

export interface LostWorker {
  provider: string
  worker: string
  why: string
  /** The version that is kept for it. */
  kept?: string
}

export interface Upgraded {
  alias: string
  before: string
  after: string
  steps: UpgradeStep[]
  /** Nothing stands in the way of the switch, or stood. */
  go: boolean
  switched: boolean
  /** Live workers that it does not account for, and that stand in its way. */
  lost: LostWorker[]
  /** Those for which the version before stays, or would. */
  kept: LostWorker[]
  /** Why it cannot be loaded or started. */
  problems: Problem[]
}

/** How a provider is. */
export type Standing = Pick<ProviderStatus, 'name' | 'alias' | 'state' | 'reason'>

export interface UpgradeReport {
  after(version: string): void
  step(step: UpgradeStep['step'], fact: string): void
  stopped(step: UpgradeStep['step'], fact: string, why: Partial<Pick<Upgraded, 'lost' | 'problems'>>): Upgraded
  /** Nothing is to be done, and `statuses` say how what runs is. */
  same(statuses: readonly Standing[], registryFile: string): Upgraded
  rehearsed(kept: readonly LostWorker[]): Upgraded
  switched(kept: readonly LostWorker[]): Upgraded
}

export function report(alias: string, { manifest: { version } }: Pick<DiscoveredPlugin, 'manifest'>): UpgradeReport {
  const told: Upgraded = {
    alias,
    before: version,
    after: version,
    steps: [],
    go: false,
    switched: false,
    lost: [],
    kept: [],
    problems: [],
  }
  const add = (step: UpgradeStep['step'], fact: string, ok = true): void => void told.steps.push({ step, ok, fact })
  return {
    after: (next) => {
      told.after = next
    },
    step: add,
    stopped: (step, fact, why) => {
      add(step, fact, false)
      return { ...told, ...why }
    },
    same: (statuses, file) => {
      const failed = statuses.filter((one) => one.alias === alias && one.state === 'failed')
      const ok = failed.length === 0
      add('verify', ok ? 'it is what runs' : 'it was started already, and has failed', ok)
      const fix = `upgrade to a version that starts, or run: muster plugins rollback ${alias}`
      const problems = failed.map(({ name, reason = 'it says no more' }) => ({
        ...{ file, line: 1, column: 1 },
        reason: `${name}: ${reason}`,
        fix,
      }))
      return { ...told, go: ok, problems }
    },
    rehearsed: (kept) => ({ ...told, go: true, kept: [...kept] }),
    switched: (kept) => {
      const ends =
        kept.length === 0 ? 'ends once its open calls have' : 'goes on for these workers, and ends with the last of them'
      add('switch', `it has taken over; the one before ${ends}`)
      return { ...told, go: true, switched: true, kept: [...kept] }
    },
  }
}
