/**
 * Loaded into a plugin before its own code (`node --permission-audit --import recorder?to=FOLDER`): writes down what it uses of the machine, one
 * line each, at once: it may be killed at any moment. Node says what its permission model would look at; hosts, ports and names of the
 * environment are not known to that.
 */
import { subscribe } from 'node:diagnostics_channel'
import dgram from 'node:dgram'
import { openSync, writeSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import net from 'node:net'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const here = import.meta.url
const to = fileURLToPath(`file://${new URL(here).searchParams.get('to') ?? ''}`)
const own = process.cwd()
// Opened before anything is watched: it is no use of the plugin.
const file = openSync(join(to, `${process.pid}-${Date.now()}.jsonl`), 'ax', 0o600)
const coverage = process.env['NODE_V8_COVERAGE']
const seen = new Set<string>()
/** Deep enough for what stands between a library and whoever calls it. */
const frames = 50

const permissions: Readonly<Record<string, string>> = {
  FileSystemRead: 'fsRead',
  FileSystemWrite: 'fsWrite',
  ChildProcess: 'childProcess',
  WorkerThreads: 'never',
  Addons: 'never',
  Inspector: 'never',
  WASI: 'never',
  FFI: 'never',
}

writeLine({ own })
for (const name of ['fs', 'child', 'worker', 'addon', 'inspector', 'wasi', 'ffi', 'net'])
  subscribe(`node:permission-model:${name}`, (message) => {
    const { permission, resource } = message as { permission: string; resource: string }
    const stack = stackHere()
    // Its address is known where it is connected.
    if (permission === 'Net' && stack.some((line) => line.includes('node:net') || line.includes('node:dgram'))) return
    if (permission === 'Net') return note('net', resource || '*', stack)
    // One is asked for the other.
    if (permission === 'Inspector' && stack.some((line) => line.includes('node:internal/worker'))) return
    const kind = permissions[permission] ?? 'never'
    if (kind !== 'fsRead' && kind !== 'fsWrite') return note(kind, kind === 'never' ? permission : resource, stack)
    const path = resolve(own, resource)
    if (coverage === undefined || !path.startsWith(coverage)) note(kind, path, stack)
  })

const { connect } = net.Socket.prototype
net.Socket.prototype.connect = function (this: net.Socket, ...args: unknown[]): net.Socket {
  address(args)
  return connect.apply(this, args as never)
}
const { listen } = net.Server.prototype
net.Server.prototype.listen = function (this: net.Server, ...args: unknown[]): net.Server {
  address(args)
  return listen.apply(this, args as never)
}
const { send } = dgram.Socket.prototype
dgram.Socket.prototype.send = function (this: dgram.Socket, ...args: unknown[]): void {
  const [host] = args.slice(1).filter((one) => typeof one === 'string')
  const port = args.slice(1).findLast((one) => typeof one === 'number')
  note('net', `${host ?? 'localhost'}:${port ?? 0}`, stackHere())
  send.apply(this, args as never)
}

const environment = process.env
process.env = new Proxy(environment, {
  get(target, key) {
    if (typeof key === 'string') readsName(key)
    return target[key as string]
  },
  has(target, key) {
    if (typeof key === 'string') readsName(key)
    return key in target
  },
})
syncBuiltinESMExports()

/** Node itself reads some at every turn. */
function readsName(name: string): void {
  const stack = stackHere()
  if (stack[0]?.includes('node:') === false) note('env', name, stack)
}

/** Of what `connect` and `listen` take: port and host, a path, or options; or those in a list of Node's own. */
function address(args: readonly unknown[]): void {
  const first: unknown = Array.isArray(args[0]) ? args[0][0] : args[0]
  const options = (typeof first === 'object' && first !== null ? first : {}) as { path?: string; host?: string; port?: number }
  const path = typeof first === 'string' && Number.isNaN(Number(first)) ? first : options.path
  const host = options.host ?? (typeof args[1] === 'string' ? args[1] : 'localhost')
  const port = options.port ?? (typeof first === 'object' ? 0 : Number(first ?? 0))
  if (path === undefined) note('net', `${host}:${port}`, stackHere())
  else note('unix', resolve(own, path), stackHere())
}

/** Without the frames of this file. */
function stackHere(): string[] {
  const before = Error.stackTraceLimit
  Error.stackTraceLimit = frames
  const { stack = '' } = new Error('here')
  Error.stackTraceLimit = before
  return stack
    .split('\n')
    .slice(1)
    .filter((line) => !line.includes(here) && !line.includes('node:diagnostics_channel'))
}

function note(kind: string, value: string, stack: readonly string[]): void {
  const place = stack.flatMap((line) => /(?:file:\/\/|[( ])(\/[^()]+:\d+:\d+)\)?$/.exec(line)?.[1] ?? [])[0]
  const key = `${kind} ${value} ${place}`
  if (seen.has(key)) return
  seen.add(key)
  writeLine({ kind, value, at: Date.now(), ...(place === undefined ? {} : { place }) })
}

function writeLine(line: object): void {
  writeSync(file, `${JSON.stringify(line)}\n`)
}
