/**
 * An order as a script for a POSIX shell, `application/x-sh`: one call for each of its parts, to functions that the agent has. So an agent
 * needs no more than `sh` and `curl`, and whatever is in a word stays a word.
 */
import type { Order } from '../engine/agent-api.ts'

export const SCRIPT_TYPE = 'application/x-sh'

export function orderScript(order: Order): string {
  const { run, command, env, workdir, files, inputs, outputs, graceMs, timeoutMs = 0 } = order
  const calls: [string, ...(string | number)[]][] = [
    ['run', run, graceMs, timeoutMs],
    ...inputs.map(({ name, path, sha256, bytes }): [string, ...(string | number)[]] => ['input', name, path, sha256, bytes]),
    ...files.map(({ path, mode = 0o600, base64 }): [string, ...string[]] => ['file', path, mode.toString(8), base64]),
    ...Object.entries(env).map(([name, value]): [string, ...string[]] => ['env', name, value]),
    ...outputs.map(({ name, path }): [string, ...string[]] => ['output', name, path]),
    ...(workdir === undefined ? [] : [['workdir', workdir] as [string, string]]),
    ['command', ...command],
  ]
  return calls.map(([name, ...words]) => `muster_${name} ${words.map(quoted).join(' ')}\n`).join('')
}

function quoted(word: string | number): string {
  return typeof word === 'number' ? String(word) : `'${word.replaceAll("'", `'\\''`)}'`
}
