/** Signals for what runs at a terminal: all of its session, found in the worker's /proc. */
import type { ExecId, RawExec } from '@muster/core'
import { stateRoot } from './volumes.ts'

export interface SessionOf {
  id: ExecId
  /** By the number it has in the worker; without it, by what the shell before the command is called. */
  session: string | undefined
}

/** For the hang-up and the end by force, on a busy machine. */
const END_TIMEOUT_MS = 30_000

/** Signals every process of a session: SESSION, the command's id, SIGNAL. */
const SIGNAL_SESSION = `
[ "$1" ] || for _f in /proc/[0-9]*; do
  if grep -q "muster-terminal-$2" "$_f/cmdline" 2>/dev/null; then set -- "\${_f#/proc/}" "$2" "$3"; break; fi
done
[ "$1" ] || exit 0
_all=
for _f in /proc/[0-9]*; do
  _s=$(cat "$_f/stat" 2>/dev/null) || continue
  _s=\${_s##*) }
  _n=0
  # state, parent, group, session
  for _w in $_s; do _n=$((_n + 1)); [ $_n != 4 ] || { [ "$_w" != "$1" ] || _all="$_all \${_f#/proc/}"; break; }; done
done
[ -z "$_all" ] || kill -s "$3" $_all 2>/dev/null
exit 0`

const signalled = (name: string): string => `(
set -- "$1" "$2" ${name}
${SIGNAL_SESSION}
)`

/**
 * Hangs up, and kills what is left after two seconds: programs that put things in order first do so within a moment. One program in the
 * worker, which goes on when ours has ended meanwhile.
 */
const HANG_UP = `rm -f -- "${stateRoot}/terminal-$2"
${signalled('HUP')}
sleep 2
${signalled('KILL')}`

export async function signalSession(
  raw: RawExec,
  { id, session = '', name }: SessionOf & { name: string },
  signal: AbortSignal,
): Promise<void> {
  await run(raw, ['/bin/sh', '-c', SIGNAL_SESSION, 'sh', session, id, name.replace(/^SIG/, '')], signal)
}

export async function hangUp(raw: RawExec, { id, session = '' }: SessionOf): Promise<void> {
  await run(raw, ['/bin/sh', '-c', HANG_UP, 'sh', session, id], AbortSignal.timeout(END_TIMEOUT_MS))
}

async function run(raw: RawExec, argv: readonly string[], signal: AbortSignal): Promise<void> {
  const { output, exit } = await raw({ argv, signal })
  exit.catch(() => undefined)
  for await (const _chunk of output);
  await exit
}
