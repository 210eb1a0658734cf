/** What exists in a daemon that is fuzzed: ids its answers gave, names of its configuration, and canaries for what it must not show. */
import { createHash } from 'node:crypto'
import type { Chance } from './chance.ts'
import type { Operation, Schema } from './document.ts'

export interface Known {
  /** Takes ids from an answer, and sessions of agents with what they work on. */
  learn(text: string, bearer?: string): void
  /** A session of an agent; what is asked with it next is of its run. */
  session(): string
  /** One that is over. */
  forget(session: string): void
  of(path: string, schema: Schema): unknown
  mend(operation: Operation, body: unknown): unknown
}

/** Of a provider that fell twice. */
export const crashes: readonly string[] = ['2026-06-30T00-00-00.000Z-one', '2026-07-01T00-00-00.000Z-one']
export const CANARY = 'fuzz-canary-value'
/** Of one kind; older ones make room. */
const MOST = 40
/** Of a list only the newest. */
const FROM_ONE = 3

export function knownThings(chance: Chance, keep: ReadonlySet<string>, pools: readonly string[]): Known {
  const ids = new Map<string, string[]>()
  /** Of agents: their session and the run that they were told of. */
  const working = new Map<string, string | undefined>()
  let next: string | undefined
  /** Runs that wait for their inputs. */
  let uploading: string[] = []

  /** Drawn for the parts of a request before its head is. */
  function draw(): string {
    const all = [...working.keys()]
    const busy = all.filter((one) => working.get(one) !== undefined)
    next = all.length === 0 ? undefined : chance.pick(busy.length > 0 && chance.is(0.9) ? busy : all)
    return next ?? `mss_w${'0'.repeat(26)}_${'x'.repeat(43)}`
  }

  function id(kinds: string): string {
    const kind = chance.pick(kinds.split(''))
    const kept = ids.get(kind) ?? []
    if (kept.length === 0 || chance.is(0.1)) return `${kind}${'0'.repeat(26)}`
    // What is new is more likely to live.
    return chance.pick(chance.is(0.6) ? kept.slice(-5) : kept)
  }

  const kindsOf = (operation: string): string => {
    if (/lease/i.test(operation)) return 'l'
    if (/worker|files|forward/i.test(operation)) return 'w'
    if (/token/i.test(operation)) return 't'
    return operation === 'why' ? 'lrxw' : 'rx'
  }
  const inputs = (direction: 'in' | 'out'): { name: string; path: string }[] =>
    ['a', 'b'].slice(0, chance.int(3)).map((name) => ({ name, path: direction }))

  function of(path: string, schema: Schema): unknown {
    const [, where = '', operation = '', rest = ''] = /^(\w+):(\w+)\.?(.*)$/.exec(path) ?? []
    if (where === 'path' && operation === 'getCrash') return chance.pick([...crashes, 'x'])
    if (rest === 'before' && operation === 'listCrashes') return chance.pick(crashes)
    // Few wait for an upload or take standard input at any time: left to chance, none may ever be right.
    if (where === 'path' && /^putInput$|Stdin$/.test(operation) && uploading.length > 0 && chance.is(0.6))
      return rest === 'id' ? chance.pick(uploading) : 'a'
    if (where === 'path' && rest === 'id') return chance.is(0.05) ? undefined : id(kindsOf(operation))
    if (where === 'path' && rest === 'name')
      return chance.pick(
        /pool/i.test(operation)
          ? ['ci', 'full']
          : /provider|orphan/i.test(operation)
            ? ['one']
            : /Dev/.test(operation)
              ? ['dev-a', 'dev-b']
              : ['a', 'b', 'c'],
      )
    if (rest === 'run' && operation.startsWith('agent')) return chance.is(0.9) ? (working.get(draw()) ?? id('r')) : id('r')
    if (rest === 'timeoutMs' && where === 'query') return 1 + chance.int(3)
    if (rest === 'before') return id(/\[(\w+)\]/.exec(schema.pattern ?? '')?.[1] ?? 'r')
    if (rest === 'pool') return chance.is(0.9) ? chance.pick(pools) : undefined
    if (rest === 'lease') return id('l')
    if (rest === 'from' || rest === 'offset') return chance.pick([0, 0, 1, 100])
    if (rest === 'idempotency-key') return `key-${chance.int(60)}`
    if (rest === 'muster-sha256') return createHash('sha256').update('').digest('hex')
    if (rest === 'image' || rest === 'profile' || rest === 'os' || rest === 'arch')
      return chance.is(0.5) ? undefined : chance.pick(['x', 'linux'])
    if (rest === 'stdin') return chance.is(0.7)
    if (rest === 'inputs') return inputs('in')
    if (rest === 'outputs') return inputs('out')
    if (/^env\.[^.]+$/.test(rest)) return `${CANARY}-${chance.int(1000)}`
    if (/^files\.\d+\.base64$/.test(rest)) return Buffer.from(CANARY).toString('base64')
    return undefined
  }

  return {
    of,
    session: () => {
      const drawn = next ?? draw()
      next = undefined
      return drawn
    },
    forget: (session) => working.delete(session),
    learn: (text, bearer) => {
      const [, session] = /"session":"(mss_\w{27}_[\w-]{43})"/.exec(text) ?? []
      if (session !== undefined) working.set(session, undefined)
      const [, run] = /^\{"order":\{"run":"(r[0-9a-z]{26})"/.exec(text) ?? []
      if (run !== undefined && bearer !== undefined && working.has(bearer)) working.set(bearer, run)
      const [, waits] = /^\{"id":"(r[0-9a-z]{26})".*"state":"uploading"/s.exec(text) ?? []
      if (waits !== undefined && !keep.has(waits)) uploading = [...uploading, waits].slice(-FROM_ONE)
      for (const [, found = ''] of [...text.matchAll(/"id":"([lrxwt][0-9a-z]{26})"/g)].slice(0, FROM_ONE)) {
        const kind = found.charAt(0)
        const kept = ids.get(kind) ?? []
        if (keep.has(found) || kept.includes(found)) continue
        ids.set(kind, [...kept, found].slice(-MOST))
      }
    },
    mend: ({ id: operation }, body) => {
      if (operation !== 'createRun') return body
      const { pool, lease, ...same } = body as Record<string, unknown>
      if (chance.is(0.15)) return { ...same, lease: lease ?? id('l') }
      if (pool === 'agents' && chance.is(0.9))
        return {
          command: same['command'],
          pool,
          inputs: chance.is(0.3) ? [{ name: 'a', path: 'in' }] : [],
          outputs: [{ name: 'b', path: 'out' }],
        }
      // As most are: it stays for a while, and has what can be uploaded.
      const plain = chance.is(0.5) ? { command: ['true'], stdin: true, inputs: [{ name: 'a', path: 'in' }] } : {}
      return { ...(chance.is(0.5) ? same : {}), command: same['command'], ...plain, pool: pool ?? 'ci' }
    },
  }
}
