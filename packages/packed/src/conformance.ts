/** The report of the conformance suite that a packed plugin brings along: what it is of, and what its author says by it. */
import * as z from 'zod'
import { sha512Of, treeOf } from './digest.ts'

/** Where it lies in a package. */
export const reportFile = 'conformance-report.json'

/** Some 70 tests with a few lines of failure each are a tenth of it. */
const maxReportBytes = 2 ** 20

/** The author's word: nobody else has run the suite. */
export interface ConformanceClaim {
  /** `partial`: not all tests were asked for. */
  result: 'pass' | 'fail' | 'partial'
  /** Version of the contract. */
  contract: string
  /** Package and version that the suite came from. */
  suite: string
  /** When it began, ISO 8601. */
  at: string
  passed: number
  failed: number
  notDeclared: number
  /** SHA-512 of the report as it lies in the package; absent in a lock that was written before it was kept there. */
  report?: string
}

/** `unfit`: it is of other files, or no report at all; it says nothing then. */
export type Conformance = ConformanceClaim | { result: 'unfit'; reason: string }

/** Digest of all files of a package but the report, which is of exactly these. */
export function testedTree(files: ReadonlyMap<string, Uint8Array>): string {
  return treeOf(new Map([...files].filter(([path]) => path !== reportFile)))
}

const short = z.string().regex(/^[\w@./+-]{1,100}$/)
const reportSchema = z.object({
  schema: z.literal(1),
  result: z.enum(['pass', 'fail', 'partial']),
  artifact: z.object({ package: z.string(), version: z.string(), tree: z.string() }),
  suite: z.object({ package: short, version: short, contract: short }),
  startedAt: z.iso.datetime(),
  tests: z.array(z.object({ name: z.string(), outcome: z.enum(['pass', 'fail', 'not declared']) })),
})

/** What the report in a package says, once it is of these very files. Undefined: there is none. */
export function conformanceOf(
  files: ReadonlyMap<string, Uint8Array>,
  { name, version }: { name: string; version: string },
): Conformance | undefined {
  const bytes = files.get(reportFile)
  if (bytes === undefined) return undefined
  const unfit = (reason: string): Conformance => ({ result: 'unfit', reason })
  const parsed = reportSchema.safeParse(jsonOf(bytes))
  if (!parsed.success) return unfit('it cannot be read as a report of the suite')
  const { artifact, result, suite, startedAt, tests } = parsed.data
  if (artifact.package !== name || artifact.version !== version)
    return unfit(`it is of ${artifact.package.slice(0, 100)}@${artifact.version.slice(0, 100)}`.replaceAll(/[^\w@./+ -]/g, '?'))
  if (artifact.tree !== testedTree(files)) return unfit('it is of other files than these')
  const count = (wanted: string): number => tests.filter(({ outcome }) => outcome === wanted).length
  const [passed, failed, notDeclared] = [count('pass'), count('fail'), count('not declared')]
  return {
    // One word at its head does not outweigh what stands below it.
    result: failed > 0 ? 'fail' : result === 'pass' && passed === 0 ? 'partial' : result,
    contract: suite.contract,
    suite: `${suite.package}@${suite.version}`,
    at: startedAt,
    ...{ passed, failed, notDeclared },
    report: sha512Of(bytes),
  }
}

function jsonOf(bytes: Uint8Array): unknown {
  if (bytes.length > maxReportBytes) return undefined
  try {
    return JSON.parse(Buffer.from(bytes).toString())
  } catch {
    return undefined
  }
}
