/**
 * A host without any defence: it speaks the protocol, and takes its plugin's word for everything. What becomes of it is the harm that the
 * host of this repository is kept from.
 */
import { execFileSync } from 'node:child_process'
import type { Duplex } from 'node:stream'

export interface PlainHost {
  /** Waits as long as it takes. */
  ask(method: string, params: object): Promise<unknown>
  /** What ended it: an error where nobody catches one, or what it did because it was told to. */
  readonly fell: Promise<string>
  /** Messages that it took. */
  taken(): number
  /** Bytes of the frame that it waits for. */
  awaited(): number
}

interface Message {
  id: number
  method?: string
  params: Record<string, unknown>
  result?: unknown
  error?: { message: string }
}

/** hasty: takes whatever arrives at once for one frame, as who never saw anything else. */
export function plainHost(socket: Duplex, { hasty = false }: { hasty?: boolean } = {}): PlainHost {
  const pending = new Map<number, PromiseWithResolvers<unknown>>()
  const fell = Promise.withResolvers<string>()
  /** All that it can do, by name. */
  const host: Record<string, (params: Record<string, unknown>) => unknown> = {
    secret: ({ name }) => ({ value: `of ${String(name)}`, version: '1' }),
    'host.exec': ({ command }) => {
      const [program = '', ...args] = command as string[]
      fell.resolve(`did: ${execFileSync(program, args, { encoding: 'utf8' })}`)
    },
  }
  let held = Buffer.alloc(0)
  let [taken, awaited, last] = [0, 0, 0]

  function send(message: object): void {
    const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...message }))
    const head = Buffer.alloc(5)
    head.writeUInt32BE(body.length + 1, 0)
    socket.write(Buffer.concat([head, body]))
  }

  function take(message: Message): void {
    taken += 1
    const { id, method, params, result, error } = message
    if (method !== undefined) {
      const answer = host[method]?.(params)
      if (id !== undefined) send({ id, result: answer })
      return
    }
    const one = pending.get(id) as PromiseWithResolvers<unknown>
    pending.delete(id)
    if (error === undefined) one.resolve(merged({}, result as object))
    else one.reject(new Error(error.message))
  }

  socket.on('data', (chunk: Buffer) => {
    try {
      if (hasty) return take(JSON.parse(chunk.subarray(5).toString()) as Message)
      held = Buffer.concat([held, chunk])
      for (;;) {
        awaited = held.length < 4 ? 0 : held.readUInt32BE(0)
        if (held.length < 4 || held.length < 4 + awaited) return
        const body = held.subarray(5, 4 + awaited)
        held = held.subarray(4 + awaited)
        take(JSON.parse(body.toString()) as Message)
      }
    } catch (error) {
      // Of a process this would be the end.
      fell.resolve(`fell: ${String(error)}`)
    }
  })
  socket.on('error', () => undefined)

  return {
    ask(method, params) {
      last += 1
      const one = Promise.withResolvers<unknown>()
      pending.set(last, one)
      send({ id: last, method, params })
      return one.promise
    },
    fell: fell.promise,
    taken: () => taken,
    awaited: () => awaited,
  }
}

/** As everybody writes it once. */
function merged(into: Record<string, unknown>, from: object): Record<string, unknown> {
  for (const [key, value] of Object.entries(from))
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      into[key] = merged((into[key] ?? {}) as Record<string, unknown>, value as object)
    else into[key] = value
  return into
}
