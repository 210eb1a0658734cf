/** `pnpm bench`: measures, prints, and writes docs/benchmarks.md. `--quick` takes few samples and writes nothing. */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { benchNull } from './null.ts'
import { benchReady } from './ready.ts'
import { benchDocker, benchLocal } from './real.ts'
import { machine, page, type Section } from './report.ts'

const root = join(import.meta.dirname, '../../../..')
const quick = process.argv.includes('--quick')
const socket = process.env['MUSTER_BENCH_DOCKER']?.replace(/^unix:\/\//, '')
const image = process.env['MUSTER_BENCH_IMAGE'] ?? 'muster-test/busybox:1'
const pairs = quick ? 5 : 40

const sections: Section[] = []

async function section(title: string, method: string, work: () => Promise<Section['figures']>): Promise<void> {
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
  'Local processes',
  `${pairs} pairs in turn: a worker that holds through the host, and a bare shell that prints a line, both killed.`,
  () => benchLocal(pairs),
)
if (socket === undefined) process.stdout.write('docker: not measured, since MUSTER_BENCH_DOCKER names no engine\n')
else
  await section(
    'Docker',
    `${pairs} pairs in turn: a worker through the host, and the engine's own create and start, then forced removal, over the same socket; image ${image}.`,
    () => benchDocker(pairs, { socket, image }),
  )
if (!quick) {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim()
  writeFileSync(join(root, 'docs/benchmarks.md'), page(sections, commit))
}
