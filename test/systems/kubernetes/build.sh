#!/bin/bash
# Builds the programs of the cluster for tests into a cache outside of the clone, each named by the hash of what it is made of.
#
#   build.sh           builds what is missing and prints `NAME PATH`, one a line. From nothing it takes a quarter of an hour on two
#                      cores, so start it early and beside other work: it is nice to everybody
#   build.sh --paths   prints the same and builds nothing. Exit: 3 something is missing, 4 and is being built now
#
# Needs Go and, once, a module proxy. One build runs at a time, another waits for it, and fails with it. A killed one leaves nothing that
# counts.
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
failed=$cache/failed-$(paths | sha256sum | head -c 16)
readonly failed
mark() { stat -c '%i %z' "$failed" 2>/dev/null || true; }
before=$(mark)
flock 9
# Whoever has waited for a build that failed does not begin it again: each of many would, one after the other.
if [ "$(mark)" != "$before" ] && [ -e "$failed" ]; then
  echo "build: $(cat "$failed"), as the build that was waited for has told" >&2
  exit 1
fi
rm -f "$failed"
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
  (cd "$name" && nice -n 15 go build -ldflags "$ldflags" -o "$file.part" .) || {
    echo "$name cannot be built" | tee "$failed" >&2
    exit 1
  }
  mv "$file.part" "$file"
  echo "build: $name is there after $((SECONDS - begun)) s" >&2
done
# Those of other sources that nobody has used for two weeks.
paths | cut -d' ' -f2 | xargs touch
find "$cache/bin" -type f -mtime +14 -delete
paths
