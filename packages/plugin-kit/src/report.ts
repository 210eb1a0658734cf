/** What the suite said of one artifact: kept beside it, read by others. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { contractVersion, type PluginManifest } from '@muster/core'
import { conformanceTests, type Outcome } from '@muster/core/testing'
import type { Artifact } from './artifact.ts'

export interface ConformanceReport {
  schema: 1
  /** `partial`: not all tests were asked for; it says nothing of the whole. */
  result: 'pass' | 'fail' | 'partial'
  artifact: { package: string; version: string; size: number; sha512: string; tree: string }
  suite: { package: string; version: string; contract: string; tests: number }
  capabilities: PluginManifest['capabilities']
  machine: { node: string; platform: string; arch: string }
  /** ISO 8601. */
  startedAt: string
  ms: number
  tests: ReportedTest[]
}

export interface ReportedTest extends Outcome {
  /** Capabilities, fields and hooks it needs. */
  needs: string[]
}

export interface ReportOf {
  artifact: Artifact
  manifest: PluginManifest
  outcomes: readonly Outcome[]
  /** Not all of them were asked for. */
  partial: boolean
  startedAt: Date
}

export function reportOf({ artifact, manifest, outcomes, partial, startedAt }: ReportOf): ConformanceReport {
  const needs = new Map(conformanceTests.map((test) => [test.name, [...(test.needs ?? [])]]))
  const failed = outcomes.some(({ outcome }) => outcome === 'fail')
  const { size, sha512, tree } = artifact
  return {
    schema: 1,
    result: failed ? 'fail' : partial ? 'partial' : 'pass',
    artifact: { package: manifest.name, version: manifest.version, size, sha512, tree },
    suite: { ...suite(), contract: contractVersion, tests: outcomes.length },
    capabilities: manifest.capabilities,
    machine: { node: process.version, platform: process.platform, arch: process.arch },
    startedAt: startedAt.toISOString(),
    ms: Date.now() - startedAt.getTime(),
    tests: outcomes.map((one) => ({ ...one, needs: needs.get(one.name) ?? [] })),
  }
}

/** The package that the suite comes from. */
function suite(): { package: string; version: string } {
  const file = fileURLToPath(import.meta.resolve('@muster/core/package.json'))
  const { name, version } = JSON.parse(readFileSync(file, 'utf8')) as { name: string; version: string }
  return { package: name, version }
}
