#!/bin/sh
# An agent for Muster in plain sh: curl, tar, base64 and sed are all it needs. It exchanges its ticket, takes its run, fetches what goes in,
# hands in what the command says while it works, then what came out, and says how it ended.
set -u
umask 022
: "${MUSTER_AGENT_URL:?}" "${MUSTER_AGENT_TICKET:?}"
self=$MUSTER_AGENT_URL/v1/self
ticket=$MUSTER_AGENT_TICKET
unset MUSTER_AGENT_URL MUSTER_AGENT_TICKET
home=$PWD
# Its name is one that no variable of a command has.
muster_own=$(mktemp -d) || exit 1
answer=$muster_own/answer

say() { printf 'agent: %s\n' "$*"; }

# call METHOD PATH [OPTION OF CURL…]: asks until there is an answer, also while the host is restarted. Fails when that is a refusal.
# Neither ticket nor session is ever an argument: those can be read by anybody on a machine.
call() {
  method=$1 path=$2
  shift 2
  while :; do
    status=$(curl -s -y 90 -Y 1 -o "$answer" -w '%{http_code}' -X "$method" -H "@$muster_own/bearer" "$@" "$self$path") || status=000
    case $status in
      2*) return 0 ;;
      000 | 408 | 429 | 5*) ;;
      409) grep -q '"code":"not-ready"' "$answer" || return 1 ;;
      *) return 1 ;;
    esac
    sleep 0.5
  done
}

bearer() { (umask 077 && printf 'Authorization: Bearer %s\n' "$1" >"$muster_own/bearer"); }

# field NAME: a string or a number of the last answer.
field() { sed -n 's/.*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p' "$answer"; }

# ask_end SIGNAL: a command that has not begun by now never does.
ask_end() {
  : >"$muster_own/end"
  if pid=$(cat "$muster_own/pid" 2>/dev/null); then kill -s "$1" -- "-$pid" 2>/dev/null || kill -s "$1" "$pid" 2>/dev/null; fi
}

# In the background, while the command works: an agent that is silent is taken for lost, and this is how it hears of a cancel.
heartbeats() {
  answer=$muster_own/wish
  knows=nothing
  while call POST "/heartbeat?run=$run&knows=$knows&timeoutMs=10000"; do
    wants=$(field wants)
    [ "$wants" != "$knows" ] || continue
    knows=$wants
    case $wants in
      stop) ask_end TERM ;;
      kill) ask_end KILL ;;
    esac
  done
  # The run is over without us.
  ask_end KILL
}

# hand_in STREAM: what is new of it. A piece that was sent twice is stored once.
hand_in() {
  eval "at=\$at_$1"
  while [ "$at" -lt $(($(wc -c <"$muster_own/$1"))) ]; do
    tail -c "+$((at + 1))" "$muster_own/$1" | head -c 500000 >"$muster_own/piece"
    if call POST "/logs?run=$run&stream=$1&offset=$at" -H 'Content-Type: application/octet-stream' --data-binary "@$muster_own/piece"; then
      at=$(field offset)
    elif grep -q '"code":"gap"' "$answer"; then
      at=$(field at)
    else
      return 1
    fi
    eval "at_$1=\$at"
  done
}

# The order is a script that calls these, each for one part. First all of it is done, in a process of its own.
muster_run() { :; }
muster_input() {
  mkdir -p -- "$2" && call GET "/inputs/$1?run=$run" && tar -xf "$answer" -C "$2" || { echo "agent: input $1 could not be fetched" >&2; exit 125; }
}
muster_file() { mkdir -p -- "$(dirname -- "$1")" && printf %s "$3" | base64 -d >"$1" && chmod "$2" "$1" || exit 125; }
muster_env() { export "$1=$2"; }
muster_output() { :; }
muster_workdir() { mkdir -p -- "$1" && cd -- "$1" || exit 126; }
muster_command() {
  # A group of its own where that can be made, so that a stop reaches all of it. The pid first, then the look: one of both sees the other.
  group=$(command -v setsid)
  exec $group /bin/sh -c 'echo $$ >"$1/pid"; [ ! -e "$1/end" ] || exit 143; shift; exec "$@"' sh "$muster_own" "$@"
}

# Afterwards only what came out is of interest.
collect() {
  muster_input() { :; }
  muster_file() { :; }
  muster_env() { :; }
  muster_workdir() { :; }
  muster_command() { :; }
  muster_output() {
    [ -e "$2" ] || return 0
    tar -cf "$muster_own/tar" -C "$(dirname -- "$2")" "$(basename -- "$2")" &&
      call PUT "/outputs/$1?run=$run" -H 'Content-Type: application/x-tar' --data-binary "@$muster_own/tar" || say "output $1 was not taken: $(cat "$answer")"
  }
  . "$muster_own/order"
}

work() {
  run=$(sed -n "s/^muster_run '\([a-z0-9]*\)' .*/\1/p" "$muster_own/order")
  at_stdout=0 at_stderr=0
  rm -f "$muster_own/pid" "$muster_own/end" "$muster_own/code"
  : >"$muster_own/stdout" >"$muster_own/stderr"
  say "run $run"
  heartbeats &
  beating=$!
  (
    (answer=$muster_own/part && . "$muster_own/order") >"$muster_own/stdout" 2>"$muster_own/stderr" </dev/null
    echo $? >"$muster_own/code.new" && mv "$muster_own/code.new" "$muster_own/code"
  ) &
  while [ ! -e "$muster_own/code" ]; do
    hand_in stdout && hand_in stderr || break
    sleep 0.2
  done
  wait $!
  hand_in stdout && hand_in stderr && (cd "$home" && collect)
  kill "$beating" 2>/dev/null
  call POST /done -H 'Content-Type: application/json' --data "{\"run\":\"$run\",\"code\":$(cat "$muster_own/code")}" || say "not done: $(cat "$answer")"
}

bearer "$(cat "$ticket")"
call POST /ready || { say "no session: $(cat "$answer" 2>/dev/null)"; exit 1; }
rm -f "$ticket"
bearer "$(field session)"
say "here"
while call GET '/next?timeoutMs=30000' -H 'Accept: application/x-sh'; do
  [ -s "$answer" ] || continue
  mv "$answer" "$muster_own/order"
  work
done
say "nothing more to do"
rm -rf "$muster_own"
