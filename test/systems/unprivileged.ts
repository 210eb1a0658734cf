/**
 * Running commands as an ordinary user, for tests that run as root.
 *
 * Command line: `node test/systems/unprivileged.ts COMMAND…` runs it so, in this folder, with an own home, and ends
 * with its exit code.
 */
import { chmod, chown, mkdir } from 'node:fs/promises'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'

import { mustRun } from './process.ts'
import { tempFolder } from './temp.ts'

export interface OrdinaryUser {
  readonly name: string
  readonly uid: number
  readonly gid: number
  /** A new folder that is the user's own; its temporary folder lies in it. */
  readonly home: string
  /** The environment for its commands: only PATH, HOME, USER, LOGNAME, TMPDIR and LANG. */
  readonly env: NodeJS.ProcessEnv
  /** The command that runs another one as this user; for a test that is not root, the command itself. */
  command(...command: string[]): [string, ...string[]]
  /** Removes the home. Processes of the user are the test's to stop. */
  remove(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * A user without rights: `nobody` for root, else the user who runs the test.
 *
 * `nobody` is there on every machine and has an entry in passwd, which `os.userInfo()` and git want; a user made for
 * the purpose would have to be unmade.
 */
export async function ordinaryUser(): Promise<OrdinaryUser> {
  const root = process.getuid?.() === 0
  const uid = root ? await idOf('-u') : (process.getuid?.() ?? 0)
  const gid = root ? await idOf('-g') : (process.getgid?.() ?? 0)
  const name = root ? NOBODY : (await mustRun(['id', '-un'])).trim()
  const home = await tempFolder('home')
  const temporary = join(home.path, 'tmp')
  await mkdir(temporary)
  for (const path of [home.path, temporary]) {
    await chown(path, uid, gid)
    await chmod(path, 0o700)
  }
  // Root keeps its groups and capabilities through a mere change of ids: drop all of them.
  const drop = ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--inh-caps=-all', '--']
  return {
    name,
    uid,
    gid,
    home: home.path,
    env: {
      PATH: process.env['PATH'],
      HOME: home.path,
      USER: name,
      LOGNAME: name,
      TMPDIR: temporary,
      LANG: 'C.UTF-8',
    },
    command: (...command) => [...(root ? drop : []), ...command] as [string, ...string[]],
    remove: home.remove,
    [Symbol.asyncDispose]: home.remove,
  }
}

const NOBODY = 'nobody'

async function idOf(flag: '-u' | '-g'): Promise<number> {
  return Number(await mustRun(['id', flag, NOBODY]))
}

if (import.meta.main) {
  await using user = await ordinaryUser()
  const [program, ...args] = user.command(...process.argv.slice(2))
  const { status, signal, error } = spawnSync(program, args, { stdio: 'inherit', env: user.env })
  if (error !== undefined) console.error(`unprivileged: ${error.message}`)
  if (signal !== null) console.error(`unprivileged: ended by ${signal}`)
  process.exitCode = status ?? 1
}
