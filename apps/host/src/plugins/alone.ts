/** One change of a deployment's plugin files at a time, whoever makes it: two that ran at once took each other's drafts for their own. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { realpath } from 'node:fs/promises'
import { createServer } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { PluginRefusal } from './refusal.ts'

/**
 * Until it is disposed of, no other process of this machine is given the same. Held by the kernel, as a socket without a file: it goes with
 * its process, however that ends. Error: PluginRefusal `conflict`.
 */
export async function alone(registryFile: string): Promise<AsyncDisposable> {
  const file = join(await realpath(dirname(registryFile)), basename(registryFile))
  const server = createServer((socket) => socket.destroy())
  server.listen(`\0muster-plugins-${createHash('sha256').update(file).digest('hex')}`)
  try {
    await once(server, 'listening')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    throw new PluginRefusal(
      'conflict',
      `another command is changing ${file} and its lock right now`,
      'run the command again once that one has ended',
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
