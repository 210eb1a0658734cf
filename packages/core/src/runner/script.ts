/**
 * The POSIX-sh half of the runner: what runs inside a worker.
 *
 * One text serves every verb. It travels over the standard input of the raw exec, not in its argv, so that no vendor's limit on
 * arguments or URLs meets it, `ps` inside the worker stays readable, and nothing has to be installed. It holds in dash, busybox ash
 * and bash, with GNU coreutils or busybox tools; it needs `mkfifo`, `setsid` (or bash), `cat`, `dd`, `head`, `ls`, `ln`, `mv`, `rm`.
 *
 * A run is a directory `BASE/ID`, 0700:
 *
 * | file | what it is |
 * | --- | --- |
 * | `owner` | pid, start time and boot id of the supervisor, written before the directory gets its name |
 * | `command` | pid and start time of the command, which leads its own session |
 * | `out`, `err` | all output so far, up to the limit; each is written by one pump (`cat`) from the FIFOs `o` and `e` |
 * | `pumps` | pids and start times of the two pumps |
 * | `ooms` | out-of-memory kills before the command began |
 * | `rc` | status, signal (with a `!` when SIGTERM came to the supervisor too), out-of-memory kills, the mark, the second of the end since 1970 where there is a `date` |
 * | `end` | a FIFO only the supervisor holds for writing: readers meet end-of-file when it ends, even by SIGKILL |
 * | `in.N`, `fed`, `wake` | input from offset N (empty: end of input), how much the command's pipe has taken, the feeder's bell |
 *
 * Why it is built so:
 * - Publishing is one `mv` of a prepared directory: whoever loses finds its own directory inside the winner's and only attaches. The
 *   supervisor publishes itself, so a start that died is either no run at all or a run whose owner is dead: `unknown`, never a second start.
 * - Output goes through a FIFO and a pump instead of straight to a file: a script that writes `> /dev/stderr` would cut a file short.
 * - The limit of output is the kernel's limit of a file's size, and the pump's alone: the command writes files of any size. A pump at its limit ends, and
 *   with its FIFO's last reader gone the command gets SIGPIPE, as where the disk is full.
 * - A daemonised child may hold the FIFO open for ever, so end-of-file cannot end the run. After the command has ended the supervisor
 *   writes `rc`, then a random mark into both FIFOs: what precedes it is the output of the run.
 * - The command must not start from an asynchronous list (`&`): a shell without job control makes SIGINT and SIGQUIT ignored there, for
 *   ever. So the supervisor is cut loose by `setsid setsid`: the second one finds itself a group leader, forks, and its parent returns.
 * - `$?` cannot tell `exit 137` from SIGKILL. The shell says it on standard error when a foreground child was killed (all three shells,
 *   bash outside posix mode), except for SIGINT and SIGPIPE: statuses 130 and 141 count as those signals.
 * - All names start with `_m_`: an inherited exported variable that a script assigns would reach the command changed.
 */
import { followPart } from './script-follow.ts'
import { supervisePart } from './script-supervise.ts'

