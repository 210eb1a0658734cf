/**
 * Bearer tokens: `mst_`, the token's id, `_`, 256 random bits. The store has the SHA-256 of the whole; the text exists once, in the answer
 * that made it. A plain hash is enough, since nobody can guess 256 bits.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Also } from '../engine/api.ts'
import { newId } from '../store/ids.ts'
import { syncDirectory } from '../store/seal.ts'
import type { Store, Tx } from '../store/store.ts'
import { ApiProblem } from './problems.ts'
import { type TokenEnds, tokenEnds, type TokenTerm } from './token-ends.ts'

export const roles = ['viewer', 'operator', 'admin'] as const
/** viewer: reads · operator: works with runs, leases and workers too · admin: tokens too */
export type Role = (typeof roles)[number]

export interface Principal {
  /** As in records and the journal: `local`, or `token:` and its name. */
  name: string
  role: Role
  /** Absent: none was needed. */
  token?: TokenTerm
}

export interface TokenView {
  id: string
  name: string
  role: Role
  createdAt: number
  expiresAt?: number
  lastUsedAt?: number
}

export interface NewToken {
  id: string
  /** From {@link tokenText}. */
  text: string
  name: string
  role: Role
  ttlMs?: number
}

export interface CreateOptions {
  /** Writes in the same transaction. */
  also?: Also<TokenView> | undefined
}

export interface Tokens {
  /** Who this is; undefined for anything but a valid token. Takes as long for a wrong one as for a right one of the same id. */
  verify(text: string): Promise<Principal | undefined>
  /** Throws `conflict` while another of its name is good. */
  create(request: NewToken, options?: CreateOptions): Promise<TokenView>
  /** Why the token of this id is worthless; undefined: it is good. */
  worthless(id: string): Promise<string | undefined>
  /** Newest first. */
  list(page?: { limit?: number; before?: string }): Promise<TokenView[]>
  /** False when there is no live token of this id. `also` writes in the same transaction when there is. */
  revoke(id: string, options?: { also?: Also<string> }): Promise<boolean>
  /** Of those that {@link verify} let in, and that {@link revoke} ended since, or their time. */
  readonly ends: TokenEnds
}

/** As of the other lists. */
const PAGE = 100
const FORM = /^mst_(t[0-9a-z]{26})_[A-Za-z0-9_-]{43}$/
/** `last used` is for finding forgotten tokens: a minute is fine enough, and costs no write per request. */
const USED_EVERY_MS = 60_000

/** `onRevoked`: told of each, once it is worthless. */
export function tokens(store: Store, now: () => number = Date.now, onRevoked: (id: string) => void = () => undefined): Tokens {
  const ends = tokenEnds(now)
  return {
    ends,
    async verify(text) {
      const id = FORM.exec(text)?.[1]
      if (id === undefined) return undefined
      const row = await store.read.selectFrom('tokens').selectAll().where('id', '=', id).executeTakeFirst()
      const own = digest(text)
      const right = timingSafeEqual(own, Buffer.from(row?.hash ?? '0'.repeat(64), 'hex'))
      const at = now()
      if (row === undefined || !right || row.revoked_at !== null || (row.expires_at ?? at + 1) <= at) return undefined
      if (at - (row.last_used_at ?? 0) > USED_EVERY_MS) noteUse(store, id, at)
      const token = { id, ...(row.expires_at === null ? {} : { expiresAt: row.expires_at }) }
      return { name: `token:${row.name}`, role: row.role as Role, token }
    },
    async create({ id, text, name, role, ttlMs }, { also } = {}) {
      const at = now()
      const expires = ttlMs === undefined ? null : at + ttlMs
      const view: TokenView = { id, name, role, createdAt: at, ...(expires === null ? {} : { expiresAt: expires }) }
      await store.write(async (tx, after) => {
        await also?.(tx, after, view)
        // Records, limits and keys know a token by its name: two of one name would pass for one another.
        const same = await tx
          .selectFrom('tokens')
          .select('id')
          .where('name', '=', name)
          .where('revoked_at', 'is', null)
          .where((either) => either.or([either('expires_at', 'is', null), either('expires_at', '>', at)]))
          .executeTakeFirst()
        if (same !== undefined)
          throw new ApiProblem('conflict', `there is a token of the name ${name} already`, {
            hint: `Take another name, or revoke that one first: muster tokens revoke ${same.id}`,
          })
        await insert(tx, { id, name, role, text, at, expires })
      })
      return view
    },
    async worthless(id) {
      const row = await store.read.selectFrom('tokens').selectAll().where('id', '=', id).executeTakeFirst()
      if (row === undefined || row.revoked_at !== null) return 'it was revoked'
      return row.expires_at !== null && row.expires_at <= now() ? 'it has expired' : undefined
    },
    async list({ limit = PAGE, before } = {}) {
      let query = store.read.selectFrom('tokens').selectAll().where('revoked_at', 'is', null)
      if (before !== undefined) query = query.where('id', '<', before)
      const rows = await query.orderBy('id', 'desc').limit(limit).execute()
      return rows.map((row) => ({
        id: row.id,
        name: row.name,
        role: row.role as Role,
        createdAt: row.created_at,
        ...(row.expires_at === null ? {} : { expiresAt: row.expires_at }),
        ...(row.last_used_at === null ? {} : { lastUsedAt: row.last_used_at }),
      }))
    },
    async revoke(id, { also } = {}) {
      return store.write(async (tx, after) => {
        const result = await tx
          .updateTable('tokens')
          .set({ revoked_at: now() })
          .where('id', '=', id)
          .where('revoked_at', 'is', null)
          .executeTakeFirst()
        const revoked = result.numUpdatedRows > 0n
        if (revoked) {
          await also?.(tx, after, id)
          after(() => {
            ends.revoked(id)
            onRevoked(id)
          })
        }
        return revoked
      })
    },
  }
}

