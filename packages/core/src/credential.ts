/** The contract of a credential provider: where grants come from, and how they end with their worker. */
import type { Call, Handle, Probe } from './provider.ts'
import type { Instant, SecretText, WorkerId } from './spec.ts'

/** What all grants of one worker hang on. */
export interface ScopeRequest {
  id: string
  workerId: WorkerId
  tenant: string
  maxLifeSeconds: number
}

export interface ScopeRef {
  id: string
  handle: Handle
  /** The scope's own secret, sealed by the broker between calls. */
  key?: SecretText
}

export interface GrantRequest {
  /** Name of the credential in the pool's list. */
  name: string
  /** The provider's own part: a role, a path, an audience. */
  settings?: unknown
  ttlSeconds: number
}

export interface Grant {
  id: string
  value: Record<string, SecretText>
  expiresAt: Instant
  /** The latest instant that renewal can reach. */
  hardMaximum: Instant
}

export type ScopeClosed = { state: 'closed' } | { state: 'expires'; at: Instant }

export interface ScopePage {
  scopes: { id: string; handle: Handle; expiresAt?: Instant }[]
  next?: string
  asOf: Instant
}

/** Stages of one rotation, in order; each is idempotent. `rollback` undoes all but `finish`. */
export type RotateStage = 'create' | 'set' | 'test' | 'finish' | 'rollback'

export interface CredentialProvider {
  /** Checks reachability and rights, changes nothing. */
  probe(call: Call): Promise<Probe>
  /** Opens what the grants of one worker will hang on. The handle is never secret; the key is sealed by the caller. */
  openScope(scope: ScopeRequest, call: Call): Promise<{ handle: Handle; key?: SecretText }>
  issue(scope: ScopeRef, request: GrantRequest, call: Call): Promise<Grant>
  renew?(scope: ScopeRef, grant: { id: string; ttlSeconds: number }, call: Call): Promise<Grant>
  revoke?(scope: ScopeRef, grant: { id: string }, call: Call): Promise<void>
  /** Ends every grant of the scope. What cannot be revoked is said, not hidden. Idempotent; unknown is closed. */
  closeScope(scope: ScopeRef, call: Call): Promise<ScopeClosed>
  listScopes?(query: { owner: string; limit: number; cursor?: string }, call: Call): Promise<ScopePage>
  read?(secret: { path: string; version?: string }, call: Call): Promise<{ value: Record<string, SecretText>; version: string }>
  write?(secret: { path: string; value: Record<string, SecretText> }, call: Call): Promise<{ version: string }>
  versions?(secret: { path: string }, call: Call): Promise<{ version: string; at?: Instant }[]>
  restore?(secret: { path: string; version: string }, call: Call): Promise<{ version: string }>
  rotate?(secret: { path: string; stage: RotateStage; token: string }, call: Call): Promise<void>
}

export interface CredentialCapabilities {
  revocation: 'now' | 'expiry' | 'none'
  renewal: 'extend' | 'replace' | 'none'
  orphans: 'list' | 'expiry'
  versions: boolean
  dynamic: boolean
  rotate: boolean
}