const commonPart = `
# _m_born PID: sets _m_t to its start time; fails when it has ended or is a zombie. No forks.
_m_born() {
  _m_t= _m_s=
  [ "$1" ] || return 1
  if [ ! -d /proc/self ]; then kill -0 "$1" 2>/dev/null && _m_t=0; return; fi
  { while read -r _m_y; do _m_s="$_m_s $_m_y"; done; } 2>/dev/null <"/proc/$1/stat" || return 1
  set -- \${_m_s##*) }
  case $1 in ''|Z|X) return 1 ;; esac
  _m_t=\${20}
}
_m_boot() { _m_b=0; read -r _m_b 2>/dev/null </proc/sys/kernel/random/boot_id; _m_b=\${_m_b:-0}; }
# Is PID, started at TIME, alive?
_m_alive() { _m_born "$1" && [ "$_m_t" = "$2" ]; }
_m_owned() {
  _m_p= _m_at= _m_ob=
  read -r _m_p _m_at _m_ob 2>/dev/null <owner && _m_boot && [ "$_m_ob" = "$_m_b" ] && _m_alive "$_m_p" "$_m_at"
}
_m_sizes() { # sets _m_so, _m_se
  _m_x=$(ls -ln err out) || return 1
  set -- $_m_x; _m_se=$5
  set -- \${_m_x#*err}; _m_so=$5
}
_m_ooms() { # sets _m_n: out-of-memory kills in this memory cgroup so far
  _m_n=0 _m_cg= _m_1=
  { while IFS=: read -r _m_1 _m_2 _m_3; do
    case $_m_2 in '') _m_cg="$_m_cg /sys/fs/cgroup$_m_3/memory.events /sys/fs/cgroup/memory.events" ;;
    *memory*) _m_cg="$_m_cg /sys/fs/cgroup/memory$_m_3/memory.oom_control /sys/fs/cgroup/memory/memory.oom_control" ;; esac
  done; } 2>/dev/null </proc/self/cgroup
  set -f
  for _m_f in $_m_cg; do
    [ -r "$_m_f" ] || continue
    while read -r _m_1 _m_2; do [ "$_m_1" != oom_kill ] || _m_n=$_m_2; done <"$_m_f"
    break
  done
  set +f
}
_m_lost() { # sets _m_k: out-of-memory kills since the command began, for a supervisor that is dead
  _m_k=0 _m_y=
  read -r _m_y 2>/dev/null <ooms
  [ "$_m_y" ] || return 0
  _m_ooms; _m_k=$((_m_n - _m_y))
}
_m_say() { printf 'muster 1 %s\\n' "$*"; }

`

const askPart = `
_m_state() {
  cd "$_m_base/$_m_id" 2>/dev/null || { _m_say none; return; }
  if [ ! -e rc ] && _m_owned; then _m_say running; return; fi
  # The supervisor may have ended between the two looks.
  if [ -e rc ]; then read -r _m_x <rc; _m_say "exited $_m_x"; else _m_say lost; fi
}

_m_kill() { # SIGNAL
  cd "$_m_base/$_m_id" 2>/dev/null || { _m_say none; return; }
  [ ! -e rc ] || { _m_say ended; return; }
  _m_p= _m_at=
  read -r _m_p _m_at 2>/dev/null <command
  if [ -z "$_m_at" ]; then
    if _m_owned; then _m_say early; else _m_say ended; fi
    return
  fi
  _m_alive "$_m_p" "$_m_at" || { _m_say ended; return; }
  _m_c=$_m_p _m_try=0
  if [ ! -d /proc/self ]; then kill -s "$1" -- "-$_m_c" 2>/dev/null; _m_say sent; return; fi
  while :; do
    _m_all=
    for _m_f in /proc/[0-9]*; do
      _m_born "\${_m_f#/proc/}" || continue
      # state, parent, group, session
      set -- "$1" \${_m_s##*) }
      if [ "$4" = "$_m_c" ] || [ "$5" = "$_m_c" ]; then _m_all="$_m_all \${_m_f#/proc/}"; fi
    done
    # Between its birth and its session the command has no group of its own.
    [ "$_m_all" ] || [ $_m_try -gt 0 ] || _m_all=$_m_c
    [ "$_m_all" ] || break
    kill -s "$1" $_m_all 2>/dev/null
    # A fork can slip through one pass; only SIGKILL is certain to come to an end.
    _m_try=$((_m_try + 1))
    [ "$1" = KILL ] && [ $_m_try -lt 50 ] || break
  done
  _m_say sent
}

_m_forget() {
  if cd "$_m_base/$_m_id" 2>/dev/null; then
    _m_p= _m_at=
    read -r _m_p _m_at 2>/dev/null <command
    if [ ! -e rc ] && { _m_owned || _m_alive "$_m_p" "$_m_at"; }; then _m_say running; return; fi
    cd /
    mv "$_m_base/$_m_id" "$_m_base/.gone.$_m_id.$$" 2>/dev/null
  fi
  rm -rf "$_m_base/.gone.$_m_id."* "$_m_base/.$_m_id."*
  _m_say gone
}

_m_verb=$1 _m_sh=$2
shift 2
if [ "$_m_verb" = supervise ]; then
  _m_ss=$1
  shift
  _m_supervise "$@"
else
  _m_base=$1 _m_id=$2
  shift 2
  _m_$_m_verb "$@"
fi
`

/** The whole script. Its last line runs the verb: arguments are VERB SHELL, then what the verb takes. */
export const runnerScript: string = commonPart + supervisePart + followPart + askPart
