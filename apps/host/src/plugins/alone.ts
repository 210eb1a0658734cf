/** One change of a deployment's plugin files at a time, whoever makes it: two that ran at once took each other's drafts for their own. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile, readlink, realpath } from 'node:fs/promises'
import { createServer } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { namesIn } from '../names-in.ts'
import { PluginRefusal } from './refusal.ts'

/**
 * Until it is disposed of, no other process of this machine is given the same. Held by the kernel, as a socket without a file: it goes with
 * its process, however that ends. Error: PluginRefusal `conflict`.
 */
export async function alone(registryFile: string): Promise<AsyncDisposable> {
  const name = await nameOf(registryFile)
  const server = createServer((socket) => socket.destroy())
  server.listen(name)
  try {
    await once(server, 'listening')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    const pid = await holderOf(name)
    const who = pid === undefined ? '' : ` (process ${pid})`
    throw new PluginRefusal(
      'conflict',
      `another command${who} is changing ${registryFile} and its lock right now`,
      // Any process of the machine may take such a name.
      pid === undefined
        ? 'run: ss -xlp | grep muster-plugins, which says who has it; then the command again, once that has ended'
        : `run: ps -fp ${pid}, which says what it is; then the command again, once that has ended`,
    )
  }
  server.unref()
  return {
    async [Symbol.asyncDispose]() {
      server.close()
      await once(server, 'close')
    },
  }
}

/** Of the socket that is held for a registry manifest, however it is named. */
export async function nameOf(registryFile: string): Promise<string> {
  const file = join(await realpath(dirname(registryFile)), basename(registryFile))
  return `\0muster-plugins-${createHash('sha256').update(file).digest('hex')}`
}

/** The process that has a socket of this name, where this one may look into it: proc(5). */
async function holderOf(name: string): Promise<number | undefined> {
  const all = await readFile('/proc/net/unix', 'utf8').catch(() => '')
  const line = all.split('\n').find((one) => one.endsWith(` @${name.slice(1)}`))
  const socket = `socket:[${line?.trim().split(/\s+/)[6]}]`
  for (const pid of (await namesIn('/proc')).filter((one) => /^\d+$/.test(one)))
    for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => []))
      if ((await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')) === socket) return Number(pid)
  return undefined
}
