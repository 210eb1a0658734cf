/** What a restore does about tokens: those that were revoked since the backup stay so, as far as anybody knows of it. */
import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'

export interface RestoredTokens {
  /** Revoked since the backup, as the store said that is replaced; absent: there was none, or it could not be read. */
  revoked?: number
  /** Good now, newest first. */
  live: { id: string; name: string; role: string }[]
}

/** Takes the revocations of `former`, the store that is replaced, over into `db`. */
export function settleTokens(db: DatabaseSync, { former, at }: { former: string; at: number }): RestoredTokens {
  const known = revocations(former)
  let revoked = 0
  const revoke = db.prepare('update tokens set revoked_at = ? where id = ? and revoked_at is null')
  for (const { id, revokedAt } of known ?? []) revoked += Number(revoke.run(revokedAt, id).changes)
  const live = db
    .prepare(
      'select id, name, role from tokens where revoked_at is null and (expires_at is null or expires_at > ?) order by id desc',
    )
    .all(at)
    .map(({ id, name, role }) => ({ id: String(id), name: String(name), role: String(role) }))
  return { ...(known === undefined ? {} : { revoked }), live }
}

/** A store that is damaged is often why there is a restore. */
function revocations(path: string): { id: string; revokedAt: number }[] | undefined {
  if (!existsSync(path)) return undefined
  try {
    using db = new DatabaseSync(path, { readOnly: true })
    return db
      .prepare('select id, revoked_at from tokens where revoked_at is not null')
      .all()
      .map(({ id, revoked_at: revokedAt }) => ({ id: String(id), revokedAt: Number(revokedAt) }))
  } catch {
    return undefined
  }
}
