/** Many commands of `muster` at once, as a test asks for them, and what they leave behind. */
import { fork } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { MusterClient, Run, RunPage } from '@muster/client'
import { tempFolder } from '@muster/test/systems/temp'
import type { Ended } from './commands.ts'
import type { Site } from './daemon.test.helper.ts'

interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

/** One process that runs many commands, and gets signals for all of them. */
export interface Commands {
  /** Begins one; resolves with its end. Rejects when the process ends before it. */
  run(key: string, args: readonly string[]): Promise<Ended>
  kill(signal: NodeJS.Signals): void
  /** What it said on standard error for a signal, and so for no command alone. */
  said(): string
  /** Ends the process, without waiting for its commands. */
  close(): Promise<Exit>
}

export function startCommands({ cwd }: { cwd: string }): Commands {
  const child = fork(join(import.meta.dirname, 'commands.ts'), {
    cwd,
    execArgv: ['--conditions=@muster/source'],
    env: { ...process.env, NODE_V8_COVERAGE: undefined, NO_COLOR: '1' },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  const waiting = new Map<string, PromiseWithResolvers<Ended>>()
  let text = ''
  child.stderr?.on('data', (chunk: Buffer) => (text += chunk.toString()))
  child.on('message', (ended: Ended) => waiting.get(ended.key)?.resolve(ended))
  const { promise: over, resolve: end } = Promise.withResolvers<Exit>()
  // Not `close`: that does not come to whoever closed the channel.
  child.once('exit', (code, signal) => {
    for (const [key, { reject }] of waiting) reject(new Error(`the process of ${key} has ended: ${signal ?? code}\n${text}`))
    end({ code, signal })
  })
  return {
    run: async (key, args) => {
      const ended = Promise.withResolvers<Ended>()
      waiting.set(key, ended)
      child.send({ key, args })
      return ended.promise
    },
    kill: (signal) => void child.kill(signal),
    said: () => text,
    close: async () => {
      if (child.connected) child.disconnect()
      return over
    },
  }
}

/** A closed gate: commands that begin, and end once it is opened or is no more; any user may look at it. */
export interface Gate {
  /** The words behind `--`; the key is written at the begin and at the end. */
  command(key: string): string[]
  /** All that such a command writes. */
  whole(key: string): string
  open(): Promise<void>
  dispose(): Promise<void>
}

export async function makeGate(): Promise<Gate> {
  const folder = await tempFolder('gate')
  await chmod(folder.path, 0o755)
  const file = join(folder.path, 'open')
  const script = `echo "$0 begun"; while [ -d ${folder.path} ] && [ ! -e ${file} ]; do sleep 0.2; done; echo "$0 over"`
  return {
    command: (key) => ['/bin/sh', '-c', script, key],
    whole: (key) => `${key} begun\n${key} over\n`,
    open: () => writeFile(file, ''),
    dispose: folder.remove,
  }
}

/** All runs, oldest last, that are in this state. */
export async function runsIn(client: MusterClient, state: Run['state']): Promise<Run[]> {
  const all: Run[] = []
  for (let before: string | undefined; ;) {
    const page: RunPage = await client.runs.list({ state, limit: 500, ...(before === undefined ? {} : { before }) })
    all.push(...page.items)
    before = page.next
    if (before === undefined) return all
  }
}

export interface Held {
  /** Open files of the daemon, sockets too. */
  files: number
  /** The daemon and all below it: plugins, workers. */
  processes: number
  /** Answers that stream, by the daemon's own count. */
  streams: number
}

/** What the site's daemon holds now. */
export async function heldBy({ data }: Site): Promise<Held> {
  const { pid, url } = JSON.parse(readFileSync(join(data, 'endpoint.json'), 'utf8')) as { pid: number; url: string }
  const token = readFileSync(join(data, 'admin.token'), 'utf8').trim()
  const asked = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${token}`, connection: 'close' } })
  const streams = Number(/^muster_api_streams (\d+)$/m.exec(await asked.text())?.[1])
  return { files: readdirSync(`/proc/${pid}/fd`).length, processes: processesBelow(pid), streams }
}

function processesBelow(pid: number): number {
  const file = `/proc/${pid}/task/${pid}/children`
  const children = existsSync(file) ? readFileSync(file, 'utf8').trim().split(' ') : []
  return children.filter((one) => one !== '').reduce((sum, child) => sum + processesBelow(Number(child)), 1)
}
