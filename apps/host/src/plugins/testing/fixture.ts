/** A plugin for tests of the plugins room: does what its configuration says, the worse things too. Bundled and run as a process. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { lookup } from 'node:dns/promises'
import { appendFileSync, existsSync, readFileSync, symlinkSync, watch, writeSync } from 'node:fs'
import { get } from 'node:https'
import { connect, createServer, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { inspect } from 'node:util'
import { Worker } from 'node:worker_threads'
import {
  type Call,
  definePlugin,
  type LaunchSpec,
  ProviderError,
  serve,
  type WorkerPluginManifest,
  type WorkerObservation,
} from '@muster/core'

declare const MANIFEST: WorkerPluginManifest

interface Knobs {
  /** What `create` does. */
  create?: 'refuse' | 'misfit' | 'wait' | 'throw' | 'exit' | 'hang'
  /** The version that does so by `exit`. Absent: each. */
  only?: string
  /** What the probe says, in turn; the last one again and again. */
  probes?: ('ready' | 'initialising' | 'failed')[]
  /** What `launch` does. */
  launch?:
    | 'exit'
    | 'throw'
    | 'garbage'
    | 'secret'
    | 'spill'
    | 'auth'
    | 'hang'
    | 'ignore'
    | 'env'
    | 'reach'
    | 'who'
    | 'spin'
    | 'heap'
    | 'buffers'
    | 'fork'
  /** Files that `who` tries to read. */
  files?: string[]
  /** `launch` answers, and `create` refuses or waits no more, once this file is there. */
  gate?: string
  /** What `list` answers with. */
  list?: 'foreign' | 'other-provider'
  /** An address that `launch` asks in two ways, and whose answers are the handle. */
  vendor?: string
  /** A file that is printed at each start, as of an author who keeps notes of what was launched. */
  notes?: string
  /** A file that gets one line for each start. */
  starts?: string
}

const plugin = definePlugin({
  manifest: MANIFEST,
  async create(config, context) {
    const knobs = config as Knobs
    if (knobs.starts !== undefined) appendFileSync(knobs.starts, `${process.pid}\n`)
    if (knobs.notes !== undefined) process.stderr.write(readFileSync(knobs.notes))
    if (knobs.create === 'refuse' && (knobs.gate === undefined || !existsSync(knobs.gate)))
      throw new ProviderError('invalid-spec', 'the zone does not exist', { effect: 'none', hint: 'use zone a' })
    if (knobs.create === 'wait') while (!existsSync(knobs.gate ?? '')) await new Promise((resolve) => setTimeout(resolve, 10))
    if (knobs.create === 'misfit') throw new ProviderError('invalid-spec', 'there is no such zone', { effect: 'none' })
    if (knobs.create === 'throw') throw new Error('out of luck')
    if (knobs.create === 'exit' && (knobs.only ?? MANIFEST.version) === MANIFEST.version) process.exit(7)
    if (knobs.create === 'hang') await new Promise(() => setInterval(() => undefined, 1000))
    let asked = 0
    return {
      probe: async () => {
        const states = knobs.probes ?? ['ready']
        const state = states[Math.min(asked++, states.length - 1)] ?? 'ready'
        return {
          state,
          ...(state === 'failed' ? { message: 'the engine is down', hint: 'start it' } : {}),
          notes: ['a note'],
          facts: { pid: String(process.pid) },
        }
      },
      launch: async (spec, call) => {
        if (knobs.launch === 'spill') spill(spec)
        await misbehave(knobs.launch, call)
        if (knobs.gate !== undefined) await present(knobs.gate)
        if (knobs.launch === 'reach') return { handle: { v: 1, data: await reach(context.dataDir) } }
        if (knobs.launch === 'fork') return { handle: { v: 1, data: fork() } }
        if (knobs.launch === 'who') return { handle: { v: 1, data: await who(knobs.files ?? [], context.dataDir) } }
        if (knobs.vendor !== undefined) return { handle: { v: 1, data: await askVendor(knobs.vendor) } }
        return { handle: { v: 1, data: { id: spec.id, env: knobs.launch === 'env' ? Object.keys(process.env).sort() : [] } } }
      },
      terminate: async () => ({ state: 'gone' }),
      list: async () => ({
        workers: knobs.list === undefined ? [] : [stranger(knobs.list, context.owner)],
        asOf: new Date().toISOString(),
      }),
      inspect: async () => [],
    }
  },
})

/** What an author prints to see what came, before it is found that it does not work. */
function spill(spec: LaunchSpec): never {
  // The last one so that a line is cut in the middle of a value.
  const lines = [inspect(spec, { depth: null }), JSON.stringify(spec), `${'-'.repeat(4080)}${spec.env?.['A']}`]
  process.stderr.write(`${lines.join('\n')}\n`)
  throw new Error(`cannot launch ${JSON.stringify(spec)}`)
}

