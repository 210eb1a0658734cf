/** PostgreSQL of this machine as an image, with the environment of the official one: `POSTGRES_USER`, `POSTGRES_PASSWORD`, `POSTGRES_DB`. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Presence } from './presence.ts'
import { mustRun } from './process.ts'
import type { TarEntry } from './tar.ts'

const versions = '/usr/lib/postgresql'

/** Is Debian's PostgreSQL installed? Its tree is then what `ensureImage(socket, 'postgres')` makes its image of. */
export function findPostgres(): Presence<string> {
  const name = 'postgresql'
  const found = programs()
  if (found !== undefined) return { name, system: found }
  return { name, absent: `no server is in ${versions}: run test/systems/install.sh` }
}

/** The folder of the newest server's programs. */
function programs(): string | undefined {
  if (!existsSync(versions)) return undefined
  const newest = readdirSync(versions).sort((left, right) => Number(right) - Number(left))
  return newest.map((version) => join(versions, version, 'bin')).find((folder) => existsSync(join(folder, 'postgres')))
}

/** What a server needs to make a cluster and to serve it; its own loadable parts beside `plpgsql` are for extensions. */
const wanted = ['postgres', 'initdb', 'pg_isready', 'psql']
const parts = ['plpgsql.so', 'dict_snowball.so']

/** `libraries`: the shared libraries of a program, with their folders. */
export async function postgresTree(libraries: (program: string) => Promise<TarEntry[]>): Promise<TarEntry[]> {
  const bin = programs()
  if (bin === undefined) throw new Error(`no server is in ${versions}: run test/systems/install.sh`)
  const share = bin.replace('/lib/', '/share/').replace(/\/bin$/, '')
  const shared = (await mustRun(['find', share, '-type', 'f', '-not', '-path', '*/man/*'])).trim().split('\n').toSorted()
  const own = [...wanted.map((name) => join(bin, name)), ...parts.map((name) => join(bin, '../lib', name))]
  const needed = (await Promise.all(own.map(libraries))).flat()
  const files = new Map([...own, ...shared].map((from) => [from.slice(1), from]))
  const folders = new Set([...files.keys()].flatMap((path) => parentsOf(path)))
  const ids = { uid: 999, gid: 999 }
  return [
    ...unique(needed),
    ...[...folders].filter((path) => path !== 'usr' && path !== 'usr/lib').map((path): TarEntry => ({ kind: 'folder', path })),
    ...[...files].map(([path, from]): TarEntry => ({ kind: 'file', path, mode: 0o755, content: { from } })),
    ...wanted.map((name): TarEntry => ({ kind: 'link', path: `bin/${name}`, target: join(bin, name) })),
    { kind: 'folder', path: 'var/lib' },
    { kind: 'folder', path: 'var/lib/postgresql', ...ids },
    { kind: 'folder', path: 'var/run', mode: 0o755 },
    { kind: 'folder', path: 'var/run/postgresql', mode: 0o1777 },
    {
      kind: 'file',
      path: 'etc/passwd',
      content: 'root:x:0:0:root:/root:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n',
    },
    { kind: 'file', path: 'etc/group', content: 'root:x:0:\npostgres:x:999:\n' },
    { kind: 'file', path: 'bin/docker-entrypoint.sh', mode: 0o755, content: entrypoint },
  ]
}

/** As the official image does: begins as root, becomes `postgres`, makes the cluster, listens beyond the socket only when all is made. */
const entrypoint = `#!/bin/sh
set -eu
[ "$(id -u)" -ne 0 ] || exec start-stop-daemon -S -c postgres:postgres -x "$0" -- "$@"
export PGDATA=/var/lib/postgresql/data TZ=GMT
user=\${POSTGRES_USER:-postgres}
echo "\${POSTGRES_PASSWORD:?is not given}" >/tmp/password
# Lost with the container anyway: nothing waits for a disk.
initdb -D "$PGDATA" -U "$user" --pwfile=/tmp/password --auth=scram-sha-256 --encoding=UTF8 --locale=C --no-sync >/dev/null
rm /tmp/password
echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
[ "\${POSTGRES_DB:-$user}" = postgres ] || echo "CREATE DATABASE \\"\${POSTGRES_DB:-$user}\\"" | postgres --single -D "$PGDATA" postgres >/dev/null
exec "$@" -D "$PGDATA" -c listen_addresses='*' -c fsync=off
`

/** `a/b/c` → `a`, `a/b`. */
function parentsOf(path: string): string[] {
  const names = path.split('/').slice(0, -1)
  return names.map((_, at) => names.slice(0, at + 1).join('/'))
}

function unique(entries: readonly TarEntry[]): TarEntry[] {
  return [...new Map(entries.map((entry) => [entry.path, entry])).values()]
}
