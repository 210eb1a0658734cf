/** How the fake vendor brings a worker up: its folders, files, mounts, services and command, each step repeatable after a crash. */
import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Readiness } from '../../spec.ts'
import { startCell } from './cell.ts'
import { inside, ticketFile } from './translate.ts'
import type { FakeVendor, WorkerRecord } from './vendor.ts'

export function environmentOf(home: string, record: WorkerRecord): Record<string, string> {
  const root = join(home, 'root')
  const { agent } = record
  const way = agent === undefined ? {} : { MUSTER_AGENT_URL: agent.url, MUSTER_AGENT_TICKET: join(root, ticketFile) }
  return { ...record.env, ...way, MUSTER_FAKE_MACHINE: join(home, 'machine.json'), MUSTER_FAKE_ROOT: root }
}

/** Its folders, files and mounts, as far as they are not there yet: made when something first runs in it or looks into it. */
export function furnish(vendor: FakeVendor, record: WorkerRecord): void {
  const home = vendor.folder(record.id)
  if (existsSync(join(home, 'up'))) return
  mkdirSync(inside(home, record, '.'), { recursive: true })
  writeFileSync(join(home, 'machine.json'), JSON.stringify(record.machine))
  for (const file of record.files) {
    const path = inside(home, record, file.path)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, Buffer.from(file.base64, 'base64'))
    chmodSync(path, file.mode ?? 0o600)
  }
  for (const { target, source } of record.mounts) {
    const path = inside(home, record, target)
    mkdirSync(dirname(path), { recursive: true })
    if (existsSync(path)) continue
    if (source.kind === 'tmpfs') mkdirSync(path)
    else symlinkSync(source.kind === 'bind' ? source.path : volume(vendor, source.name), path)
  }
  writeFileSync(join(home, 'up'), '')
  // Another process removed it meanwhile.
  if (vendor.get(record.id) === undefined) rmSync(home, { recursive: true, force: true })
}

/** Starts what runs by itself in the worker: its services and its command, each once. */
export async function bringUp(vendor: FakeVendor, record: WorkerRecord): Promise<void> {
  if (record.command === undefined && record.services.length === 0) return
  furnish(vendor, record)
  const home = vendor.folder(record.id)
  const base = {
    worker: home,
    env: environmentOf(home, record),
    dir: inside(home, record, '.'),
    event: { file: join(vendor.dir, 'events'), line: record.id },
  }
  for (const service of record.services) {
    const command = service.command ?? ['sleep', 'infinity']
    await startCell(join(home, 'services', service.name), { ...base, command, env: { ...base.env, ...service.env } })
  }
  if (record.command !== undefined) await startCell(join(home, 'main'), { ...base, command: record.command })
}

function volume(vendor: FakeVendor, name: string): string {
  const path = join(vendor.dir, 'volumes', name)
  mkdirSync(path, { recursive: true })
  return path
}

/** Asks the readiness check, as often as it may fail in a row. */
export async function isReady(vendor: FakeVendor, record: WorkerRecord, readiness: Readiness): Promise<boolean> {
  for (let failures = 0; failures < readiness.failures; failures++) {
    if (failures > 0) await delay(readiness.intervalMs)
    if (await passes(vendor, record, readiness)) return true
  }
  return false
}

function passes(vendor: FakeVendor, record: WorkerRecord, { check, timeoutMs }: Readiness): Promise<boolean> {
  if (check.kind === 'http') {
    return fetch(`http://127.0.0.1:${check.port}${check.path}`, { signal: AbortSignal.timeout(timeoutMs) }).then(
      (answer) => answer.ok,
      () => false,
    )
  }
  return new Promise((resolve) => {
    if (check.kind === 'tcp') {
      const socket = connect({ host: '127.0.0.1', port: check.port, signal: AbortSignal.timeout(timeoutMs) })
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
      socket.once('connect', () => socket.destroy())
    } else {
      furnish(vendor, record)
      const home = vendor.folder(record.id)
      const [file = 'false', ...args] = check.command
      const env = { PATH: '/usr/local/bin:/usr/bin:/bin', ...environmentOf(home, record) }
      const child = spawn(file, args, { cwd: inside(home, record, '.'), env, stdio: 'ignore', timeout: timeoutMs })
      child.once('error', () => resolve(false)).once('close', (code) => resolve(code === 0))
    }
  })
}
