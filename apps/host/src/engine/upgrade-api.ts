/** What is said of the versions of plugins: those that run, those that are kept beside them, and the change from one to another. */
import type { Selectable } from 'kysely'
import type { GuardedProvider } from '../plugins/api.ts'
import type { KeptPluginTable } from '../store/schema.ts'
import type { ProviderEntry } from './entries.ts'

export type KeptPlugin = Selectable<KeptPluginTable>

/** Whose workers are told apart: a version, and of which package. */
export interface PluginVersion {
  version: string
  package: string
}

export interface Switched {
  before: string
  after: string
  /** Digest of what the lock had of the plugin at that time. Absent: nothing, or nobody has looked. */
  locked?: string
}

/** What a provider was started with. */
export interface StartedVersion {
  version: string
  /** As {@link Switched.locked}, now. */
  locked?: string
}

/** A provider that was started with the version from before its switch. */
export interface WentBack extends Pick<Switched, 'before' | 'after'> {
  provider: string
}

export interface Upgrades {
  /**
   * Asks a process that has not taken over for every live worker of its provider. One that neither it nor the process that runs knows is
   * gone, and nobody's to account for. Errors: ProviderError.
   */
  account(provider: string, candidate: Accountable): Promise<Account>
  /** Has it workers that were launched and have not ended? */
  hasLive(provider: string): boolean
  /** Durable first; then `commit` in the same turn. Errors: StoreError and EngineError, and nothing has changed. */
  switch(how: Switch): Promise<void>
  /** At a start, with the versions of plugins by provider: those that went back from what they had switched to. Errors: StoreError. */
  wentBack(started: ReadonlyMap<string, StartedVersion>): Promise<WentBack[]>
  /** An operator has seen that a plugin fell back. Resolves with the pools that showed it. Errors: EngineError `not-found`, StoreError. */
  acknowledge(alias: string, how: { principal: string }): Promise<string[]>
  /** Notes that it was tried. Errors: StoreError. */
  refuse(how: Refused): Promise<void>
}

export interface Accountable {
  ask: Pick<GuardedProvider, 'list' | 'inspect'>
  /** Versions of handles that it reads. */
  handles: readonly number[]
}

export interface Account {
  /** Ids of the live workers that it accounts for. */
  known: string[]
  lost: LostWorker[]
}

export interface LostWorker {
  worker: string
  why: string
  /** The version that is kept for it; absent: it belongs to the one that runs. */
  kept?: string
}

interface Versions {
  principal: string
  alias: string
  before: string
  after: string
  /** Names of the providers that use the alias. */
  providers: readonly string[]
}

export interface Switch extends Versions {
  /** Ids of the workers that were accounted for, by provider. */
  known: Readonly<Record<string, readonly string[]>>
  /** Providers of which the version before stays for all other workers. */
  keep?: { providers: readonly string[]; tree: string; content: string }
  /** It is the way back from a version that cannot start, as this provider shows; its pools say so until somebody has seen it. */
  fallBack?: { provider: string; tree: string; beforeTree: string; reason: string }
  /** Digest of what the lock has of the plugin, which is written after the switch. Absent: nobody has looked. */
  locked?: string
  /** Of the version that takes over. Absent: the same as that of the one which runs. */
  package?: string
  /** How providers are configured from then on, for the daemons to come. Absent: as before. */
  entries?: readonly ProviderEntry[]
  /** Lets the processes take over. */
  commit(): void
}

export interface Refused extends Versions {
  reason: string
  /** Ids of workers. */
  lost: readonly string[]
}
