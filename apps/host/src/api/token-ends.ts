/** When a token becomes worthless while its holder is being answered: what lasts ends with it. */

/** A token, and how long it is good. */
export interface TokenTerm {
  id: string
  expiresAt?: number
}

export interface TokenEnds {
  /** Is it worthless by now? Asks no store: for a request that was let in a moment ago. */
  isOver(token: TokenTerm): boolean
  /** Calls `end` once when it is worthless; at once when it is that already. Returns what to call when nobody waits any more. */
  follow(token: TokenTerm, end: () => void): () => void
  /** To be called once the revocation is stored. */
  revoked(id: string): void
}

/** Node's longest timer; a token may last for years. */
const LONGEST_MS = 2 ** 31 - 1
/** They are known for requests that were let in before, and those last a minute; nobody revokes so many in one. */
const MOST_REVOKED = 10_000

export function tokenEnds(now: () => number): TokenEnds {
  const revoked = new Set<string>()
  const followers = new Map<string, Set<() => void>>()

  function isOver({ id, expiresAt = Infinity }: TokenTerm): boolean {
    return revoked.has(id) || expiresAt <= now()
  }

  return {
    isOver,
    follow(token, end) {
      const { id, expiresAt } = token
      let timer: NodeJS.Timeout | undefined
      const those = followers.get(id) ?? new Set()
      const leave = (): void => {
        clearTimeout(timer)
        those.delete(over)
        if (those.size === 0 && followers.get(id) === those) followers.delete(id)
      }
      const over = (): void => {
        leave()
        end()
      }
      const look = (): void => {
        if (isOver(token)) return over()
        if (expiresAt !== undefined) timer = setTimeout(look, Math.min(expiresAt - now(), LONGEST_MS)).unref()
      }
      followers.set(id, those.add(over))
      look()
      return leave
    },
    revoked(id) {
      revoked.add(id)
      if (revoked.size > MOST_REVOKED) revoked.delete(revoked.values().next().value ?? '')
      for (const over of followers.get(id) ?? []) over()
    },
  }
}
