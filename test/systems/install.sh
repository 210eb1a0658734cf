#!/bin/bash
# Installs the real systems the tests use, from Debian's own packages.
#
#   install.sh              what all of them but a cluster need
#   install.sh kubernetes   the same and what a cluster needs; its programs are built by kubernetes/build.sh
#
# Needs root. Idempotent: what is installed already is left alone, and when nothing is missing no package
# list is fetched. Starts nothing: Debian's services are kept from starting, the tests start their own.
# Exit: 0 all there, 1 an install failed, 3 cannot be done here (not root, not Debian).
set -euo pipefail

# package → a file that proves it is usable (dpkg's own list would not notice a removed file)
readonly SYSTEMS=(
  "docker.io /usr/sbin/dockerd"            # the engine, with containerd and runc
  "iptables /usr/sbin/iptables"            # dockerd sets its networks up with it
  "iproute2 /bin/ip"                       # bridges of an engine are looked at and removed with it
  "docker-registry /usr/bin/docker-registry"
  "apache2-utils /usr/bin/htpasswd"        # bcrypt lines for the registry's users
  "openssh-server /usr/sbin/sshd"          # a machine whose engine is reached by ssh
  "podman /usr/bin/podman"                 # another engine with the same API
  "busybox-static /bin/busybox"            # the test images are made of it
  "ca-certificates /etc/ssl/certs/ca-certificates.crt"
  "openssl /usr/bin/openssl"               # makes certificates for tests
  "python3 /usr/bin/python3"               # runs the example of a plugin in another language
  "postgresql /usr/bin/pg_createcluster"   # a database beside a job: the image of it is made of Debian's
  "util-linux /usr/bin/setpriv"            # runs a test as an unprivileged user
)

# More for a cluster. Its containerd, runc and image tools come with the engine above.
readonly CLUSTER=(
  "containernetworking-plugins /usr/lib/cni/bridge" # networks of pods
  "ipset /usr/sbin/ipset"                  # network policies are sets of addresses
)

say() { printf 'install: %s\n' "$*"; }

if [ "$(id -u)" -ne 0 ]; then
  echo "install: needs root to install Debian packages (tests of real systems are skipped without them)" >&2
  exit 3
fi
if ! command -v apt-get >/dev/null; then
  echo "install: needs Debian's apt-get; install the packages of this script's list by hand" >&2
  exit 3
fi

systems=("${SYSTEMS[@]}")
[ "${1:-}" = kubernetes ] && systems+=("${CLUSTER[@]}")
missing=()
for line in "${systems[@]}"; do
  read -r package file <<<"$line"
  [ -e "$file" ] || missing+=("$package")
done
if [ "${#missing[@]}" -eq 0 ]; then
  say "all there (${#systems[@]} packages), nothing to do"
  exit 0
fi

# A package's service must not start by itself: policy-rc.d answers 101 ("not allowed") while we install,
# unless the machine has a policy of its own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi

# Another apt at work on this machine is waited for; ten minutes is longer than any install of ours takes.
apt=(apt-get -q -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
log=$(mktemp)
run() {
  if ! DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    rm -f "$log"
    say "failed: $*" >&2
    exit 1
  fi
}
started=$SECONDS
run "${apt[@]}" update
say "package lists fetched"
run "${apt[@]}" install --no-install-recommends "${missing[@]}"
rm -f "$log"
say "installed ${missing[*]} in $((SECONDS - started)) s"
