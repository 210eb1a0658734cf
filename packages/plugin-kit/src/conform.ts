/** The conformance suite over a packed plugin, unpacked and started as a host would. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { checkProvider, type Outcome, type StartPlugin } from '@muster/core/testing'
import { type Artifact, packAuthor, readArtifact, unpackTo } from './artifact.ts'
import { type AuthorFolder, openAuthor } from './author.ts'
import { PluginFault } from './finding.ts'
import { startUnpacked } from './launch.ts'
import { type ConformanceReport, reportOf, tested } from './report.ts'
import { readSetup } from './setup.ts'

export interface ConformOptions {
  /** A packed plugin; default: what lies in the folder is packed. */
  tarball?: string
  /** Of what to tell the suite; default: `conformance.json`, or a module of that name. */
  setup?: string
  /** Only tests with this in their name. */
  only?: string
  /** How many tests at once. */
  parallel?: number
  onOutcome?(outcome: Outcome): void
  /** How a process of it is started; default: as a host starts it. */
  start?(unpacked: AuthorFolder, place: { home: string; dir: string }): StartPlugin
  /** When all processes have ended, before what they left is removed. */
  ended?(): Promise<void>
}

/** Error: PluginFault, when the suite cannot even begin. */
export async function conform(folder: string, options: ConformOptions = {}): Promise<ConformanceReport> {
  const startedAt = new Date()
  const artifact = await artifactOf(folder, options.tarball)
  const home = await mkdtemp(join(tmpdir(), 'muster-plugin-'))
  try {
    const unpacked = await unpackTo(join(home, 'package'), artifact)
    const { manifest } = unpacked
    if (manifest.kind !== tested)
      throw new PluginFault({
        place: unpacked.manifestAt(['kind']),
        reason: `there is no conformance suite for a ${manifest.kind} yet`,
        fix: 'test it as your own code',
      })
    const dir = join(home, 'vendor')
    await mkdir(dir)
    const { stop, ...setup } = await readSetup(folder, { dir, ...(options.setup === undefined ? {} : { file: options.setup }) })
    const { only, parallel, onOutcome, start = startUnpacked } = options
    try {
      const outcomes = await checkProvider(
        { ...setup, manifest, start: start(unpacked, { home, dir }) },
        {
          ...(only === undefined ? {} : { only: ({ name }) => name.includes(only) }),
          ...(parallel === undefined ? {} : { parallel }),
          ...(onOutcome === undefined ? {} : { onOutcome }),
        },
      )
      await options.ended?.()
      return reportOf({ artifact, manifest, outcomes, partial: only !== undefined, startedAt })
    } finally {
      await stop?.()
    }
  } finally {
    await rm(home, { recursive: true, force: true })
  }
}

async function artifactOf(folder: string, tarball: string | undefined): Promise<Artifact> {
  return tarball === undefined ? await packAuthor(await openAuthor(folder)) : await readArtifact(tarball)
}
