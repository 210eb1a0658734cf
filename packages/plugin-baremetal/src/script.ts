/**
 * The POSIX-sh half of the provider: one text, seven verbs, run beside a worker and never inside the plugin.
 *
 * It holds in dash, busybox ash and bash, and needs `ln`, `readlink`, `mkfifo`, `mkdir`, `rmdir`, `rm`, `mv`, `cat`, `wc`, `grep`, `chmod`, `sleep`; under
 * root also `find`, and `setpriv` of util-linux. All it knows comes from the worker's folder `W` (see folder.ts); no value of the environment is ever in argv.
 *
 * | verb | who runs it | what it does |
 * | --- | --- | --- |
 * | `run W` | the plugin, in a session of its own | the supervisor: claims `W`, makes the cgroups, then runs the command or holds |
 * | `enter W [command…]` | supervisor, plugin | joins the cgroups, takes the mark and the user, then becomes `inner` |
 * | `visit W [command…]` | the plugin | as `enter`, without the cgroups: for a worker that has ended |
 * | `inner W [command…]` | `enter`, as the worker's user | sets the environment, enters the working folder, becomes the command |
 * | `stop W GRACE-MS` | the plugin, in a session of its own | ends the worker and removes all of it; goes on when the plugin dies |
 * | `suspend W`, `resume W` | the plugin | freezer, else SIGSTOP and SIGCONT |
 *
 * Why it is built so:
 * - The claim is a symbolic link `supervisor -> PID.START.BOOT`: made exclusively and with its content in one system call. Whoever loses the race
 *   ends. It is never taken over: a worker whose supervisor died is lost, its command is not started twice.
 * - `stop` writes `stopping` before it reads the claim, the supervisor claims before it looks for `stopping`: one of them sees the other.
 * - Members of a worker, surest first: those in its cgroup; those of its own user; else those with its mark, which is the variable `MUSTER_WORKER` or a
 *   soft limit of file locks that no other process has. Linux ignores that limit since 2.4.25, children inherit it, and unlike the environment
 *   it survives a server that daemonises and writes its title over its environment.
 * - With a user of its own the last word is `kill -1` as that user: one system call that no fork can outrun.
 * - Output goes through FIFOs owned by the worker's user into files that are not: a script may write to `/dev/stderr` without cutting a file short.
 * - How much output is kept is a limit of the kernel, and of the readers alone: the command writes files of any size. A reader at its limit ends as one
 *   without room on the disk, and a writer that goes on gets SIGPIPE.
 * - `$?` cannot tell `exit 137` from SIGKILL. The shell says it on standard error when a foreground child was killed (bash outside posix mode), except
 *   for SIGINT and SIGPIPE: statuses 130 and 141 count as those signals. A background child would ignore SIGINT for ever.
 * - What has ended but was never waited for (a zombie) is no member: under an init that does not reap, `stop` would wait for ever.
 */
