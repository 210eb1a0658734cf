/** Debian's podman as a container engine: its service of Docker's API, with a storage of its own. */
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { engineJson, engineVersion } from './engine.ts'
import { inside, makeOwnNetwork, processesNaming } from './kernel.ts'
import type { Presence } from './presence.ts'
import { identityOf, type RunningProcess, startProcess, stopIdentity } from './process.ts'
import { tempFolder } from './temp.ts'
import { waitFor } from './wait.ts'

export interface PodmanEngine {
  readonly socket: string
  /** As `4.3.1`. */
  readonly version: string
  /** The command that runs another one in its network, where its containers' addresses are reached. */
  inside(command: readonly string[]): [string, ...string[]]
  /** Ends the service as a crash would, and starts it again; its containers go on. */
  restart(): Promise<void>
  /** Ends its containers and the service, and removes all it made. Idempotent. */
  stop(): Promise<void>
}

const PODMAN = '/usr/bin/podman'

/** {@link startPodman}, if it can run here. */
export function findPodman(): Presence<typeof startPodman> {
  const absent = !existsSync(PODMAN)
    ? `${PODMAN} is not installed: run test/systems/install.sh`
    : process.getuid?.() === 0
      ? undefined
      : 'podman as tests use it needs root'
  return absent === undefined ? { name: 'podman', system: startPodman } : { name: 'podman', absent }
}

export async function startPodman(): Promise<PodmanEngine> {
  const folder = await tempFolder('podman')
  const at = (name: string): string => join(folder.path, name)
  const socket = at('podman.sock')
  await writeFile(at('containers.conf'), configuration(at))
  // Its bridge and its rules vanish with this network.
  const network = await makeOwnNetwork(at('network'))
  const start = (): Promise<RunningProcess> =>
    startProcess(
      inside(network, [
        ...[PODMAN, '--root', at('root'), '--runroot', at('run'), '--tmpdir', at('tmp')],
        ...['--cgroup-manager', 'cgroupfs', 'system', 'service', '--time=0', `unix://${socket}`],
      ]),
      {
        logFile: at('log'),
        env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: folder.path, CONTAINERS_CONF: at('containers.conf') },
      },
    )
  let service = await start()
  const stop = async (): Promise<void> => {
    if (service.running()) {
      const containers = await engineJson<{ Id: string }[]>(socket, { path: '/containers/json', query: { all: '1' } })
      for (const { Id } of containers)
        await engineJson(socket, { method: 'DELETE', path: `/containers/${Id}`, query: { force: '1', v: '1' } }).catch(() => {})
    }
    await service.stop()
    // Each command in a container leaves a monitor that stays for five minutes.
    await waitFor('the end of what podman left', () => killLeft(folder.path), { until: (left) => left === 0 })
    await folder.remove()
  }
  try {
    const { version } = await waitFor('podman to answer', () => engineVersion(socket))
    return {
      socket,
      version,
      inside: (command) => inside(network, command),
      async restart() {
        await service.stop(0)
        service = await start()
        await waitFor('podman to answer again', () => engineVersion(socket))
      },
      stop,
    }
  } catch (error) {
    await stop().catch(() => {})
    throw error
  }
}

async function killLeft(folder: string): Promise<number> {
  const left = (await Promise.all((await processesNaming(folder)).map((pid) => identityOf(pid)))).filter(
    (one) => one !== undefined,
  )
  await Promise.all(left.map((one) => stopIdentity(one, 0)))
  return left.length
}

/** Networks in a folder of ours; limits of files and processes within those of the machine, which podman's own default is not. */
function configuration(at: (name: string) => string): string {
  return [
    '[containers]',
    'default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]',
    '[engine]',
    'events_logger = "file"',
    '[network]',
    `network_config_dir = ${JSON.stringify(at('networks'))}`,
    '',
  ].join('\n')
}
