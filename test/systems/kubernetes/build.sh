#!/bin/bash
# Builds the programs of the cluster for tests into a cache outside of the clone, each named by the hash of what it is made of.
#
#   build.sh           builds what is missing and prints `NAME PATH`, one a line. From nothing it takes a quarter of an hour on two
#                      cores, so start it early and beside other work: it is nice to everybody
#   build.sh --paths   prints the same and builds nothing. Exit: 3 something is missing, 4 and is being built now
#
# Needs Go and, once, a module proxy. One build runs at a time, another waits for it. A killed one leaves nothing that counts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly cache=${XDG_CACHE_HOME:-$HOME/.cache}/muster-test/kubernetes
readonly programs=(probe kubelab)
PATH=$PATH:/usr/local/go/bin

# path NAME: where it is, or will be. The hash covers its sources, their versions and how they are built.
path() {
  local hash
  hash=$(cat build.sh "$1"/* | sha256sum)
  echo "$cache/bin/$1-${hash:0:16}"
}

paths() {
  local name
  for name in "${programs[@]}"; do echo "$name $(path "$name")"; done
}

missing() {
  local name file
  while read -r name file; do [ -x "$file" ] || echo "$name"; done < <(paths)
}

if [ "${1:-}" = --paths ]; then
  paths
  [ -n "$(missing)" ] || exit 0
  [ -e "$cache/lock" ] && ! flock --nonblock --shared "$cache/lock" true && exit 4
  exit 3
fi

mkdir -p "$cache/bin"
exec 9>"$cache/lock"
flock 9
# Of builds that were killed: only one that holds the lock has any.
rm -f "$cache"/bin/*.part

export CGO_ENABLED=0 GOTOOLCHAIN=local GOCACHE=$cache/go-build GOMODCACHE=$cache/go-mod
export GOFLAGS="-buildvcs=false -trimpath ${GOFLAGS:-}"

# The version that the API server tells is set when it is linked, as Kubernetes' own build does.
version=$(sed -n 's|^\tk8s.io/kubernetes v||p' kubelab/go.mod)
IFS=. read -r major minor _ <<<"$version"
readonly base=k8s.io/component-base/version
readonly ldflags="-s -w -X $base.gitVersion=v$version -X $base.gitMajor=$major -X $base.gitMinor=$minor"

for name in $(missing); do
  begun=$SECONDS
  file=$(path "$name")
  echo "build: $name is built" >&2
  (cd "$name" && nice -n 15 go build -ldflags "$ldflags" -o "$file.part" .)
  mv "$file.part" "$file"
  echo "build: $name is there after $((SECONDS - begun)) s" >&2
done
# Those of other sources that nobody has used for two weeks.
paths | cut -d' ' -f2 | xargs touch
find "$cache/bin" -type f -mtime +14 -delete
paths
