/**
 * `pnpm bench`: measures, prints, and writes docs/benchmarks.md. `--quick` takes few samples and writes nothing; `--only old` measures the
 * part of that name alone, and puts it in the place of its former figures.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { startKubernetes } from '@muster/test/systems/kubernetes'
import { benchDocker } from './docker.ts'
import { benchInstall } from './install.ts'
import { benchCrowd, benchKubernetes } from './kubernetes.ts'
import { benchNull } from './null.ts'
import { benchOld } from './old.ts'
import { benchCalls, benchLevels } from './plugins.ts'
import { benchReady } from './ready.ts'
import { benchLocal } from './real.ts'
import { machine, page, replaced, type Section } from './report.ts'
import { benchSwitch } from './switch.ts'
import { benchZoo } from './zoo.ts'

const root = join(import.meta.dirname, '../../../..')
const quick = process.argv.includes('--quick')
const socket = process.env['MUSTER_BENCH_DOCKER']?.replace(/^unix:\/\//, '')
const image = process.env['MUSTER_BENCH_IMAGE'] ?? 'muster-test/busybox:1'
const pairs = quick ? 5 : 40
const only = process.argv[process.argv.indexOf('--only') + 1 || process.argv.length]

const sections: Section[] = []

async function section(title: string, method: string, work: () => Promise<Section['figures']>): Promise<void> {
  if (only !== undefined && !title.toLowerCase().includes(only)) return
  process.stderr.write(`${title} …\n`)
  const figures = await work()
  sections.push({ title, method, figures })
  for (const one of figures)
    process.stdout.write(
      `${one.name}: ${one.ratio === '' ? '' : `${one.ratio}; `}${one.value}${one.baseline === '' ? '' : ` (${one.baseline})`}${one.aim === '' ? '' : `; to hold: ${one.aim}`}\n`,
    )
}

process.stdout.write(`${machine()}\n`)
const workers = quick ? 1000 : 10_000
await section(
  'The host itself',
  `Engine, store and guard in one process, a null provider in its own, no API. 64 launches open at once; the wait is from the request of a lease to its activity, with the intent on disk before the call. The rate of 100/s is an open loop over 10 s.`,
  () => benchNull({ workers }),
)
await section(
  'Starting',
  `${quick ? 3 : 20} rounds in turn, from the built bundles: a bare Node, the daemon on an empty data folder until its API answers, each plugin until it has described itself and is configured.`,
  () => benchReady(quick ? 3 : 20),
)
await section(
  'Plugins: start and memory',
  `${quick ? 2 : 10} rounds in turn, each plugin packed, locked and unpacked as anyone's: from the start of its process, its files verified first, until it has described itself and is configured, at each level of isolation that this machine gives. The memory is what then lies in it (VmRSS).`,
  () => benchLevels(quick ? 2 : 10),
)
await section(
  'Plugins: calls',
  `${quick ? 500 : 5000} calls of inspect one after the other, then four times as many with 32 open, through guard, wire and process of the null plugin; in turn with frames of the same size to a process that gives them back, over the same kind of socket.`,
  () => benchCalls(quick ? 500 : 5000),
)
await section(
  'Plugins: install and verify',
  `${quick ? 3 : 20} rounds in turn, from the bytes of the tarball, without a network: into an empty store, and the digest of the unpacked files.`,
  () => benchInstall(quick ? 3 : 20),
)
await section(
  'Plugins: another version',
  `${quick ? 2 : 10} rounds in turn on a host in one process: another version by the operation of an upgrade, and a kill of the process with its restart by the supervisor, its back-off without jitter at zero. A caller asks again as soon as it is answered, or refused.`,
  () => benchSwitch(quick ? 2 : 10),
)
await section(
  'Plugins: hostile ones beside',
  `${quick ? 50 : 200} leases of a good pool one after the other, each a cold worker of the fake plugin that is inspected once and released, on a host in a process of its own (engine, store, guard, no API) with all plugins of the zoo, from the moment that the good one is ready; in ten turns with another such host without them.`,
  () => benchZoo(quick ? 50 : 200),
)
const records = quick ? 20_000 : 1_000_000
await section(
  'A store with many old records',
  `${records} ended workers, as many leases, runs and decisions, put into the store directly; the daemon from its built bundle, asked over its socket. In turn with the same daemon on an empty store. The sweep drops all of them, while a small write is made again and again.`,
  () => benchOld({ records, rounds: quick ? 2 : 10 }),
)
await section(
  'Local processes',
  `${pairs} pairs in turn: a worker that holds through the host, and a bare shell that prints a line, both killed.`,
  () => benchLocal(pairs),
)
if (socket === undefined && only === undefined)
  process.stdout.write('docker: not measured, since MUSTER_BENCH_DOCKER names no engine\n')
/** Each takes a second or two. */
const dockerPairs = quick ? 5 : 30
const many = quick
  ? { atOnce: 10, rounds: 1, logBytes: 20e6, live: 10, restMs: 10_000 }
  : { atOnce: 50, rounds: 2, logBytes: 50e6, live: 200, restMs: 30_000 }
if (socket !== undefined)
  await section(
    'Docker',
    `${dockerPairs} rounds in turn: a worker through the host, the engine's own create and start, then forced removal, over the same socket, and the same by its command line, \`docker run --detach\` and \`docker rm --force\`; image ${image}. Then ${many.atOnce} workers asked for in one moment, until the last is ready, and given back, until the last is gone, ${many.rounds} rounds in turn with as many bare containers; the log of a worker that has written ${many.logBytes / 1e6} MB, from the plugin's process to the host's, ${many.rounds} reads in turn with the engine's own answer; and ${many.live} workers that nobody asks for anything, over ${many.restMs / 1000} s.`,
    () => benchDocker(dockerPairs, { socket, image, ...many }),
  )
if (process.env['MUSTER_BENCH_KUBERNETES'] === undefined && only === undefined)
  process.stdout.write('kubernetes: not measured, since MUSTER_BENCH_KUBERNETES is not set\n')
if (process.env['MUSTER_BENCH_KUBERNETES'] !== undefined) await onCluster()
if (!quick) {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim()
  const file = join(root, 'docs/benchmarks.md')
  writeFileSync(file, only === undefined ? page(sections, commit) : replaced(readFileSync(file, 'utf8'), sections, commit))
}

/** A cluster of its own for each part, made of the programs of the tests. */
async function onCluster(): Promise<void> {
  const pairs = quick ? 3 : 20
  await section(
    'Kubernetes',
    `${pairs} rounds in turn on a cluster of one node: a worker through the host, a bare Pod through the API itself, created, watched until it is ready, deleted, watched until it is gone, and the same by its command line, \`kubectl create\`, \`wait\` and \`delete\`. All have a second of grace and need less.`,
    async () => {
      await using cluster = await startKubernetes()
      return await benchKubernetes(cluster, pairs)
    },
  )
  const crowd = quick ? { nodes: 20, workers: 500 } : { nodes: 200, workers: 5000 }
  await section(
    'Kubernetes: a crowd',
    `${crowd.workers} workers asked for in one moment on ${crowd.nodes} nodes that kwok plays, through the host, one complete list while all are there, and all given back in one moment. Requests are counted by a way to the API server in a process of its own.`,
    async () => {
      await using cluster = await startKubernetes()
      return await benchCrowd(cluster, crowd)
    },
  )
}
