/** A way to an engine that counts the requests which go by, in a process of its own: its work is nobody's who is measured. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Counter {
  readonly socket: string
  /** Requests so far. */
  count(): Promise<number>
  stop(): Promise<void>
}

const source = `
const { createServer, connect } = require('node:net')
const [from, to] = process.argv.slice(1)
let requests = 0
const server = createServer((client) => {
  const engine = connect(to)
  client.on('data', (data) => { requests += data.toString('latin1').match(/^(?:GET|HEAD|POST|PUT|DELETE) \\S+ HTTP\\/1\\.1\\r?$/gm)?.length ?? 0 })
  client.on('error', () => engine.destroy()).pipe(engine).on('error', () => client.destroy()).pipe(client)
})
server.listen(from, () => process.send('ready'))
process.on('message', () => process.send(requests))`

export async function startCounter(engine: string): Promise<Counter> {
  const folder = await mkdtemp(join(tmpdir(), 'muster-bench-counter-'))
  const socket = join(folder, 'engine.sock')
  const child = spawn(process.execPath, ['-e', source, socket, engine], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  await once(child, 'message')
  return {
    socket,
    async count() {
      child.send('count')
      const [requests] = (await once(child, 'message')) as [number]
      return requests
    },
    async stop() {
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
      await rm(folder, { recursive: true })
    },
  }
}