async function misbehave(how: Knobs['launch'], call: Call): Promise<void> {
  if (how === 'exit') process.exit(9)
  // It never hears that its host is gone.
  if (how === 'spin') process.stderr.write('it spins\n')
  for (let n = 0; how === 'spin'; n++) Math.sqrt(n)
  const all: object[] = []
  while (how === 'heap') all.push({ all })
  if (how === 'buffers') await swell()
  if (how === 'throw') throw new Error('a bug')
  if (how === 'garbage') writeSync(3, Buffer.from([0, 0, 0, 5, 0, 1, 2, 3, 4]))
  if (how === 'auth') throw new ProviderError('auth', 'the key is refused', { effect: 'none' })
  if (how === 'hang')
    await new Promise((_resolve, reject) => call.signal.addEventListener('abort', () => reject(call.signal.reason)))
  if (how === 'ignore') await new Promise(() => undefined)
  if (how === 'secret') {
    const { value } = await call.secret('token')
    process.stderr.write(`the token is ${value}\n`)
    throw new ProviderError('internal', `refused: ${value}`, {
      effect: 'none',
      hint: `try another than ${Buffer.from(value).toString('base64')}`,
    })
  }
}

/** More and more beside the heap, up to a GiB, and then it stays so. */
async function swell(): Promise<void> {
  const all: Buffer[] = []
  const timer = setInterval(() => {
    if (all.length < 64) all.push(Buffer.alloc(2 ** 24, 1))
    else clearInterval(timer)
    // Slowly enough that whoever looks finds it on its way, on a busy machine too.
  }, 50)
  await once(process, 'SIGUSR2')
}

/** Many processes at once, ended when all are there: the code of a shell that could not start one. */
function fork(): number | null {
  const script = 'n=0; while [ $n -lt 900 ]; do sleep 600 & all="$all $!"; n=$((n + 1)); done; kill $all; wait; exit 0'
  // Else it would wait for those that are left, too.
  return spawnSync('/bin/sh', ['-c', script], { stdio: 'ignore' }).status
}

/** Who it is, and what that lets it do: to read files of others, to write among its own, to end its host. */
async function who(files: readonly string[], own: string): Promise<object> {
  const lines = readFileSync('/proc/self/status', 'utf8').split('\n')
  const status = lines.filter((line) => /^(Uid|Gid|Groups|NoNewPrivs|Cap(Eff|Prm|Inh|Bnd|Amb)):/.test(line))
  return {
    status: Object.fromEntries(status.map((line) => line.split(/:\s*/).map((text) => text.trim()))),
    ...(await tried({
      host: () => process.kill(process.ppid, 0),
      own: () => appendFileSync(join(own, 'mine'), ''),
      up: () => appendFileSync(join(own, '../mine'), ''),
    })),
    files: await tried(Object.fromEntries(files.map((file) => [file, () => readFileSync(file)]))),
  }
}

/** Tries what a manifest may allow. */
function reach(own: string): Promise<Record<string, string>> {
  return tried({
    read: () => readFileSync('/etc/passwd'),
    write: () => appendFileSync('/tmp/muster-confined', ''),
    own: () => appendFileSync(join(own, 'mine'), readFileSync(new URL('package.json', import.meta.url))),
    link: () => symlinkSync('/etc/passwd', join(own, 'link')),
    spawn: () => spawnSync('true').status,
    thread: async () => await new Worker('', { eval: true }).terminate(),
    sqlite: async () => await import('node:sqlite'),
    inspector: async () => (await import('node:inspector')).open(0),
    addon: () => process.dlopen({ exports: {} }, '/none.node'),
    tcp: () => settled(connect(9, '127.0.0.1')),
    unix: () => settled(connect('/none.sock')),
    listen,
    names: async () => await lookup('localhost'),
  })
}

/** Each thing with `done`, or the code of its refusal. */
async function tried(tries: Record<string, () => unknown>): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const [name, attempt] of Object.entries(tries)) {
    try {
      await attempt()
      found[name] = 'done'
    } catch (error) {
      found[name] = (error as { code?: string }).code ?? String(error)
    }
  }
  return found
}

/** Refused in a turn of its own, where nobody catches it. */
function listen(): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    process.setUncaughtExceptionCaptureCallback(reject)
    const server = createServer().listen(0, '127.0.0.1', () => {
      server.close()
      resolve()
    })
  }).finally(() => process.setUncaughtExceptionCaptureCallback(null))
}

/** What became of a socket: whatever the network says is no refusal of Node. */
async function settled(socket: Socket): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  socket.once('error', reject)
  socket.once('connect', resolve)
  try {
    await promise
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_ACCESS_DENIED') throw error
  } finally {
    socket.destroy()
  }
}

async function askVendor(url: string): Promise<object> {
  const asked = new Promise<string>((resolve, reject) => {
    get(url, (answer) => void text(answer).then(resolve, reject)).on('error', reject)
  })
  return { https: await asked, fetch: await (await fetch(url)).text() }
}

async function present(file: string): Promise<void> {
  await new Promise<void>((resolve) => {
    const watcher = watch(dirname(file), look)
    function look(): void {
      if (!existsSync(file)) return
      watcher.close()
      resolve()
    }
    look()
  })
}

function stranger(kind: 'foreign' | 'other-provider', owner: string): WorkerObservation {
  const id = `w${'0'.repeat(26)}`
  const mine = {
    'muster-owner': kind === 'foreign' ? 'stranger' : owner,
    'muster-provider': 'other',
    'muster-pool': 'p',
    'muster-worker': id,
    'muster-epoch': '1',
  }
  return { id, handle: { v: 1, data: 0 }, tags: mine, phase: 'running', ready: true }
}

serve(plugin)
