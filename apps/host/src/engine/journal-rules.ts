/** Every rule that decides, and what its rows in the journal, which are the events, tell. The reference is made of it. */
import type { ProviderErrorCode } from '@muster/core'

export type RuleSubject = 'lease' | 'worker' | 'run' | 'orphan' | 'pool' | 'provider' | 'host'

export interface RuleKind {
  of: RuleSubject
  /** What was decided, and because of what. */
  meaning: string
}

/** One for each code of the error table; the reference shows each family as one. */
type OfCodes = `launch-${ProviderErrorCode}` | `late-${ProviderErrorCode}`

const rules = {
  'lease-queued': { of: 'lease', meaning: 'A lease was asked for and taken.' },
  'unknown-pool': { of: 'lease', meaning: 'It was refused: there is no such pool.' },
  'cannot-be-served': { of: 'lease', meaning: 'It was refused: no worker of the pool can ever be what was asked.' },
  'assign-idle': { of: 'lease', meaning: 'It gets an idle worker of its shape.' },
  'wait-for-room': { of: 'lease', meaning: 'It waits: the pool is at its maximum.' },
  'wait-for-provider': { of: 'lease', meaning: 'It waits: no provider of the pool takes a launch now, and why each does not.' },
  'pool-paused': { of: 'lease', meaning: 'It waits: an operator has paused the pool.' },
  'lease-active': { of: 'lease', meaning: 'Its worker is ready and its own.' },
  'lease-renewed': { of: 'lease', meaning: 'It was renewed by somebody else than its holder, or for another time than before.' },
  'lease-released': { of: 'lease', meaning: 'Its holder, or the run that it was for, gave it back.' },
  'lease-cancelled': { of: 'lease', meaning: 'It was given back because what it was for is no longer wanted.' },
  'lease-expired': { of: 'lease', meaning: 'It was not renewed in time; its worker ends.' },
  'lease-failed': { of: 'lease', meaning: 'It was given back as failed.' },
  'queue-timeout': { of: 'lease', meaning: 'It had no worker within its longest wait, and fails.' },
  'no-placement-left': { of: 'lease', meaning: 'No provider that is left in its pool can ever serve it; it fails.' },

  'launch-for-lease': { of: 'worker', meaning: 'It is launched for a lease, and which providers were passed over.' },
  'launch-warm': { of: 'worker', meaning: 'It is launched for the stock of its pool.' },
  'launch-retry': { of: 'worker', meaning: 'A launch failed and is asked for again, by the same id, after a pause.' },
  'launch-taken-back': {
    of: 'worker',
    meaning:
      'It was not launched: before the call its pool was paused, its provider disabled, or its provider was away and another one ready.',
  },
  'launch-undo': { of: 'worker', meaning: 'It is terminated because a launch that was given up may have made it.' },
  'start-deadline': { of: 'worker', meaning: 'It was not ready in time, and is given up.' },
  'lost-before-ready': { of: 'worker', meaning: 'It vanished before it was ready.' },
  'exit-before-ready': { of: 'worker', meaning: 'It ended before it was ready.' },
  'worker-launched': { of: 'worker', meaning: 'Its provider has it, durably.' },
  'agent-ready': { of: 'worker', meaning: 'Its agent has exchanged its ticket for a session.' },
  'agent-silent': { of: 'worker', meaning: 'Its agent was not heard of for too long; it is ended, and its lease with it.' },
  'ticket-replayed': { of: 'worker', meaning: 'Its ticket, which was used before, was shown again, and refused.' },
  'worker-idle': { of: 'worker', meaning: 'It is ready and waits for a lease.' },
  'worker-taken': {
    of: 'worker',
    meaning: 'It still runs for a lease, and somebody else ends it, and why: as a drained node does.',
  },
  'worker-exited': { of: 'worker', meaning: 'It ended without our doing while it was leased.' },
  'exit-ends-lease': { of: 'worker', meaning: 'Its lease ends and it is terminated, since it ended without our doing.' },
  'worker-lost': { of: 'worker', meaning: 'It is gone without our doing, by which evidence; its lease ends.' },
  'worker-lifetime': { of: 'worker', meaning: 'It reached its lifetime; its lease ends.' },
  'worker-rotation': { of: 'worker', meaning: 'It is idle and near its lifetime, and ends before anybody is handed it.' },
  'idle-surplus': { of: 'worker', meaning: 'It is idle, and its pool keeps fewer for so long.' },
  'make-room': { of: 'worker', meaning: 'It is idle, and ends so that a lease of another shape gets a worker.' },
  'idle-unfit': { of: 'worker', meaning: 'It was idle and ended without our doing, or is no longer ready.' },
  'placement-removed': { of: 'worker', meaning: 'It was idle at a provider that its pool no longer names.' },
  'lease-over': { of: 'worker', meaning: 'It is terminated since its lease is over.' },
  'drain-for-log': { of: 'worker', meaning: 'It is kept until the log of its run is stored.' },
  'log-confirmed': { of: 'worker', meaning: 'The log of its run is stored; it is terminated.' },
  'log-hold-over': { of: 'worker', meaning: 'It was kept for a log that nobody took in time.' },
  'keep-failed': { of: 'worker', meaning: 'Its run failed, and it is kept for a look.' },
  'keep-over': { of: 'worker', meaning: 'The time for which it was kept is over, or it ended without our doing.' },
  'operator-terminate': { of: 'worker', meaning: 'An operator ended it.' },
  'terminate-retry': { of: 'worker', meaning: 'Its end failed and is asked for again after a pause.' },
  'terminate-force': { of: 'worker', meaning: 'It did not go in its grace and well beyond, and is killed.' },
  'worker-gone': { of: 'worker', meaning: 'It is confirmed gone; the record is closed.' },
  'worker-refused': { of: 'worker', meaning: 'Its provider refused it, and nothing of it exists; the record is closed.' },
  'worker-never-made': { of: 'worker', meaning: 'No launch was sent; the record is closed.' },
  'worker-forgotten': { of: 'worker', meaning: 'An administrator closed its record without knowing it gone.' },
  'restored-unused': {
    of: 'worker',
    meaning: 'It waited for a lease when the backup was taken, and may have had one since: it is terminated.',
  },
  'worker-cordon': { of: 'worker', meaning: 'An operator took it out of hand-outs.' },
  'worker-uncordon': { of: 'worker', meaning: 'An operator lets it be handed out again.' },
  'worker-reached': { of: 'worker', meaning: 'Somebody copied into or out of it, forwards to it, or sat at a terminal in it.' },

  'run-created': { of: 'run', meaning: 'It was taken in.' },
  'restored-unbegun': {
    of: 'run',
    meaning: 'It had no worker when the backup was taken, and may have begun since: it is not begun, and ends as unknown.',
  },
  'exec-retry': {
    of: 'run',
    meaning: 'Its command could not be started in its worker, why, and is asked for again; told once for each reason.',
  },
  'output-retry': {
    of: 'run',
    meaning: 'An output of it could not be stored, why, and is taken out of its worker again; told once for each.',
  },
  'run-cancelled': { of: 'run', meaning: 'It was asked to end, by whom, and why.' },
  'run-ended': { of: 'run', meaning: 'It ended, with its outcome and exit.' },

  'orphan-quarantined': {
    of: 'orphan',
    meaning: 'A worker with our tag and without a record was found; it is left alone for `host.orphanGrace`.',
  },
  'orphan-removed': { of: 'orphan', meaning: 'Its grace is over; it is terminated.' },
  'orphan-gone': { of: 'orphan', meaning: 'It is gone.' },
  'orphans-reclaimed': { of: 'orphan', meaning: 'An administrator lets those of a provider be removed, however many.' },

  'pool-pause': { of: 'pool', meaning: 'An operator paused it.' },
  'pool-drain': { of: 'pool', meaning: 'An operator drains it.' },
  'pool-resume': { of: 'pool', meaning: 'An operator ended the pause or the drain.' },

  'pool-unprepared': { of: 'pool', meaning: 'What a provider had prepared for it is needed no longer, and removed.' },

  'provider-disable': { of: 'provider', meaning: 'An operator lets it take no launch.' },
  'provider-given-up': {
    of: 'provider',
    meaning: 'An administrator lets go of one that the configuration names no longer, whatever it still has at its vendor.',
  },
  'provider-enable': { of: 'provider', meaning: 'An operator lets it take launches again.' },

  'plugin-upgraded': {
    of: 'provider',
    meaning: 'Another version of its plugin took over, from which, by whom, for how many workers.',
  },
  'plugin-refused': {
    of: 'provider',
    meaning: 'Another version of its plugin could not take over, and why; the one before goes on.',
  },

  'plugin-went-back': {
    of: 'provider',
    meaning: 'It was started with the version of its plugin from before the last switch, as the lock is from before it too.',
  },
  'plugin-fell-back': {
    of: 'provider',
    meaning: 'The version of its plugin could not start, why, and the one before in the lock took over by itself.',
  },
  'plugin-kept': {
    of: 'provider',
    meaning: 'The version of its plugin before goes on beside the one that took over, for which workers.',
  },
  'plugin-let-go': { of: 'provider', meaning: 'A version that was kept ends: no worker is left that needs it.' },

  'condition-raised': {
    of: 'host',
    meaning: 'A condition of the host, a provider or a pool began: see [conditions.md](conditions.md).',
  },
  'condition-cleared': { of: 'host', meaning: 'It is over.' },
  'fall-back-seen': { of: 'host', meaning: 'An operator has seen that a plugin fell back, and the condition of its pools ends.' },
  'config-applied': { of: 'host', meaning: 'Another configuration is in force, by whom, and what differs.' },
  'backup-taken': { of: 'host', meaning: 'A backup was taken, by whom.' },
  'store-restored': { of: 'host', meaning: 'The store was put back from a backup.' },
  'token-made': { of: 'host', meaning: 'A token was made, by whom; never the token itself.' },
  'token-revoked': { of: 'host', meaning: 'A token was revoked, by whom.' },
} as const

export const journalRules: Readonly<Record<keyof typeof rules, RuleKind>> = rules

/** The families, as the reference shows them. */
export const ruleFamilies: readonly [pattern: string, kind: RuleKind][] = [
  [
    'launch-CODE',
    {
      of: 'worker',
      meaning: 'Its launch failed with this code of [errors.md](errors.md) and is given up; where the lease goes.',
    },
  ],
  ['late-CODE', { of: 'worker', meaning: 'Its provider took it, and said later that it cannot be, with this code.' }],
]

export type JournalRule = keyof typeof rules | OfCodes
