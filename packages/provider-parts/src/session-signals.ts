/** Shell programs that signal all that runs at a terminal: every process of its session, found in the worker's /proc. */

/**
 * Words: SESSION, the command's id, SIGNAL without `SIG`. SESSION is the number that it has in the worker; empty: whatever has `muster-terminal-ID` in
 * its command line.
 */
export const SIGNAL_SESSION: string = `
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
 * worker, which goes on when ours has ended meanwhile. Words: SESSION, the command's id.
 */
export const HANG_UP: string = `${signalled('HUP')}
sleep 2
${signalled('KILL')}`
