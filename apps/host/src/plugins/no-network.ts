/** A network in which nothing is up, not even loopback, for what asks for none: network_namespaces(7). It goes with the last process in it. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readlink } from 'node:fs/promises'
import { promisify } from 'node:util'
import { remembered } from './remembered.ts'

const run = promisify(execFile)

/** Why this machine does not give something, and what mends that. */
export interface Lack {
  fact: string
  mend: string
}

/** The command, in such a network: it stays the same process. Error: none can be made here. */
export async function withoutNetwork(command: readonly string[]): Promise<string[]> {
  const found = await unshare()
  if ('lacks' in found) throw new Error(found.lacks.fact)
  return inside(found.program, command)
}

/** Why none can be made here; undefined: it can. Tried out. */
export async function lacksNetwork(): Promise<Lack | undefined> {
  const found = await unshare()
  return 'lacks' in found ? found.lacks : undefined
}

/** That of util-linux, where it made one. */
const unshare: () => Promise<{ program: string } | { lacks: Lack }> = remembered(async () => {
  const program = ['/usr/bin/unshare', '/bin/unshare'].find((one) => existsSync(one))
  if (program === undefined) return lacks('unshare of util-linux is missing', 'install util-linux')
  const own = '/proc/self/ns/net'
  const [command = '', ...args] = inside(program, ['/bin/sh', '-c', `readlink ${own}`])
  try {
    const { stdout } = await run(command, args, { env: {} })
    // Where somebody else answers for the kernel, it may have taken the wish for done.
    if (stdout.startsWith('net:') && stdout.trim() !== (await readlink(own))) return { program }
    return lacks('a process that asks for a network of its own stays in that of the host')
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string }
    return lacks(`a network of its own is refused: ${(stderr?.trim() || message).split('\n').at(-1)}`)
  }
})

function inside(program: string, command: readonly string[]): string[] {
  return [program, '--net', '--', ...command]
}

function lacks(fact: string, mend = 'give the host CAP_SYS_ADMIN, as a service of the machine has it'): { lacks: Lack } {
  return { lacks: { fact, mend } }
}
