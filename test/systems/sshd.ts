/** An OpenSSH server for tests, on a loopback port, with keys of its own and one that may log in. */
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { freePort, portAnswers } from './ports.ts'
import type { Presence } from './presence.ts'
import { identityOf, mustRun, type RunningProcess, startProcess, stopIdentity } from './process.ts'
import { tempFolder } from './temp.ts'
import { waitFor } from './wait.ts'

export interface SshServer {
  readonly port: number
  /** Who may log in: who runs the tests. */
  readonly user: string
  /** Its Ed25519 key, as `ssh-ed25519 AAAA…`, and what ssh-keygen prints of it. */
  readonly hostKey: string
  readonly fingerprint: string
  /** PEM of the private key that may log in; the second is the same, locked with {@link passphrase}. */
  readonly userKey: string
  readonly lockedKey: string
  readonly passphrase: string
  /** What it wrote so far. */
  log(): Promise<string>
  /** Ends it with all its connections, and starts it again. */
  restart(): Promise<void>
  /** Idempotent. */
  stop(): Promise<void>
}

const SSHD = '/usr/sbin/sshd'

/** {@link startSshd}, if it can run here. */
export function findSshd(): Presence<typeof startSshd> {
  const absent = !existsSync(SSHD)
    ? `${SSHD} is not installed: run test/systems/install.sh`
    : process.getuid?.() === 0
      ? undefined
      : 'sshd needs root'
  return absent === undefined ? { name: 'sshd', system: startSshd } : { name: 'sshd', absent }
}

/** Starts it; more lines of sshd_config come first, and the first of a name counts. */
export async function startSshd(more: readonly string[] = []): Promise<SshServer> {
  const folder = await tempFolder('sshd')
  const at = (name: string): string => join(folder.path, name)
  const passphrase = 'only for tests'
  const keygen = (name: string, phrase: string): Promise<string> =>
    mustRun(['ssh-keygen', '-q', '-t', 'ed25519', '-N', phrase, '-C', 'test', '-f', at(name)])
  let running: RunningProcess | undefined
  /** Each connection has a process of its own, which goes on without the one that listens. */
  const end = async (): Promise<void> => {
    const pid = running?.pid ?? 0
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '')
    const connections = await Promise.all(
      children
        .split(' ')
        .filter(Boolean)
        .map((child) => identityOf(Number(child))),
    )
    await running?.stop()
    for (const connection of connections) if (connection !== undefined) await stopIdentity(connection)
  }
  const stop = async (): Promise<void> => {
    await end()
    await folder.remove()
  }
  try {
    await Promise.all([keygen('host', ''), keygen('user', ''), keygen('locked', passphrase)])
    const [open, locked] = await Promise.all([readFile(at('user.pub'), 'utf8'), readFile(at('locked.pub'), 'utf8')])
    await writeFile(at('authorized'), `${open}${locked}`, { mode: 0o600 })
    // Where it puts itself before a user has logged in; Debian's service makes it.
    await mkdir('/run/sshd', { recursive: true })
    const port = await freePort()
    await writeFile(at('config'), [...more, ...configuration(port, at)].join('\n'))
    const start = async (): Promise<void> => {
      // -D: stays with us, -e: writes to its log file.
      const started = await startProcess([SSHD, '-D', '-e', '-f', at('config')], { logFile: at('log') })
      running = started
      await waitFor('sshd to answer', () => !started.running() || portAnswers(port))
      if (!started.running()) throw new Error(`sshd ended. Its log ends:\n${(await readFile(at('log'), 'utf8')).slice(-2_000)}`)
    }
    await start()
    const [type, key] = (await readFile(at('host.pub'), 'utf8')).split(' ')
    return {
      ...{ port, user: userInfo().username, hostKey: `${type} ${key}`, passphrase },
      fingerprint: (await mustRun(['ssh-keygen', '-l', '-f', at('host.pub')])).split(' ')[1] ?? '',
      userKey: await readFile(at('user'), 'utf8'),
      lockedKey: await readFile(at('locked'), 'utf8'),
      log: () => readFile(at('log'), 'utf8'),
      async restart() {
        await end()
        await start()
      },
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function configuration(port: number, at: (name: string) => string): string[] {
  return [
    'ListenAddress 127.0.0.1',
    `Port ${port}`,
    `HostKey ${at('host')}`,
    `PidFile ${at('pid')}`,
    `AuthorizedKeysFile ${at('authorized')}`,
    // The folder is in /tmp, which others may write.
    'StrictModes no',
    'UsePAM no',
    'PasswordAuthentication no',
    'PermitRootLogin prohibit-password',
    'AllowStreamLocalForwarding local',
    'MaxStartups 100',
    'LogLevel VERBOSE',
    '',
  ]
}
