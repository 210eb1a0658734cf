import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { type Term, TermOver, whileElected } from './election.ts'
import type { LeaseObject, Leases } from './leases.ts'

/** A cluster of one Lease; `cut` ends the way to it for one of those who ask. */
function oneLease(): { of(who: string): Leases; cut: Set<string>; holder(): string | undefined } {
  let now: LeaseObject | undefined
  let version = 0
  const cut = new Set<string>()
  const conflict = (): Error => new Error('another version')
  const put = (before: LeaseObject | undefined, spec: LeaseObject['spec']): LeaseObject => {
    if (before?.metadata.resourceVersion !== now?.metadata.resourceVersion) throw conflict()
    now = { metadata: { name: 'l', namespace: 'n', resourceVersion: String(++version) }, spec: { ...now?.spec, ...spec } }
    return now
  }
  return {
    cut,
    holder: () => now?.spec.holderIdentity,
    of(who) {
      const reach = async (): Promise<void> => {
        if (cut.has(who)) throw new Error('away')
      }
      return {
        read: async () => reach().then(() => now),
        take: async (before, { identity }) => reach().then(() => put(before, { holderIdentity: identity })),
        renew: async (mine) => reach().then(() => put(mine, {})),
        release: async (mine) => reach().then(() => put(mine, { holderIdentity: '' })),
      }
    },
  }
}

const times = { leaseMs: 300, deadlineMs: 150, retryMs: 10 }

interface One {
  stop: AbortController
  terms: Term[]
  ended: Promise<unknown>
}

/** Notes when each works, and fails where two do at once. */
function enter(cluster: ReturnType<typeof oneLease>, working: Set<string>, name: string): One {
  const stop = new AbortController()
  const terms: Term[] = []
  const work = async (term: Term): Promise<void> => {
    expect([...working]).toEqual([])
    working.add(name)
    terms.push(term)
    await new Promise((resolve) => term.signal.addEventListener('abort', resolve, { once: true }))
    working.delete(name)
  }
  const how = { leases: cluster.of(name), identity: name, signal: stop.signal, onFailure: () => {}, times }
  const ended = whileElected(how, work).catch((error: unknown) => error)
  return { stop, terms, ended }
}

test('of two one works; who is told to end gives the lease back, and the other takes it', async () => {
  const cluster = oneLease()
  const working = new Set<string>()
  const a = enter(cluster, working, 'a')
  await waitFor('a to work', () => working.has('a'))
  const b = enter(cluster, working, 'b')
  a.stop.abort(new Error('told to'))
  expect(await a.ended).toMatchObject({ message: 'told to' })
  await waitFor('b to work', () => working.has('b'))
  expect([cluster.holder(), a.terms.length, b.terms.length]).toEqual(['b', 1, 1])
  b.stop.abort()
  await b.ended
  expect(cluster.holder()).toBe('')
})

test('one that cannot renew stops before the other begins, and may come again', async () => {
  const cluster = oneLease()
  const working = new Set<string>()
  const a = enter(cluster, working, 'a')
  await waitFor('a to work', () => working.has('a'))
  const b = enter(cluster, working, 'b')
  cluster.cut.add('a')
  expect(await a.ended).toBeInstanceOf(TermOver)
  expect(() => a.terms[0]?.check()).toThrow(TermOver)
  await waitFor('b to work', () => working.has('b'))
  cluster.cut.delete('a')
  const again = enter(cluster, working, 'a')
  cluster.cut.add('b')
  expect(await b.ended).toBeInstanceOf(TermOver)
  await waitFor('a to work again', () => working.has('a'))
  again.stop.abort()
  await again.ended
})

test('one that was frozen for longer than its term changes nothing when it wakes', async () => {
  const cluster = oneLease()
  let at = 0
  const stop = new AbortController()
  let term: Term | undefined
  const work = async (mine: Term): Promise<void> => {
    term = mine
    await new Promise((resolve) => mine.signal.addEventListener('abort', resolve, { once: true }))
  }
  const how = { leases: cluster.of('a'), identity: 'a', signal: stop.signal, onFailure: () => {}, clock: () => at }
  const ended = whileElected(how, work).catch((error: unknown) => error)
  await waitFor('it to work', () => term)
  expect(() => term?.check()).not.toThrow()
  at = 10_000
  expect(() => term?.check()).toThrow(TermOver)
  expect(await ended).toBeInstanceOf(TermOver)
  expect(cluster.holder()).toBe('a')
})

test('a lease that somebody else has taken ends the term, and is left alone', async () => {
  const cluster = oneLease()
  const a = enter(cluster, new Set(), 'a')
  await waitFor('a to work', () => a.terms.length === 1)
  const other = cluster.of('b')
  await other.take(await other.read(a.stop.signal), { identity: 'b', seconds: 1 }, a.stop.signal)
  expect(await a.ended).toBeInstanceOf(TermOver)
  expect(cluster.holder()).toBe('b')
})
