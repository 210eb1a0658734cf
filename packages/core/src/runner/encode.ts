/** Turns a command into shell text that travels over standard input: no value of it is ever in a process list. */
import { ProviderError } from '../errors.ts'
import type { ExecSpec } from '../provider.ts'

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/
const ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/

/** Variables that a shell keeps for itself: an export of them is refused or changed (seen in dash 0.5.12 and bash 5.2). */
const OWNED_BY_ANY = new Set(['OPTIND', '_'])
const OWNED_BY_BASH = new Set(
  (
    'UID EUID PPID GROUPS BASHOPTS SHELLOPTS BASH_VERSINFO BASHPID RANDOM SECONDS SRANDOM EPOCHSECONDS EPOCHREALTIME LINENO HISTCMD ' +
    'DIRSTACK FUNCNAME BASH_COMMAND BASH_SUBSHELL BASH_LINENO BASH_SOURCE BASH_ARGC BASH_ARGV BASH_ALIASES BASH_CMDS'
  ).split(' '),
)

/** Refuses what no worker could honour. Throws `invalid-spec` or `unsupported` with effect `none`. */
export function checkExec(spec: ExecSpec): void {
  if (!ID.test(spec.id)) throw refused('invalid-spec', 'id', 'the id of a command holds letters, digits, _ and - only')
  if (spec.tty !== undefined)
    throw refused('unsupported', 'tty', 'no terminals here: a command that is attached to again has none')
  if (spec.command.length === 0) throw refused('invalid-spec', 'command', 'the command is empty')
  spec.command.forEach((word, index) => checkText(word, `command.${index}`))
  if (spec.workdir !== undefined) checkText(spec.workdir, 'workdir')
  for (const [name, value] of Object.entries(spec.env ?? {})) {
    if (!NAME.test(name)) throw refused('invalid-spec', `env.${name}`, 'a shell cannot pass on a variable of this name')
    // Names of the script's own variables begin so.
    if (OWNED_BY_ANY.has(name) || name.startsWith('_m_'))
      throw refused('unsupported', `env.${name}`, 'the shell in the worker owns this variable')
    checkText(value, `env.${name}`)
  }
}

/** Refuses variables that bash keeps for itself, once the worker's shell is known to be bash. */
export function checkBash(spec: ExecSpec): void {
  const name = Object.keys(spec.env ?? {}).find((key) => OWNED_BY_BASH.has(key))
  if (name !== undefined) throw refused('unsupported', `env.${name}`, 'bash, the shell in the worker, owns this variable')
}

/** `MARK,` and the shell text that sets directory, environment and arguments. Ends in `#end`, so that a cut text is seen. */
export function encodeExec(spec: ExecSpec, mark: string): Uint8Array {
  const lines: string[] = []
  if (spec.workdir !== undefined) lines.push(`_m_cwd=${spec.workdir.startsWith('/') ? '' : '$_m_cwd/'}${quote(spec.workdir)}`)
  for (const [name, value] of Object.entries(spec.env ?? {})) lines.push(`export ${name}=${quote(value)}`)
  lines.push(`set -- ${spec.command.map(quote).join(' ')}`, '#end')
  return Buffer.from(`${mark},${lines.join('\n')}`)
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

function checkText(text: string, path: string): void {
  if (text.includes('\0')) throw refused('invalid-spec', path, 'a NUL byte cannot be passed to a process')
}

function refused(code: 'invalid-spec' | 'unsupported', path: string, message: string): ProviderError {
  return new ProviderError(code, message, { effect: 'none', path })
}
