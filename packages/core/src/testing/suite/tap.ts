/** Counts the frames of a connection, and lets a test act at any of them. */
import { type Duplex, duplexPair } from 'node:stream'

export type Way = 'to plugin' | 'from plugin'

export interface Tap {
  /** The host's end. */
  readonly socket: Duplex
  /** Frames that passed so far. */
  readonly frames: readonly Way[]
  /** Called for each frame: after it was handed to the plugin, or before it is handed to the host. */
  onFrame: ((way: Way, number: number) => void) | undefined
}

const lengthBytes = 4

export function tap(socket: Duplex): Tap {
  const [ours, relay] = duplexPair()
  const frames: Way[] = []
  const one: Tap = { socket: ours, frames, onFrame: undefined }
  pass(relay, { to: socket, each: () => one.onFrame?.('to plugin', frames.push('to plugin')), when: 'after' })
  pass(socket, { to: relay, each: () => one.onFrame?.('from plugin', frames.push('from plugin')), when: 'before' })
  return one
}

/** Passes whole frames on, with back-pressure; the end, too. */
function pass(from: Duplex, way: { to: Duplex; each(): void; when: 'before' | 'after' }): void {
  const { to } = way
  let held: Buffer = Buffer.alloc(0)
  from.on('data', (chunk: Buffer) => {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk])
    let more = true
    while (held.length >= lengthBytes) {
      const bytes = lengthBytes + held.readUInt32BE(0)
      if (held.length < bytes) break
      const frame = held.subarray(0, bytes)
      held = held.subarray(bytes)
      if (way.when === 'before') way.each()
      if (to.destroyed) return
      more = to.write(frame)
      if (way.when === 'after') way.each()
    }
    if (!more) {
      from.pause()
      to.once('drain', () => from.resume())
    }
  })
  from.once('end', () => to.end())
  from.once('close', () => to.destroy())
  from.on('error', () => to.destroy())
  to.on('error', () => from.destroy())
}
