/** The part of the script that starts or attaches on request, and answers one request a line. */
export const followPart: string = `
# Sends what stream LETTER has from its position on, at most 1 MiB, as a line with the count and then the bytes.
_m_send() { # LETTER FD POSITION SIZE; sets _m_k to the bytes sent
  _m_k=$(($4 - $3))
  if [ $_m_k -lt 0 ]; then echo '! the output in the worker is shorter than the offset asked for'; exit; fi
  [ $_m_k -gt 0 ] || return 0
  _m_c=1 _m_bs=$_m_k
  if [ $_m_k -ge 65536 ]; then
    _m_bs=65536 _m_c=$((_m_k / 65536))
    [ $_m_c -le 16 ] || _m_c=16
  fi
  _m_k=$((_m_bs * _m_c))
  echo "$1 $_m_k" || exit
  dd bs=$_m_bs count=$_m_c <&$2 2>/dev/null || exit
}

_m_next() { # sets _m_nx: how much input has been taken over; _m_fo: how much of it the command's pipe took
  _m_x=$_m_nx
  while [ -s "in.$_m_x" ]; do read -r _m_l 2>/dev/null <"in.$_m_x" && _m_x=$_m_l; done
  _m_fo=0; read -r _m_fo 2>/dev/null <fed
  [ "$_m_x" -ge "$_m_fo" ] || _m_x=$_m_fo
  _m_nx=$_m_x
}
_m_take() { # OFFSET COUNT, with the bytes on standard input; 0 is the end of input
  _m_w=.in.$$
  if [ "$2" = 0 ]; then true >$_m_w
  else
    echo $(($1 + $2)) >$_m_w
    head -c "$2" >>$_m_w
    _m_x=$(ls -ln $_m_w); _m_l=$(($1 + $2))
    set -- "$1" "$2" $_m_x
    # A connection that was cut leaves a short segment: it does not count.
    [ "$7" = $(($2 + \${#_m_l} + 1)) ] || { rm -f $_m_w; exit; }
  fi
  _m_next
  [ "$1" = "$_m_nx" ] && ln $_m_w "in.$1" 2>/dev/null && echo 1<>wake
  rm -f $_m_w
}

# Answers one request a line. The client sets the pace: no sleeping here, and end-of-file on standard input ends it.
_m_follow() { # OUT ERR
  cd "$_m_base/$_m_id" 2>/dev/null || { _m_say none; exit; }
  _m_o=$1 _m_e=$2 _m_nx=0 _m_lo=
  exec 3<out 4<err 5<>end 6<end 5>&-
  dd bs=1 skip=$_m_o count=0 <&3 2>/dev/null
  dd bs=1 skip=$_m_e count=0 <&4 2>/dev/null
  # It ends with its client: what the command says once it is told to end has to be heard.
  trap '' PIPE TERM
  unset BLOCK_SIZE BLOCKSIZE LS_BLOCK_SIZE TIME_STYLE POSIXLY_CORRECT; export LC_ALL=C
  # Rings the client when the supervisor ends.
  ( read -r _m_l <&6; echo >&2 ) </dev/null >/dev/null 3<&- 4<&- & _m_w=$!
  trap 'kill -9 $_m_w 2>/dev/null' EXIT
  trap 'exit 1' HUP INT
  while read -r _m_v _m_1 _m_2; do
    case $_m_v in
      t) ;;
      w) _m_take "$_m_1" "$_m_2" ;;
      *) break ;;
    esac
    _m_po= _m_pt= _m_pe= _m_qt=
    read -r _m_po _m_pt _m_pe _m_qt 2>/dev/null <pumps
    _m_ao=1 _m_ae=1
    if [ -e rc ]; then
      # A pump seen dead before the sizes are read: they are final.
      _m_alive "$_m_po" "$_m_pt" || _m_ao=0
      _m_alive "$_m_pe" "$_m_qt" || _m_ae=0
    fi
    _m_sizes || exit
    # The sizes come before this look: without rc there is no mark in them.
    if [ -e rc ]; then
      read -r _m_x <rc
      echo "x $_m_ao $_m_ae $_m_x" || exit
    fi
    _m_send o 3 $_m_o $_m_so; _m_o=$((_m_o + _m_k))
    _m_send e 4 $_m_e $_m_se; _m_e=$((_m_e + _m_k))
    if [ -z "$_m_lo" ] && [ ! -e rc ] && ! _m_owned && [ ! -e rc ]; then
      # Nobody watches the command any more: what it has written by now is the end.
      _m_sizes; _m_lo=$_m_so _m_le=$_m_se
    fi
    if [ "$_m_lo" ] && [ $_m_o -ge $_m_lo ] && [ $_m_e -ge $_m_le ]; then _m_lost; echo "u $_m_k" || exit; fi
    if [ -p wake ]; then _m_next; echo ". $_m_nx $_m_fo" || exit; else echo . || exit; fi
  done
  exit
}

_m_exec() { # OUT ERR INPUT NONCE SHARED LIMIT
  if [ ! -d "$_m_base/$_m_id" ]; then
    for _m_x in mkdir mkfifo cat dd head ls ln mv rm; do
      command -v $_m_x >/dev/null 2>&1 || { _m_say "bad tool $_m_x is missing"; exit; }
    done
    _m_um=$(umask)
    umask 077
    if [ ! -d "$_m_base" ]; then
      mkdir -p "$_m_base" 2>/dev/null
      [ "$5" = 0 ] || chmod 1777 "$_m_base" 2>/dev/null
    fi
    if [ -L "$_m_base" ] || [ ! -d "$_m_base" ] || [ ! -w "$_m_base" ] || { [ "$5" = 0 ] && [ ! -O "$_m_base" ]; }; then
      _m_say "bad dir $_m_base is not a directory that this user owns and may write to"; exit
    fi
    _m_ss=$(command -v setsid)
    [ "$_m_ss" ] || [ "$BASH_VERSION" ] || { _m_say 'bad tool setsid is missing'; exit; }
    _m_say new "\${BASH_VERSION:+bash}"
    read -r _m_n || exit
    _m_spec=$(head -c "$_m_n")
    export MUSTER_RUNNER
    _m_x=$(printf %s "$_m_spec" | _m_loose "$_m_sh" -c 'eval "$MUSTER_RUNNER"' muster-runner supervise "$_m_sh" "$_m_ss" "$_m_base" "$_m_id" "$_m_um" "$PWD" "$3" "$4" "$6" 2>/dev/null)
    unset MUSTER_RUNNER _m_spec
    case $_m_x in
      ok | old) _m_say $_m_x ;;
      # It may have died just after it published the run.
      *) [ -d "$_m_base/$_m_id" ] || { _m_say "bad start \${_m_x:-the supervisor did not start}"; exit; }; _m_say old ;;
    esac
  else
    _m_say old
  fi
  _m_follow "$1" "$2"
}
_m_loose() {
  if [ "$_m_ss" ]; then "$_m_ss" "$_m_ss" "$@"; return; fi
  set -m
  "$@" <&0 &
}

`
