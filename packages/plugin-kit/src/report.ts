/** What the suite said of one plugin: packed with it, read by others. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { contractVersion, type PluginManifest } from '@muster/core'
import { conformanceTests, type Outcome } from '@muster/core/testing'
import { testedTree } from '@muster/packed/conformance'
import type { Artifact } from './artifact.ts'

/** The kind of plugins that there is a suite for. */
export const tested = 'worker-provider'

export interface ConformanceReport {
  schema: 1
  /** `partial`: not all tests were asked for; it says nothing of the whole. */
  result: 'pass' | 'fail' | 'partial'
  /** `tree`: digest of all its files but this report. */
  artifact: { package: string; version: string; tree: string }
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
  return {
    schema: 1,
    result: failed ? 'fail' : partial ? 'partial' : 'pass',
    artifact: { package: manifest.name, version: manifest.version, tree: testedTree(artifact.files) },
    suite: { ...suite(), contract: contractVersion, tests: outcomes.length },
    capabilities: manifest.capabilities,
    machine: { node: process.version, platform: process.platform, arch: process.arch },
    startedAt: startedAt.toISOString(),
    ms: Date.now() - startedAt.getTime(),
    tests: outcomes.map((one) => ({ ...one, needs: needs.get(one.name) ?? [] })),
  }
}

/** The package that the suite comes from. */
export function suite(): { package: string; version: string } {
  const file = fileURLToPath(import.meta.resolve('@muster/core/package.json'))
  const { name, version } = JSON.parse(readFileSync(file, 'utf8')) as { name: string; version: string }
  return { package: name, version }
}
