/** Signals for what runs at a terminal: all of its session, found in the worker's /proc. */
import type { ExecId, RawExec } from '@muster/core'
import { HANG_UP, SIGNAL_SESSION } from '@muster/provider-parts/session-signals'
import { stateRoot } from '../pod/volumes.ts'

export interface SessionOf {
  id: ExecId
  /** By the number it has in the worker; without it, by what the shell before the command is called. */
  session: string | undefined
}

/** For the hang-up and the end by force, on a busy machine. */
const END_TIMEOUT_MS = 30_000

/** The file goes too, of a command that did not begin. Words: as {@link HANG_UP}. */
const END = `rm -f -- "${stateRoot}/terminal-$2"
${HANG_UP}`

export async function signalSession(
  raw: RawExec,
  { id, session = '', name }: SessionOf & { name: string },
  signal: AbortSignal,
): Promise<void> {
  await run(raw, ['/bin/sh', '-c', SIGNAL_SESSION, 'sh', session, id, name.replace(/^SIG/, '')], signal)
}

export async function hangUp(raw: RawExec, { id, session = '' }: SessionOf): Promise<void> {
  await run(raw, ['/bin/sh', '-c', END, 'sh', session, id], AbortSignal.timeout(END_TIMEOUT_MS))
}

async function run(raw: RawExec, argv: readonly string[], signal: AbortSignal): Promise<void> {
  const { output, exit } = await raw({ argv, signal })
  exit.catch(() => undefined)
  for await (const _chunk of output);
  await exit
}
