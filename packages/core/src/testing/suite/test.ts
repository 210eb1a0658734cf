/** One test of the suite. */
import type { Bench } from './bench.ts'
import type { Need } from './setup.ts'

export interface SuiteTest {
  /** A sentence; unique in the suite. */
  name: string
  /** Without one of these it is `not declared`. */
  needs?: readonly Need[]
  /** It disturbs the vendor for everybody: nothing else runs beside it. */
  alone?: true
  /** Throws when it fails. */
  run(bench: Bench): Promise<void>
}
