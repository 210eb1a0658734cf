/** Commands in a worker that outlive whoever started them: starts once by id, attaches by offset, delivers every byte once. */
import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { ProviderError } from '../errors.ts'
import type { ExecId, ExecInput, ExecSession, ExecState } from '../provider.ts'
import { checkBash, checkExec, encodeExec } from './encode.ts'
import { parseExit } from './exit.ts'
import { accept, greet, type Link, openLink, readWords } from './link.ts'
import type { RawExec } from './raw.ts'
import { createSession } from './session.ts'

export interface RunnerOptions {
  /** Absolute folder in the worker that keeps the runs, made when absent (0700). It must be writable. Default `/tmp/.muster`. */
  dir?: string
  /** Several users of the worker share `dir`: it is made 1777, each run in it is 0700 of its own user. */
  shared?: boolean
  /** The user that `raw` runs as; a command that asks for another one is refused. */
  user?: string
  /** Default `sh`. */
  shell?: string
  /** Most bytes, in whole KiB, that the worker keeps of each stream of a command; what comes after is missing, and the exit says so. Default: no limit. */
  logBytes?: number
  /** Milliseconds after which a worker that owes an answer counts as lost. Default 30,000. */
  answerMs?: number
}

export interface Runner {
  /**
   * Starts the command, or attaches when its id was started before; resolves once the worker is sure of either. Never starts it twice.
   * `input` begins at the first byte of the input also on a later attach; what the worker has is skipped. Without `input` the command's
   * input stays open. `exit` without code and signal: nobody can tell. Left early, dropped or aborted, the command runs on.
   * Errors: `not-found` (output was stored, but the worker does not know the id), `conflict` (offset beyond the output), `transient`
   * (connection lost: attach again), `deadline` (a worker that was handed the command did not answer in time, and may begin it yet: attach
   * again), `unsupported`, `invalid-spec`.
   */
  exec(spec: ExecInput, signal: AbortSignal): Promise<ExecSession>
  /** `unknown`: never started here, or nobody can tell how it ended. */
  state(id: ExecId, signal: AbortSignal): Promise<ExecState>
  /** Signals every process of the command's session. Unknown or ended: nothing happens. */
  kill(id: ExecId, signalName: string, signal: AbortSignal): Promise<void>
  /** Removes what is kept of an ended command. Idempotent. Still running: `conflict`. The id must not be used again. */
  forget(id: ExecId, signal: AbortSignal): Promise<void>
}

/** Reads the script line by line (the shell takes single bytes from a pipe, so that nothing after it is lost), then becomes it. */
const BOOT = `MUSTER_RUNNER=
while IFS= read -r _m_l && [ "$_m_l" != '#.' ]; do MUSTER_RUNNER="$MUSTER_RUNNER$_m_l
"; done
eval "$MUSTER_RUNNER"`

/** Between the publication of a run and its first process lie a few forks. */
const EARLY_TRIES = 100
const EARLY_WAIT_MS = 50

/** What was handed to a worker that is merely slow lies before it, and nobody else is asked about it: it may begin at any time. */
function tellOpen(error: unknown): never {
  if (!(error instanceof ProviderError) || (error.cause as Error | undefined)?.name !== 'TimeoutError') throw error
  const { message, hint } = error
  throw new ProviderError('deadline', message, { cause: error, ...(hint === undefined ? {} : { hint }) })
}

/** `raw` is all a provider lends; the runner keeps nothing outside the worker. */
export function createRunner(raw: RawExec, options: RunnerOptions = {}): Runner {
  const { dir = '/tmp/.muster', shell = 'sh', answerMs = 30_000, logBytes = 0 } = options

  const open = async (words: readonly string[], signal: AbortSignal): Promise<Link> =>
    await openLink(raw, { argv: [shell, '-c', BOOT, 'muster-runner', ...words], signal, answerMs })

  /** One question, one answer. */
  async function ask(words: readonly string[], signal: AbortSignal): Promise<string[]> {
    const link = await open([words[0] ?? '', shell, dir, ...words.slice(1)], signal)
    try {
      return await greet(link)
    } finally {
      link.close()
    }
  }

  return {
    async exec(spec, signal) {
      checkExec(spec)
      if (spec.user !== undefined && spec.user !== options.user)
        throw new ProviderError('unsupported', 'commands cannot run as another user here', { effect: 'none', path: 'user' })
      const { stdout, stderr } = spec.from
      const nonce = randomBytes(8).toString('hex')
      const limit = String(Math.floor(logBytes / 1024))
      const flags = [spec.stdin ? '1' : '0', nonce, options.shared === true ? '1' : '0', limit]
      const link = await open(['exec', shell, dir, spec.id, String(stdout), String(stderr), ...flags], signal)
      try {
        const [word, kind] = await greet(link)
        if (word === 'new') {
          if (stdout > 0 || stderr > 0)
            throw new ProviderError('not-found', 'the worker does not know this command any more', { effect: 'none' })
          if (kind === 'bash') checkBash(spec)
          const text = encodeExec(spec, randomBytes(16).toString('hex'))
          link.channel.send(Buffer.concat([Buffer.from(`${text.length}\n`), text]))
          accept(await readWords(link).catch(tellOpen))
        }
        const input = spec.stdin && spec.input ? { input: spec.input } : {}
        return createSession(link, { from: spec.from, signal, logBytes, ...input })
      } catch (error) {
        link.close()
        throw error
      }
    },

    async state(id, signal) {
      const [word, ...rest] = await ask(['state', id], signal)
      if (word === 'running') return { state: 'running' }
      return word === 'exited' ? { state: 'exited', exit: parseExit(rest).exit } : { state: 'unknown' }
    },

    async kill(id, signalName, signal) {
      const name = /^SIG([A-Z0-9]+)$/.exec(signalName)?.[1]
      if (name === undefined)
        throw new ProviderError('invalid-spec', 'a signal is named as SIGTERM', { effect: 'none', path: 'signal' })
      for (let tries = 0; tries < EARLY_TRIES; tries++) {
        const [word] = await ask(['kill', id, name], signal)
        if (word !== 'early') return
        await delay(EARLY_WAIT_MS, undefined, { signal })
      }
      throw new ProviderError('transient', 'the command did not come to start')
    },

    async forget(id, signal) {
      const [word] = await ask(['forget', id], signal)
      if (word === 'running') throw new ProviderError('conflict', 'the command still runs', { effect: 'none' })
    },
  }
}
