/** The least that another process on file descriptor 3 can cost: one that gives back each frame as it is. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'

export interface Echo {
  pid: number
  /** Resolves with the frame of this body when it is back. */
  call(body: Buffer): Promise<void>
  stop(): Promise<void>
}

const source = `
const { Socket } = require('node:net')
const wire = new Socket({ fd: 3 })
wire.pipe(wire)`

export async function startEcho(): Promise<Echo> {
  const child: ChildProcess = spawn(process.execPath, ['-e', source], { stdio: ['ignore', 'ignore', 'inherit', 'pipe'] })
  const wire = child.stdio[3] as Duplex
  /** In order: it answers in the order of what it was sent. */
  const open: (() => void)[] = []
  let held: Buffer = Buffer.alloc(0)
  wire.on('data', (chunk: Buffer) => {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk])
    while (held.length >= 4 && held.length >= 4 + held.readUInt32BE(0)) {
      held = held.subarray(4 + held.readUInt32BE(0))
      open.shift()?.()
    }
  })
  const echo: Echo = {
    pid: child.pid ?? -1,
    async call(body) {
      const head = Buffer.alloc(5)
      head.writeUInt32BE(body.length + 1, 0)
      const { promise, resolve } = Promise.withResolvers<void>()
      open.push(resolve)
      wire.write(Buffer.concat([head, body]))
      await promise
    },
    async stop() {
      const ended = once(child, 'exit')
      wire.end()
      child.kill('SIGKILL')
      await ended
    },
  }
  await echo.call(Buffer.from('{}'))
  return echo
}
