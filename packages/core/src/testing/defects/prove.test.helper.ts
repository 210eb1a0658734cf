/**
 * The proof of one topic's defects: each is caught by the test named for it, and by no other. That no other catches it takes a whole suite
 * each; without `MUSTER_PROVE_DEFECTS=all` every fifth one is proved whole, the rest against its own test.
 */
import { describe, expect, it } from 'vitest'
import { outcomesWith } from './all.test.helper.ts'
import { lastTest } from '../suite/last.ts'
import type { Defect } from './defect.test.helper.ts'

/** A whole suite, on a machine that has other things to do. */
const timeoutMs = 300_000

const all = process.env['MUSTER_PROVE_DEFECTS'] === 'all'
/** Of each topic the first, the sixth, …: some whole proof of every topic in every run. */
const wholeEvery = 5

/** What the last test finds is left by the others. */
function caughtByAll({ caughtBy }: Defect): boolean {
  return caughtBy === lastTest.name
}

export function proveDefects(topic: string, defects: readonly Defect[]): void {
  describe(`seeded defects of ${topic}`, () => {
    it.each(
      defects.map((defect, index) => ({ ...defect, defect, whole: all || index % wholeEvery === 0 || caughtByAll(defect) })),
    )(
      '$name: caught by "$caughtBy" alone',
      async ({ defect, whole }) => {
        const outcomes = await outcomesWith(defect, whole ? undefined : defect.caughtBy)
        const failed = outcomes.filter(({ outcome }) => outcome === 'fail')
        // What should not have failed says why it did.
        const seen = failed.map(({ name, detail }) => (name === defect.caughtBy ? name : `${name}: ${detail}`))
        expect(seen).toEqual([defect.caughtBy])
      },
      timeoutMs,
    )
  })
}
