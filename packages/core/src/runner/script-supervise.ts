/** The part of the script that starts a command, watches it and keeps how it ended. */
export const supervisePart: string = `
# The command is fed from segments, each published whole under its offset; the bell has no lost wake-ups, as a FIFO keeps bytes.
_m_feed() {
  trap '' TERM
  exec 5<>wake
  _m_n=0
  while :; do
    if [ ! -e "in.$_m_n" ]; then read -r _m_l <&5; continue; fi
    [ -s "in.$_m_n" ] || exit 0
    { read -r _m_e; cat; } <"in.$_m_n" || exit 1
    printf '%20d\\n' "$_m_e" 1<>fed
    rm -f "in.$_m_n"
    _m_n=$_m_e
  done
}

# Writes into the room that a file already has.
_m_note() { printf '%-79s\\n' "$2" 1<>"$1"; }

# Turns this subshell into the command.
_m_become() {
  read -r _m_p _m_l 2>/dev/null </proc/self/stat || _m_p=$(exec "$_m_sh" -c 'echo $PPID')
  _m_born "$_m_p"; _m_note command "$_m_p $_m_t"
  umask "$_m_um"
  { eval "$_m_spec"; } 2>/dev/null
  cd -- "$_m_cwd" 2>/dev/null || { echo "muster: cannot enter $_m_cwd" >&2; exit 126; }
  unset OLDPWD
  case $1 in
    */*) [ -e "$1" ] || { echo "muster: $1: not found" >&2; exit 127; }
      { [ -x "$1" ] && [ ! -d "$1" ]; } || { echo "muster: $1: not executable" >&2; exit 126; } ;;
    *) command -v -- "$1" >/dev/null 2>&1 || { echo "muster: $1: not found" >&2; exit 127; } ;;
  esac
  [ "$_m_ss" ] || exec -- "$@"
  exec "$_m_ss" -- "$@"
}

# Turns this subshell into a pump: what is beyond LIMIT it does not write, and ends; its own word about that is no output.
_m_pump() { # LIMIT in KiB, or 0
  trap '' TERM
  if [ "\${1:-0}" != 0 ]; then
    _m_l=$(($1 * 2)); [ -z "$BASH_VERSION" ] || _m_l=$1
    # SIGXFSZ by its number: a shell that does not know a name ends.
    trap '' 25
    ulimit -f $_m_l
  fi
  exec cat 2>/dev/null
}

# Why nothing can be written here: sets _m_x. The words are those of a program: a shell's own may be no more than \`I/O error\`.
_m_why() {
  _m_x=$({ printf '%4095s\\n' '' | cat >why; } 2>&1)
  _m_x=\${_m_x##*: }; _m_x=\${_m_x:+: $_m_x}
}

# supervise BASE ID UMASK CWD INPUT NONCE LIMIT, with mark and spec on standard input. Answers ok, old or a reason, then closes its output.
_m_supervise() {
  _m_base=$1 _m_id=$2 _m_um=$3 _m_cwd=$4 _m_in=$5 _m_lim=$7
  unset MUSTER_RUNNER
  [ -z "$BASH_VERSION" ] || set +o posix
  _m_spec=$(cat)
  case $_m_spec in *'#end') ;; *) echo 'the command was cut short on its way'; exit ;; esac
  # The mark must not show in any process list: a command that prints one would end its own output.
  _m_mark=\${_m_spec%%,*} _m_spec=\${_m_spec#*,}
  exec </dev/null
  umask 077
  # A worker that is to end hands this to all that is in it: it is for the command, which has what a shell catches as it was.
  _m_tm=
  trap _m_tm=! TERM
  _m_tmp=$_m_base/.$_m_id.$6
  _m_x=$(mkdir "$_m_tmp" 2>&1) && cd "$_m_tmp" || { echo "cannot make a folder in $_m_base: \${_m_x##*: }"; exit; }
  _m_x=$({ mkfifo o e end && { [ "$_m_in" = 0 ] || mkfifo i wake; } && true >out && true >err; } 2>&1) || {
    cd /; rm -rf "$_m_tmp"; echo "cannot make files in $_m_base: \${_m_x##*: }"; exit
  }
  _m_boot; _m_born $$; _m_own="$$ $_m_t $_m_b"
  [ "$_m_in" = 0 ] || echo 0 >fed
  # Room for what is noted later is taken now: a full disk must not turn it into something else.
  if ! { echo "$_m_own" >owner && printf '%79s\\n' '' >rc.new && printf '%79s\\n' '' >pumps && printf '%79s\\n' '' >ooms && printf '%79s\\n' '' >command; } 2>/dev/null; then
    _m_why; cd /; rm -rf "$_m_tmp"; echo "cannot write in $_m_base$_m_x"; exit
  fi
  exec 9<>end
  [ -e "$_m_base/$_m_id" ] || mv "$_m_tmp" "$_m_base/$_m_id" 2>/dev/null
  _m_l=; read -r _m_l 2>/dev/null <"$_m_base/$_m_id/owner"
  if [ "$_m_l" != "$_m_own" ]; then
    cd /; rm -rf "$_m_tmp" "$_m_base/$_m_id/.$_m_id.$6"
    if [ "$_m_l" ]; then echo old; else echo "cannot make $_m_base/$_m_id"; fi
    exit
  fi
  # Whoever asked may be gone; the command starts all the same.
  trap '' PIPE
  echo ok
  trap - PIPE
  exec >/dev/null
  # A pump opens its FIFO while it still has ours: it waits for nobody, and there is a reader before the first writer.
  exec 7<>o 8<>e
  _m_pump "$_m_lim" <o >>out 7>&- 8>&- 9>&- & _m_po=$!
  _m_pump "$_m_lim" <e >>err 7>&- 8>&- 9>&- & _m_pe=$!
  exec 7>o 8>e
  _m_born $_m_po; _m_l=$_m_t; _m_born $_m_pe
  _m_note pumps "$_m_po $_m_l $_m_pe $_m_t"
  if [ "$_m_in" = 0 ]; then exec 5</dev/null
  else
    exec 5<>i
    _m_feed </dev/null >i 5<&- 7>&- 8>&- 9>&- & _m_fd=$!
    _m_born $_m_fd; _m_ft=$_m_t
    exec 5<i
  fi
  _m_ooms; _m_o0=$_m_n; _m_note ooms $_m_o0
  exec 2>log
  if [ "$_m_ss" ]; then
    ( _m_become ) <&5 >&7 2>&8 5<&- 7>&- 8>&- 9>&-
  else
    # Job control gives a group of its own and ignores no signal; a foreground job's SIGINT would end bash too. A caught signal would end its
    # \`wait\`, and asked once more that may say nothing, or never end: SIGTERM to all of a worker ends this shell too, and how the command ends is unknown.
    trap - TERM
    set -m
    ( _m_become ) <&5 >&7 2>&8 5<&- 7>&- 8>&- 9>&- &
    wait $!
  fi
  _m_r=$?
  _m_sig=-
  if [ $_m_r -gt 128 ]; then
    # bash reports a background job that ended by itself too, as Exit 143.
    _m_l=$(cat log)
    case $_m_r,$_m_l in
      *"Exit $_m_r"*) ;;
      130,* | 141,* | *,?*) _m_sig=$(kill -l $((_m_r - 128)) 2>/dev/null) ;;
    esac
  fi
  _m_ooms
  _m_note rc.new "$_m_r \${_m_sig:--}$_m_tm $((_m_n - _m_o0)) $_m_mark $(date +%s 2>/dev/null)" && mv rc.new rc
  trap '' PIPE
  printf %s "$_m_mark" >&7
  printf %s "$_m_mark" >&8
  exec 7>&- 8>&- 9>&-
  [ "$_m_in" = 0 ] || ! _m_alive $_m_fd $_m_ft || kill -9 $_m_fd
  wait
}

`
