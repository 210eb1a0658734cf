/** Whether a real system is there for tests: a suite of an absent one is a named skip, or a failure where required. */
import { describe, test } from 'vitest'

/** A system that tests can use, or the reason why there is none. */
export type Presence<S> = { name: string; system: S; absent?: undefined } | { name: string; system?: undefined; absent: string }

/**
 * A suite that needs a real system. Absent: one skipped test that says why; absent though `MUSTER_TEST_REQUIRE` (names
 * with commas between) demands it: one failing test.
 *
 * @example
 * suiteWith(await findDocker(), "containers", (docker) => { test("…", …) });
 */
export function suiteWith<S>(presence: Presence<S>, title: string, define: (system: S) => void): void {
  describe(title, () => {
    if (presence.absent === undefined) {
      define(presence.system)
      return
    }
    const { skip, failure } = verdictOf(presence)
    if (skip !== undefined) test.skip(skip, () => {})
    else {
      test(`needs ${presence.name}`, () => {
        throw new Error(failure)
      })
    }
  })
}

/** Whether a list of names with commas between, by default `MUSTER_TEST_REQUIRE`, demands this system. */
export function isRequired(name: string, required: string = process.env['MUSTER_TEST_REQUIRE'] ?? ''): boolean {
  return required.split(',').some((part) => part.trim() === name)
}

/** What an absent system means: the name of the skipped test, or the message of the failing one. */
export function verdictOf(
  { name, absent }: { name: string; absent: string },
  required?: string,
): { skip: string; failure?: undefined } | { skip?: undefined; failure: string } {
  if (!isRequired(name, required)) return { skip: `needs ${name}, absent: ${absent}` }
  return { failure: `MUSTER_TEST_REQUIRE names ${name}, but it is absent: ${absent}` }
}
