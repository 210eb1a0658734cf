/** Lets a daemon go by pools that change: all at once where it takes them, else each that it takes. {@link createKeeper} */
import { isMusterError, type MusterClient } from '@muster/client'
import type { PoolEntry } from '../objects.ts'
import type { Base, PoolsFile } from './file.ts'

export interface Settled {
  /** What the daemon goes by. */
  inForce: ReadonlyMap<string, PoolEntry>
  /** Its words about those that it does not take. */
  refused: ReadonlyMap<string, string>
}

export interface Keeper {
  readonly inForce: ReadonlyMap<string, PoolEntry>
  /** Errors: of the file, and of a daemon that does not answer; then the file is as it was. One call at a time. */
  settle(base: Base, wanted: ReadonlyMap<string, PoolEntry>): Promise<Settled>
}

/** What refused an entry may have been mended elsewhere: a plugin, a provider's capabilities. */
const AGAIN_MS = 300_000

interface Refused {
  entry: string
  message: string
  at: number
}

export interface KeeperOptions {
  client: Pick<MusterClient, 'apply'>
  file: PoolsFile
  /** Milliseconds of a clock that never goes back. */
  clock?: () => number
}

/** The file is the memory: what is in it when the process starts is what the daemon went by. */
export async function createKeeper({ client, file, clock = () => performance.now() }: KeeperOptions): Promise<Keeper> {
  let text = await file.begin()
  const first = await file.base()
  let inForce: ReadonlyMap<string, PoolEntry> = file.poolsIn(text, first)
  const refused = new Map<string, Refused>()
  let baseText = first.text
  let baseRefused: { text: string; message: string; at: number } | undefined
  /** The daemon may have been started with another file. */
  let confirmed = false

  return {
    get inForce() {
      return inForce
    },
    async settle(base, wanted) {
      if (base.text !== baseText) refused.clear()
      baseText = base.text
      for (const [name, { entry, at }] of refused)
        if (entry !== JSON.stringify(wanted.get(name)) || clock() - at > AGAIN_MS) refused.delete(name)
      if (baseRefused !== undefined && baseRefused.text === base.text && clock() - baseRefused.at <= AGAIN_MS)
        return { inForce, refused: allOf(wanted, baseRefused.message) }
      baseRefused = undefined
      const message = await take(base, asFarAsTaken(wanted))
      if (message === undefined) return settled()
      const again = await take(base, inForce)
      if (again !== undefined) {
        baseRefused = { text: base.text, message: again, at: clock() }
        return { inForce, refused: allOf(wanted, again) }
      }
      await oneByOne(base, wanted)
      return settled()
    },
  }

  function settled(): Settled {
    return { inForce, refused: new Map([...refused].map(([name, { message }]) => [name, message])) }
  }

  /** Those that are refused as they are now stay as they were. */
  function asFarAsTaken(wanted: ReadonlyMap<string, PoolEntry>): Map<string, PoolEntry> {
    const next = new Map(wanted)
    for (const name of refused.keys()) {
      const was = inForce.get(name)
      if (was === undefined) next.delete(name)
      else next.set(name, was)
    }
    return next
  }

  async function oneByOne(base: Base, wanted: ReadonlyMap<string, PoolEntry>): Promise<void> {
    for (const name of [...inForce.keys()].filter((one) => !wanted.has(one))) {
      const next = new Map(inForce)
      next.delete(name)
      await take(base, next)
    }
    for (const [name, value] of asFarAsTaken(wanted)) {
      const entry = JSON.stringify(value)
      if (entry === JSON.stringify(inForce.get(name))) continue
      const message = await take(base, new Map(inForce).set(name, value))
      if (message !== undefined) refused.set(name, { entry, message, at: clock() })
    }
  }

  /** Undefined when the daemon goes by it now, else why it does not. */
  async function take(base: Base, pools: ReadonlyMap<string, PoolEntry>): Promise<string | undefined> {
    const next = file.compose(base, pools)
    if (next === text && confirmed) return undefined
    await file.tryOut(next)
    try {
      await client.apply()
    } catch (error) {
      await file.recover()
      if (isMusterError(error) && error.code === 'config-refused') return wordsOf(error.problem, error.message)
      throw error
    }
    await file.keep()
    text = next
    inForce = new Map(pools)
    confirmed = true
    return undefined
  }
}

/** Without places in a file that its reader does not see. */
function wordsOf(problem: { errors?: { message: string }[] } | undefined, otherwise: string): string {
  const errors = problem?.errors ?? []
  return errors.length === 0 ? otherwise : errors.map(({ message }) => message).join('; ')
}

function allOf(wanted: ReadonlyMap<string, unknown>, message: string): Map<string, string> {
  return new Map([...wanted.keys()].map((name) => [name, `the base configuration: ${message}`]))
}
