/** The suite over a plugin that is watched: what it uses of the machine, compared with what its manifest asks for. */
import { existsSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { PluginPermissions } from '@muster/core'
import type { Outcome } from '@muster/core/testing'
import { packAuthor } from '../artifact.ts'
import { openAuthor } from '../author.ts'
import { conform } from '../conform.ts'
import { type Finding, PluginFault } from '../finding.ts'
import { startWatched } from '../launch.ts'
import { type Excepted, judge, type Judged, listKinds, type Use, type Used } from './judge.ts'
import { sourcesOf } from './places.ts'
import { usesIn } from './uses.ts'

export interface AuditOptions {
  setup?: string
  /** Its main module, for lines of the sources. */
  source?: string
  /** Only tests with this in their name: what is not used is not judged then. */
  only?: string
  /** `KIND:VALUE`, with `*` for any end of it. */
  except?: readonly string[]
  onOutcome?(outcome: Outcome): void
}

export interface Audit {
  findings: Finding[]
  /** What it was seen to use, by the entry of a manifest that it would be for. */
  used: Used[]
  asked: PluginPermissions
  /** What would do; absent with some tests only. */
  least?: PluginPermissions
}

/** Of sources, or bundled beside the command. */
function recorder(): URL {
  const built = new URL('./recorder.js', import.meta.url)
  return existsSync(built) ? built : new URL('./recorder.ts', import.meta.url)
}

/** Error: PluginFault, when a test fails, or nothing can be seen. */
export async function auditPlugin(folder: string, { except = [], source, only, ...options }: AuditOptions): Promise<Audit> {
  const author = await openAuthor(folder)
  const excepted = exceptedBy(except)
  const ends: { name: string; at: number }[] = []
  const seen: Use[] = []
  const shown = await sourcesOf(author, await packAuthor(author), source)
  let where = { dir: '', temp: tmpdir() }
  let collect = async (): Promise<void> => undefined
  const report = await conform(folder, {
    ...options,
    ...(only === undefined ? {} : { only }),
    // One at a time: what is seen meanwhile is of that test.
    parallel: 1,
    start(unpacked, { home, dir }) {
      where = { ...where, dir }
      const to = join(home, 'uses')
      mkdirSync(to, { mode: 0o700 })
      const testAt = (at: number): string => ends.find((one) => at <= one.at)?.name ?? 'the end of the suite'
      collect = async () => void seen.push(...(await usesIn(to, { code: unpacked.folder, testAt, source: shown })))
      const url = recorder()
      url.searchParams.set('to', to)
      return startWatched(unpacked, url)
    },
    onOutcome(outcome) {
      ends.push({ name: outcome.name, at: Date.now() })
      options.onOutcome?.(outcome)
    },
    ended: () => collect(),
  })
  const failed = report.tests.filter(({ outcome }) => outcome === 'fail').map(({ name }) => name)
  if (failed.length > 0)
    throw new PluginFault({
      place: failed.join('; '),
      reason: 'what a test would have used that failed is not known',
      fix: 'mend it first: muster-plugin test',
    })
  const { permissions } = author.manifest
  const judged = judge(seen, permissions, { where, excepted })
  const found = judged.undeclared.map(undeclaredFinding)
  if (only !== undefined) return { findings: found, used: judged.used, asked: permissions }
  const unused = judged.unused.map((one) => unusedFinding(one, author.manifestAt))
  return { findings: [...found, ...unused], used: judged.used, asked: permissions, least: judged.least }
}

function undeclaredFinding({ kind, value, asks, test, place }: Used): Finding {
  const where = { place: place ?? 'a line that is not known' }
  if (kind === 'never')
    return {
      ...where,
      reason: `in the test '${test}' it uses ${value}, which no host allows a plugin that it keeps in`,
      fix: 'do it without',
    }
  const entry = kind === 'childProcess' ? '"childProcess": true' : `${JSON.stringify(asks)} in "${kind}"`
  return {
    ...where,
    reason: `in the test '${test}' it ${verbs[kind]} ${value}, and its manifest does not ask for that`,
    fix: `ask for ${entry}, as muster-plugin audit --write does; or take it out of the code; or say why not: --except '${kind}:${asks}'`,
  }
}

const verbs = {
  net: 'connects to or listens at',
  unix: 'connects to or listens at',
  fsRead: 'reads',
  fsWrite: 'writes',
  env: 'reads the variable',
  childProcess: 'starts',
} as const

function unusedFinding(
  { kind, value, index, because }: Judged['unused'][number],
  at: (path: readonly (string | number)[]) => string,
): Finding {
  return {
    place: at(kind === 'childProcess' ? ['permissions', kind] : ['permissions', kind, index]),
    reason: `it asks for ${kind} ${value}, and ${because}`,
    fix: `take it out, as muster-plugin audit --write does; or, where the suite cannot come there: --except '${kind}:${value}'`,
  }
}

/** Error: PluginFault. */
function exceptedBy(texts: readonly string[]): Excepted {
  const all = texts.map((text) => {
    const [kind = '', ...rest] = text.split(':')
    if (![...listKinds, 'childProcess', 'never'].includes(kind))
      throw new PluginFault({
        place: '--except',
        reason: `'${kind}' is no kind of permission`,
        fix: `write one of ${listKinds.join(', ')} and childProcess, as env:HOME`,
      })
    return { kind, value: rest.length === 0 ? '*' : rest.join(':') }
  })
  return (kind, value) =>
    all.some(
      (one) =>
        one.kind === kind && (one.value === value || (one.value.endsWith('*') && value.startsWith(one.value.slice(0, -1)))),
    )
}
