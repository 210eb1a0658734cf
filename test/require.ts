/** What a single test needs of the machine: absent is a named skip, or a failure where `MUSTER_TEST_REQUIRE` demands it. */
import type { TestContext } from 'vitest'
import { verdictOf } from './systems/presence.ts'

/** For {@link requireSystem}: what only root may. */
export const root = {
  name: 'root',
  probe: (): string | undefined => (process.getuid?.() === 0 ? undefined : 'this user is not root'),
}

/**
 * Ends the running test as a skip that names its reason unless the system is there; a failure when it is required.
 *
 * `probe` answers undefined when all is there, else the reason as text. For a whole suite see `suiteWith` of systems/presence.ts.
 *
 * @example
 * test('limits memory', async (context) => {
 *   await requireSystem(context, { name: 'cgroup', probe: () => cgroupProblem() })
 *   …
 * })
 */
export async function requireSystem(
  context: Pick<TestContext, 'skip'>,
  system: { name: string; probe: () => string | undefined | Promise<string | undefined> },
): Promise<void> {
  const absent = await system.probe()
  if (absent === undefined) return
  const { skip, failure } = verdictOf({ name: system.name, absent }, process.env['MUSTER_TEST_REQUIRE'])
  if (failure !== undefined) throw new Error(failure)
  context.skip(skip)
}
