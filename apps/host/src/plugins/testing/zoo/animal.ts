/**
 * The plugin of the zoo: which fault it has, is the name of its package. Each does one thing that no plugin may, as a bad author or a thief
 * would. What eats without end stops by itself somewhere: a host without defence is harmed, its machine is not.
 */
import { spawnSync } from 'node:child_process'
import { appendFileSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { connect, createServer, Socket } from 'node:net'
import { join } from 'node:path'
import { type Call, definePlugin, type PluginContext, type Probe, serve, type WorkerPluginManifest } from '@muster/core'
import type { Fault } from './faults.ts'

const manifest = JSON.parse(readFileSync(new URL('muster-plugin.json', import.meta.url), 'utf8')) as WorkerPluginManifest
const fault = manifest.name.split('/')[1] as Fault
const ready: Probe = { state: 'ready' }
const MiB = 2 ** 20

/** What its probe does; the plugin lives as long as that is right. */
type Deed = (call: Call, context: PluginContext) => unknown

const deeds: Record<Fault, Deed> = {
  tame: () => undefined,
  'lies-about-itself': () => undefined,
  'hangs-at-its-start': () => undefined,
  'throws-at-its-start': () => undefined,

  'throws-in-a-timer': () => later(() => fail('thrown in a timer')),
  'leaves-a-rejection': () => void Promise.reject(new Error('nobody waits for this')),
  exits: () => process.exit(9),
  aborts: () => process.abort(),
  'is-shot': () => process.kill(process.pid, 'SIGSEGV'),
  'eats-its-heap': () => tried(() => (eat((n) => Array.from({ length: MiB }, (_, at) => ({ n, at })), 10), 'all')),
  // In turns, so that whoever looks finds it before it stops by itself.
  'eats-beside-its-heap': () =>
    tried(async () => {
      for (let n = 0; n < 60; n++) {
        eat(() => Buffer.alloc(16 * MiB, 1), 1)
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      return 'all'
    }),
  'opens-files-without-end': () =>
    tried(() => Array.from({ length: 12_000 }, () => openSync(new URL(import.meta.url), 'r')) && 'all'),

  'loops-for-ever': () => {
    for (;;);
  },
  'never-lets-go': () => {
    const again = (): void => void Promise.resolve().then(again)
    again()
  },
  'never-answers': () => new Promise(() => setInterval(() => undefined, 1000)),
  'answers-too-late': () => rewrite(async (text) => (await new Promise((resolve) => setTimeout(resolve, 14_000)), [text])),

  'writes-garbage': () => writeSync(3, Buffer.from([0, 0, 0, 5, 7, 1, 2, 3, 4])),
  'announces-two-gigabytes': () => writeSync(3, Buffer.from([0x80, 0, 0, 0, 0])),
  'never-ends-a-frame': () => {
    writeSync(3, Buffer.from([0, 8, 0, 0, 0]))
    setInterval(() => writeSync(3, ' '), 1000)
    return new Promise(() => undefined)
  },
  'writes-byte-by-byte': () => byteByByte(),
  'writes-no-json': () => writeSync(3, frame('{"jsonrpc":"2.0","id":1,"result":{'.padEnd(64))),
  'answers-what-nobody-asked': () => rewrite((text) => [text.replace(/"id":\d+/, '"id":987654321')]),
  'answers-twice': () => rewrite((text) => [text, text]),
  'floods-its-wire': async (call) => {
    // An id that the host has seen: to cancel it again is no fault by itself.
    await call.secret('token')
    const many = Buffer.concat(
      Array.from({ length: 1000 }, () => frame('{"jsonrpc":"2.0","method":"$/cancel","params":{"id":1}}')),
    )
    // What is written meanwhile by the library goes in between whole frames.
    let all = Promise.resolve()
    const write = (bytes: Buffer): Promise<void> => (all = all.then(() => written(bytes)))
    onWire((bytes) => void write(bytes))
    for (let n = 0; n < 400; n++) await write(many)
  },
  'asks-the-host-for-more': () =>
    writeSync(3, frame('{"jsonrpc":"2.0","id":1,"method":"host.exec","params":{"command":["id"]}}')),
  'spoils-prototypes': () => rewrite((text) => [text.replace('"facts":{', '"facts":{"__proto__":{"polluted":"yes"},')]),
  // What a plugin is built with takes it out as well.
  'says-what-it-may-not': async (call) => {
    const { value } = await call.secret('token')
    const data = { code: 'auth', effect: 'none', hint: 'x'.repeat(500) }
    const error = { code: -32_000, message: `refused: \u001B[31m${value}\u0007\u0000`, data }
    rewrite((text) => [JSON.stringify({ jsonrpc: '2.0', id: Number(/"id":(\d+)/.exec(text)?.[1]), error })])
  },
  'floods-its-output': async () => {
    const line = `${'flood '.repeat(1000)}\n`
    for (let n = 0; n < 10_000; n++)
      if (!process.stdout.write(line)) await new Promise((resolve) => process.stdout.once('drain', resolve))
  },

  // What a plugin is built with refuses it as well.
  'asks-for-a-secret-of-others': (call) => {
    onWire((bytes) => void writeSync(3, frame(textOf(bytes).replace('"name":"token"', '"name":"token-of-another"'))))
    return tried(async () => (await call.secret('token')).value)
  },
  'reads-what-it-may-not': () => tried(() => readFileSync('/etc/passwd', 'utf8').slice(0, 4)),
  'reads-the-database': (_, { dataDir }) => tried(() => readFileSync(join(dataDir, '../../muster.db')).length),
  'opens-the-database': async (_, { dataDir }) =>
    await tried(async () => new (await import('node:sqlite')).DatabaseSync(join(dataDir, '../../muster.db')).close()),
  'writes-what-it-may-not': (_, { dataDir }) => tried(() => appendFileSync(join(dataDir, '../../planted'), 'x')),
  'removes-the-data': (_, { dataDir }) => tried(() => rmSync(join(dataDir, '../..'), { recursive: true })),
  'starts-programs': () => tried(() => Array.from({ length: 20 }, () => spawnSync('true').status ?? fail('not started')).length),
  'forks-without-end': () => tried(() => (forked() === 0 ? 'all' : refused('EAGAIN'))),
  connects: () => tried(() => settled(connect(9, '127.0.0.1'))),
  listens: () => tried(() => listening()),
  // The kernel asks the same of this signal as of one that kills, and it does no harm where it comes through.
  'kills-its-host': () => tried(() => process.kill(process.ppid, 'SIGWINCH') && 'sent'),
}

serve(
  definePlugin({
    manifest:
      fault === 'lies-about-itself'
        ? { ...manifest, capabilities: { ...manifest.capabilities, work: ['command', 'hold'] } }
        : manifest,
    async create(_config, context) {
      if (fault === 'throws-at-its-start') throw new Error('out of luck')
      if (fault === 'hangs-at-its-start') await new Promise(() => setInterval(() => undefined, 1000))
      return {
        probe: async (call) => {
          const outcome = await deeds[fault](call, context)
          return { ...ready, facts: { outcome: typeof outcome === 'string' ? outcome : 'none' } }
        },
        launch: async ({ id }) => ({ handle: { v: 1, data: id } }),
        terminate: async () => ({ state: 'gone' }),
        list: async () => ({ workers: [], asOf: new Date().toISOString() }),
        inspect: async () => [],
      }
    },
  }),
)

function fail(message: string): never {
  throw new Error(message)
}

/** After the probe was answered. */
function later(work: () => void): void {
  setTimeout(work, 50)
}

const eaten: unknown[] = []
function eat(piece: (n: number) => unknown, times: number): void {
  for (let n = 0; n < times; n++) eaten.push(piece(n))
}

/** `done: …`, or the code of the refusal. */
async function tried(attempt: () => unknown): Promise<string> {
  try {
    return `done: ${String(await attempt())}`
  } catch (error) {
    return (error as { code?: string }).code ?? String(error)
  }
}

async function settled(socket: Socket): Promise<string> {
  try {
    return await new Promise<string>((resolve, reject) => {
      socket.once('connect', () => resolve('connected'))
      // Whatever the network says: it was asked.
      socket.once('error', (error: NodeJS.ErrnoException) =>
        error.code === 'ERR_ACCESS_DENIED' ? reject(error) : resolve(error.code ?? 'asked'),
      )
    })
  } finally {
    socket.destroy()
  }
}

/** Refused in a turn of its own, where nobody catches it. */
async function listening(): Promise<string> {
  try {
    return await new Promise<string>((resolve, reject) => {
      process.setUncaughtExceptionCaptureCallback(reject)
      const server = createServer().listen(0, '127.0.0.1', () => {
        server.close()
        resolve('listening')
      })
    })
  } finally {
    process.setUncaughtExceptionCaptureCallback(null)
  }
}

/** Many processes at once, ended when all are there: the code of a shell that could not start one. */
function forked(): number | null {
  const script = 'n=0; while [ $n -lt 900 ]; do sleep 600 & all="$all $!"; n=$((n + 1)); done; kill $all; wait; exit 0'
  return spawnSync('/bin/sh', ['-c', script], { stdio: 'ignore' }).status
}

function refused(code: string): never {
  throw Object.assign(new Error(code), { code })
}

/** All of it, whoever takes it however slowly. */
async function written(bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length;)
    try {
      at += writeSync(3, bytes, at)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
}

function frame(text: string): Buffer {
  const body = Buffer.from(text)
  const head = Buffer.alloc(5)
  head.writeUInt32BE(body.length + 1, 0)
  return Buffer.concat([head, body])
}

function textOf(frame: Buffer): string {
  return frame.subarray(5).toString()
}

/** What is written to the host from now on is written so. */
function onWire(write: (bytes: Buffer) => void): void {
  const proper = Socket.prototype.write
  Socket.prototype.write = function (this: Socket, ...given: unknown[]): boolean {
    const { _handle } = this as unknown as { _handle?: { fd?: number } }
    if (_handle?.fd !== 3) return (proper as (...all: unknown[]) => boolean).apply(this, given)
    write(given[0] as Buffer)
    return true
  }
}

/** So slowly that whoever looks finds a part of it. */
function byteByByte(): void {
  let all = Promise.resolve()
  onWire((bytes) => {
    all = all.then(async () => {
      for (const byte of bytes) {
        writeSync(3, Buffer.from([byte]))
        await new Promise((resolve) => setTimeout(resolve, 2))
      }
    })
  })
}

/** The answer of the probe, as other messages. */
function rewrite(change: (text: string) => string[] | Promise<string[]>): void {
  onWire((bytes) => {
    const text = textOf(bytes)
    const write = (all: string[]): void => all.forEach((one) => void writeSync(3, frame(one)))
    const changed = text.includes('"outcome"') ? change(text) : [text]
    if (Array.isArray(changed)) write(changed)
    else void changed.then(write)
  })
}
