/** How many files a process may have open, for a plugin that may start no programs: setrlimit(2), by the shell that every machine has. */

/**
 * A log, figures and a command of each of some 2,700 workers. Whatever a plugin may start has a number of its own for each of its processes, so
 * that nothing would be bounded: workers on this machine, which inherit it, keep what their machine gives.
 */
const mostOpenFiles = 8192

/** The command with it, for all that it starts; it stays the same process. A machine that gives less stays as it is. */
export function withOpenFiles(command: readonly string[], most: number = mostOpenFiles): string[] {
  return ['/bin/sh', '-c', LIMIT, String(most), ...command]
}

/** Hard and soft: Node takes at its start as many as the hard one gives. What a shell says of itself in the environment nobody asked for. */
const LIMIT =
  'now=$(ulimit -H -n); if [ "$now" = unlimited ] || [ "$now" -gt "$0" ]; then ulimit -n "$0" || exit 1; fi; unset PWD OLDPWD SHLVL; exec "$@"'