/** The file with the first token, beside the socket: 0600, for whoever may read the data folder. */
export function adminTokenPath(dataDir: string): string {
  return join(dataDir, 'admin.token')
}

/**
 * Makes sure that the token in `admin.token` is valid: a new one at the first start, the file's own when the store is new. A file that
 * was removed by hand stays away as long as its token is in the store: whoever removed it wanted that.
 */
export async function ensureAdminToken(store: Store, dataDir: string, now: () => number = Date.now): Promise<void> {
  const first = await store.read.selectFrom('tokens').select('id').where('role', '=', 'admin').limit(1).executeTakeFirst()
  const path = adminTokenPath(dataDir)
  if (first !== undefined) {
    const found = idOf(readToken(path))
    const row = await store.read.selectFrom('tokens').select('revoked_at').where('id', '=', found).executeTakeFirst()
    // Revoked by a daemon that ended before the file went.
    if (row !== undefined && row.revoked_at !== null) dropAdminToken(dataDir, found)
    return
  }
  // The file first: killed between the two, the next start takes the token from it.
  const kept = readToken(path)
  const text = kept ?? tokenText(newId('t'), randomBytes(32))
  if (kept === undefined) writeToken(path, text)
  const token: TokenRow = { id: idOf(text), name: 'admin', role: 'admin', text, at: now(), expires: null }
  await store.write((tx) => insert(tx, token))
}

/** The file goes when its token is worthless: what stands there would only be tried. Another token's is left. */
export function dropAdminToken(dataDir: string, id: string): void {
  const path = adminTokenPath(dataDir)
  try {
    if (id !== '' && idOf(readToken(path)) === id) rmSync(path, { force: true })
  } catch {
    // It stays, and is worthless.
  }
}

function idOf(text = ''): string {
  return FORM.exec(text)?.[1] ?? ''
}

interface TokenRow {
  id: string
  name: string
  role: Role
  text: string
  at: number
  expires: number | null
}

async function insert(tx: Tx, token: TokenRow): Promise<void> {
  await tx
    .insertInto('tokens')
    .values({
      id: token.id,
      name: token.name,
      role: token.role,
      hash: digest(token.text).toString('hex'),
      created_at: token.at,
      expires_at: token.expires,
      revoked_at: null,
      last_used_at: null,
    })
    .execute()
}

/** The text of a token with 32 secret bytes. */
export function tokenText(id: string, secret: Buffer): string {
  return `mst_${id}_${secret.toString('base64url')}`
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

/** Not worth failing or delaying a request for. */
function noteUse(store: Store, id: string, at: number): void {
  store.write((tx) => tx.updateTable('tokens').set({ last_used_at: at }).where('id', '=', id).execute()).catch(() => undefined)
}

function readToken(path: string): string | undefined {
  try {
    const text = readFileSync(path, 'utf8').trim()
    return FORM.test(text) ? text : undefined
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function writeToken(path: string, text: string): void {
  const part = `${path}.part`
  const file = openSync(part, 'w', 0o600)
  try {
    writeSync(file, `${text}\n`)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(part, path)
  syncDirectory(dirname(path))
}
