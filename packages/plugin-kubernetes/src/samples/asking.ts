/** Who may ask a worker for its samples, and when: no more connections than a number, and no node again and again that gives none. */
import { pause, raceAbort } from '@muster/provider-parts/waiting'
import { createBackOff } from '../api/back-off.ts'

export interface Asking {
  /** Resolves when this node may be asked by one more, with what ends that. */
  begin(node: string, signal: AbortSignal): Promise<Turn>
  /** Does somebody wait for a connection? */
  wanted(): boolean
}

/** One worker's connection, from the moment before it is opened. */
export interface Turn {
  /** Its node gives connections: those of its other workers are asked for at once. */
  answered(): void
  /** Its node gave none. */
  refused(): void
  /** The connection is no more. To be called once, whatever came of it. */
  end(): void
}

export interface AskingLimits {
  /** Connections that are open or being opened. */
  open: number
  /** Of them, those that have not answered yet. */
  tried: number
  /** Between two tries of a node that gives none: the first pause, doubled up to the last. */
  firstMs: number
  mostMs: number
  /** Of [0, 1). */
  random?: () => number
}

interface Node {
  restMs: number
  /** Somebody is to try it once it has rested: the others wait for what comes of that. */
  trying: boolean
  backOff: ReturnType<typeof createBackOff>
  changed: PromiseWithResolvers<void>
}

export function createAsking(limits: AskingLimits): Asking {
  const open = createPlaces(limits.open)
  const tried = createPlaces(limits.tried)
  /** Those that gave none when they were asked last. */
  const ill = new Map<string, Node>()

  function change(node: Node): void {
    node.changed.resolve()
    node.changed = Promise.withResolvers()
  }

  function leave(node: Node): void {
    node.trying = false
    change(node)
  }

  /** Undefined: it is well. Otherwise it is this caller's to try, and nobody else's meanwhile. */
  async function enter(name: string, signal: AbortSignal): Promise<Node | undefined> {
    for (;;) {
      const node = ill.get(name)
      if (node === undefined) return undefined
      if (node.trying) {
        await raceAbort(node.changed.promise, signal)
        continue
      }
      node.trying = true
      try {
        await pause(node.restMs, signal)
        return node
      } catch (error) {
        leave(node)
        throw error
      }
    }
  }

  function refuse(name: string, mine: Node | undefined): void {
    const node = ill.get(name)
    // It was well when this one began, and another one has been refused since: they are one refusal.
    if (node !== mine) return
    const { firstMs, mostMs, random } = limits
    const backOff = node?.backOff ?? createBackOff({ firstMs, mostMs, ...(random === undefined ? {} : { random }) })
    const next = node ?? { trying: false, restMs: 0, backOff, changed: Promise.withResolvers<void>() }
    next.restMs = backOff.next()
    ill.set(name, next)
  }

  function turn(name: string, mine: Node | undefined): Turn {
    let held = true
    let trial = true
    const tryOver = (): void => {
      if (!trial) return
      trial = false
      tried.give()
      if (mine !== undefined) leave(mine)
    }
    return {
      answered() {
        if (trial && ill.get(name) === mine) ill.delete(name)
        tryOver()
      },
      refused() {
        if (trial) refuse(name, mine)
        tryOver()
      },
      end() {
        tryOver()
        if (held) open.give()
        held = false
      },
    }
  }

  return {
    wanted: open.wanted,
    async begin(name, signal) {
      for (;;) {
        const mine = await enter(name, signal)
        try {
          await open.take(signal)
          try {
            await tried.take(signal)
          } catch (error) {
            open.give()
            throw error
          }
        } catch (error) {
          if (mine !== undefined) leave(mine)
          throw error
        }
        if (ill.get(name) === mine) return turn(name, mine)
        // It was refused to another one while this one waited for its place.
        tried.give()
        open.give()
      }
    },
  }
}

interface Places {
  take(signal: AbortSignal): Promise<void>
  give(): void
  wanted(): boolean
}

/** In the order in which they were asked for. */
function createPlaces(most: number): Places {
  const waiting = new Set<() => void>()
  let taken = 0
  function give(): void {
    const [next] = waiting
    if (next === undefined) taken -= 1
    else {
      waiting.delete(next)
      next()
    }
  }
  return {
    give,
    wanted: () => waiting.size > 0,
    async take(signal) {
      signal.throwIfAborted()
      if (taken < most) {
        taken += 1
        return
      }
      const { promise, resolve } = Promise.withResolvers<void>()
      waiting.add(resolve)
      try {
        await raceAbort(promise, signal)
      } catch (error) {
        // It may have been given in the same moment.
        if (!waiting.delete(resolve)) give()
        throw error
      }
    },
  }
}
