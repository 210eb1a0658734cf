/**
 * Kill points: named places where a test lets the daemon kill itself, to prove that nothing is lost or doubled whatever the moment.
 * `MUSTER_KILL_AT=name` or `name:n` ends the process with SIGKILL at the first or nth passing of that point.
 */
export const killPoints = [
  // Launch: the record is durable, the call is not made · made · done but its answer not read · read but not stored · stored.
  'intent-written',
  'call-sent',
  'effect-done-answer-unread',
  'answer-read-not-stored',
  'launched-stored',
  // Leases.
  'lease-assigned',
  'lease-active',
  'lease-released',
  // The end of a worker.
  'exit-seen-not-stored',
  'log-end-not-stored',
  'terminate-intent',
  'terminate-sent',
  'terminate-accepted',
  'gone-not-closed',
  // Workers without a record.
  'orphan-found',
  'orphan-removing',
  // Runs.
  'run-created',
  'run-exec-sent',
  'run-output-not-stored',
  'run-exit-not-stored',
  'run-collecting',
  'run-ended',
] as const

/** Of an upgrade of a plugin: it is read and its bytes are compared · started beside · accounts for all · the switch is durable · made. */
export const upgradePoints = [
  'upgrade-verified',
  'upgrade-started',
  'upgrade-accounted',
  'upgrade-stored',
  'upgrade-switched',
] as const

export type KillPoint = (typeof killPoints)[number] | (typeof upgradePoints)[number]

/** Passes a point; does nothing unless it is the chosen one. */
export type PassKillPoint = (name: KillPoint) => void

/** Reads `name` or `name:n`; a name that does not exist is an error, so that no test passes by a misspelling. */
export function killPointAt(text: string | undefined, kill: () => void): PassKillPoint {
  if (text === undefined || text === '') return () => {}
  const [name = '', count = '1'] = text.split(':')
  if (![...killPoints, ...upgradePoints].some((point) => point === name) || !/^[1-9]\d*$/.test(count))
    throw new Error(`no kill point ${text}: name or name:n, with a name of ${killPoints.join(', ')}`)
  let left = Number(count)
  return (passed) => {
    if (passed !== name) return
    left -= 1
    if (left === 0) kill()
  }
}

export const killpoint: PassKillPoint = killPointAt(process.env['MUSTER_KILL_AT'], () => process.kill(process.pid, 'SIGKILL'))