export const script = `# Muster: one local worker. Installed and run by the plugin baremetal.
[ -z "$BASH_VERSION" ] || set +o posix
verb=$1 w=$2
shift 2

if [ "$verb" = inner ]; then
  # A member by now: whoever asked the worker to end either reached this process or is seen here.
  [ ! -h "$w/stopping" ] || exit 143
  [ $# -gt 0 ] || . "$w/command"
  unset LC_ALL
  # From here on every name may be one of the worker's environment.
  . "$w/env"
  cd -- "$MUSTER_WORKDIR" || exit 126
  unset MUSTER_WORKDIR OLDPWD
  command -v -- "$1" >/dev/null 2>&1 || { echo "muster: $1: not found" >&2; exit 127; }
  exec "$@"
fi

. "$w/conf" || exit 125
self=$0

born() { # PID: sets t to its start time; fails when it has ended or is a zombie
  s= t=
  { while read -r l; do s="$s $l"; done; } 2>/dev/null <"/proc/$1/stat" || return 1
  set -f; set -- \${s##*) }; set +f
  case $1 in '' | Z | X) return 1 ;; esac
  t=\${20}
}
read -r boot </proc/sys/kernel/random/boot_id
alive() { # PID.START.BOOT
  a=\${1%%.*} r=\${1#*.}
  [ "\${r#*.}" = "$boot" ] && born "$a" && [ "$t" = "\${r%%.*}" ]
}
me() { born $$ && me=$$.$t.$boot; }
nap() { sleep 0.02 2>/dev/null || sleep 1; }
as_user() { # COMMAND…: as the worker's user, when it has one
  case $uid in
    '') "$@" ;;
    0 | *[!0-9]*) return 1 ;;
    *) "$setpriv" --reuid="$uid" --regid="$uid" --clear-groups --inh-caps=-all --no-new-privs -- "$@" ;;
  esac
}

enter() { # [COMMAND…]
  for f in $procs; do echo 0 >"$f" || exit 125; done
  ulimit -S -w "$mark" 2>/dev/null || ulimit -S -x "$mark" 2>/dev/null || prlimit --pid $$ --locks="$mark:" 2>/dev/null
  umask 022
  set -- "$sh" "$self" inner "$w" "$@"
  o=
  [ -z "$deathsig" ] || o='--pdeathsig KILL'
  [ -z "$nnp" ] || o="$o --no-new-privs"
  [ -z "$uid" ] || o="$o --reuid=$uid --regid=$uid --clear-groups --inh-caps=-all"
  if [ "$o" ] && [ "$setpriv" ]; then exec "$setpriv" $o -- "$@"; fi
  [ -z "$uid$nnp" ] || exit 125
  exec "$@"
}

members() { # sets m to the pids of all living processes of the worker
  m= found=
  # The uid of a worker that has given it back may be another's.
  [ -z "$uid" ] || [ -h "$entry" ] || return 0
  if [ "$list" ]; then
    { while read -r p; do found="$found $p"; done; } 2>/dev/null <"$list"
  elif [ "$uid" ]; then
    found=$(grep -lE "^Uid:[[:space:]]+$uid[[:space:]]" /proc/[0-9]*/status 2>/dev/null)
  else
    found="$(grep -lzE "^MUSTER_WORKER=$id\\$|^MUSTER_WITHIN=(.* )?$id( |\\$)" /proc/[0-9]*/environ 2>/dev/null) $(
      grep -lE "^Max file locks +$mark " /proc/[0-9]*/limits 2>/dev/null)"
  fi
  for p in $found; do
    p=\${p#/proc/}; p=\${p%/*}
    case " $m " in *" $p "*) continue ;; esac
    if born "$p"; then m="$m $p"; fi
  done
}
signal() { # NAME
  if [ "$uid" ]; then [ ! -h "$entry" ] || as_user "$sh" -c "kill -$1 -1" 2>/dev/null
  elif [ "$1" = KILL ] && [ "$cgkill" ] && echo 1 2>/dev/null >"$cgkill"; then :
  elif members; [ "$m" ]; then kill -s "$1" $m 2>/dev/null; fi
}
# Without a freezer a signal to a process that has just ended fails, and that is all right.
freeze() { if [ "$freezer" ]; then echo "$frozen" >"$freezer"; else signal STOP || :; fi; }
thaw() { if [ "$freezer" ]; then echo "$thawed" >"$freezer"; else signal CONT || :; fi; }
kill_all() { # ends only when no process is left, or when 10 s were not enough
  n=0
  while members; [ "$m" ]; do
    [ $n -lt 500 ] || return 1
    n=$((n + 1))
    # Without one call that kills all: stopped processes cannot fork away.
    if [ -z "$uid$cgkill" ]; then
      k=0 before=
      while [ "$m" != "$before" ] && [ $k -lt 50 ]; do before=$m k=$((k + 1)); kill -s STOP $m 2>/dev/null; members; done
    fi
    signal KILL
    [ -z "$freezer" ] || thaw 2>/dev/null
    [ $n = 1 ] || nap
  done
}

make_cgroups() {
  [ "$dirs" ] || return 0
  n=0
  # The parents vanish with the last worker, so that they may have to be made again.
  until { [ -z "$control" ] || { mkdir -p "$v2" && echo "$control" >"$v2/cgroup.subtree_control"; }; } 2>/dev/null && mkdir -p $dirs 2>/dev/null; do
    n=$((n + 1))
    [ $n -lt 5 ] || { bad=$dirs; return 1; }
  done
  while read -r file value; do
    { echo "$value" >"$file"; } 2>/dev/null || { bad=$file; return 1; }
  done <"$w/limits"
}
ooms() { # sets o to the count of out-of-memory kills in the worker's cgroup
  o=0
  [ "$oom" ] || return 0
  while read -r k v; do [ "$k" = oom_kill ] && o=$v; done 2>/dev/null <"$oom"
}

pump() { # turns this subshell into a reader that writes no more than it may; its own word about that is no output
  if [ "$logs" ]; then
    n=$((logs / 512)); [ -z "$BASH_VERSION" ] || n=$((logs / 1024))
    # SIGXFSZ by its number: a shell that does not know a name ends.
    trap '' 25
    ulimit -f $n
  fi
  exec cat 2>/dev/null
}
full() { # STREAM FILE: is it cut because it is full?
  case $cut in *$1*) [ "$logs" ] && [ "$(wc -c <"$w/$2")" -ge "$logs" ] && over=$logs ;; esac
}
say() { (echo "$1"); } # in a process of its own: the pipe of a dead plugin ends only that
run() {
  exec 2>/dev/null
  me || { say 'failed: no /proc'; exit; }
  if ! why=$(ln -s "$me" "$w/supervisor" 2>&1); then
    if [ -h "$w/supervisor" ]; then say taken; else say "failed: cannot write in $w: \${why##*: }"; fi
    exit
  fi
  [ ! -h "$w/stopping" ] || { say stopping; exit; }
  make_cgroups || { say "failed: cannot set $bad"; exit; }
  [ ! -h "$w/stopping" ] || { say stopping; exit; }
  if [ "$mode" = hold ]; then
    why=$(mkfifo "$w/hold" 2>&1) || { say "failed: cannot make $w/hold: \${why##*: }"; exit; }
    say ok
    : >"$changes/$id"
    exec </dev/null >/dev/null 2>&1
    # Opening a FIFO that nobody writes to: held by the kernel, one shell and no timer.
    while :; do : <"$w/hold"; done
  fi
  why=$(as_user mkfifo -m 600 "$w/pipes/out" "$w/pipes/err" 2>&1) || { say "failed: cannot make $w/pipes/out: \${why##*: }"; exit; }
  say ok
  : >"$changes/$id"
  exec </dev/null >/dev/null 2>"$w/shell"
  # Both ends of both are opened here, so that no process ever waits for another end. The readers see the end when this shell says so, or when
  # it dies; a writer whose reader found no room on the disk gets SIGPIPE instead of waiting for ever.
  exec 7<>"$w/pipes/out" 8<>"$w/pipes/err"
  exec 3<"$w/pipes/out" 4>"$w/pipes/out" 5<"$w/pipes/err" 6>"$w/pipes/err" 7>&- 8>&-
  pump <&3 >>"$w/out" 3<&- 4>&- 5<&- 6>&- & lo=$!
  pump <&5 >>"$w/err" 3<&- 4>&- 5<&- 6>&- & le=$!
  exec 3<&- 5<&-
  deathsig=1
  (enter) >&4 2>&6 4>&- 6>&-
  rc=$? sig=- cut=- over=-
  if [ $rc -gt 128 ] && { [ -s "$w/shell" ] || [ $rc = 130 ] || [ $rc = 141 ]; }; then sig=$(kill -l $((rc - 128)) 2>/dev/null); fi
  ooms
  # The worker is its command: what it left behind goes with it, and with that the last writer of its output.
  kill_all
  exec 4>&- 6>&-
  wait $lo || cut=stdout
  wait $le || { [ $cut = - ] && cut=stderr || cut=stdout+stderr; }
  full stdout out
  full stderr err
  # Into room that was kept for it: a full disk must not hide how the command ended.
  printf '%s %s %s %s %s\\n' "$rc" "\${sig:--}" "$o" "$cut" "$over" 1<>"$w/exit.new" && mv "$w/exit.new" "$w/exit"
  : >"$changes/$id"
}

there() { # FOLDER…: is any of them there?
  for d; do [ ! -d "$d" ] || return 0; done
  return 1
}
still() { # ends when another took over; where that one has moved the worker away and was killed, what is left is ours to forget
  [ "$(readlink "$w/stopping" 2>/dev/null)" != "$me" ] || return 0
  [ -d "$w" ] || forget
  exit
}
stop() { # GRACE-MS
  # The plugin that listens may die before this ends.
  trap '' PIPE
  me
  # Only one is at it: whoever comes later has been told to hurry.
  if alive "$(readlink "$w/stopping" 2>/dev/null)"; then kill -s KILL "$a" 2>/dev/null; fi
  if ! ln -s "$me" "$w/stopping" 2>/dev/null && ! why=$(ln -sfn "$me" "$w/stopping" 2>&1); then
    [ ! -d "$w" ] || { echo "cannot write in $w: \${why##*: }"; exit 1; }
    forget
  fi
  : >"$changes/$id"
  supervisor=$(readlink "$w/supervisor")
  if [ "$1" -gt 0 ] && members && [ "$m" ]; then
    signal TERM
    thaw 2>/dev/null
    passed=0 step=10
    while [ $passed -lt "$1" ] && members && [ "$m" ]; do
      # Killed in the middle, nobody reads what is printed here; a word about that would be taken for a trouble.
      sleep "0.$(printf %03d $step 2>/dev/null)" 2>/dev/null || { sleep 1; step=1000; }
      passed=$((passed + step))
      [ $step -ge 200 ] || step=$((step * 2))
    done
  fi
  still
  kill_all || { echo "processes that SIGKILL does not end:$m"; exit 1; }
  i=0
  # A holder that stands still is killed; one that still makes cgroups sees \`stopping\`, and a command's supervisor first writes the exit.
  while alive "$supervisor"; do
    if [ -p "$w/hold" ] || [ $i -ge 100 ]; then kill -s KILL "$a" 2>/dev/null; fi
    i=$((i + 1))
    [ $i -lt 500 ] || { echo "the supervisor $a does not end"; exit 1; }
    nap
    # The command may have started only now.
    members
    [ -z "$m" ] || kill_all
  done
  kill_all || { echo "processes that SIGKILL does not end:$m"; exit 1; }
  still
  if ! rm -rf "$w/workspace" "$w/tmp" "$w/runs" "$w/pipes" 2>/dev/null; then
    chmod -R u+rwX "$w/workspace" "$w/tmp" "$w/runs" 2>/dev/null
    bad=$(rm -rf "$w/workspace" "$w/tmp" "$w/runs" "$w/pipes" 2>&1) || { echo "cannot remove: $bad"; exit 1; }
  fi
  # A later worker may get the same uid: nothing of this one may be there for it.
  [ -z "$uid" ] || find /tmp /var/tmp /dev/shm -maxdepth 1 -uid "$uid" -exec rm -rf {} + 2>/dev/null
  n=0
  # The kernel lets go of an ended process a little later than its parent does.
  while there $dirs; do
    rmdir $dirs 2>/dev/null || { there $dirs && nap; }
    n=$((n + 1))
    [ $n -lt 250 ] || { echo "the cgroups $dirs are not empty"; exit 1; }
  done
  [ -z "$entry" ] || rm -f "$entry"
  [ -z "$parents$entry" ] || rmdir $parents \${entry:+"\${entry%/*}"} 2>/dev/null
  # The state goes last and in one step: a worker is listed whole or not at all.
  mv "$w" "$trash/$id.$$" 2>/dev/null
  forget
}
forget() {
  rm -rf "$trash/$id".* "$changes/$id"
  echo gone
  exit
}

case $verb in
  run) run ;;
  enter) deathsig=; enter "$@" ;;
  visit) deathsig= procs=; enter "$@" ;;
  stop) stop "$1" ;;
  suspend) : >"$w/suspended" && freeze ;;
  resume) thaw && rm -f "$w/suspended" ;;
esac
`
