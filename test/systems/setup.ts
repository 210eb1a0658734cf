/**
 * vitest's global set-up where real systems are used: one engine for the whole run, if none is there and one can be
 * started. Test files find it by `findDocker()`.
 */
import { cannotStartDocker, DOCKER_FAILED, findDocker, startDocker, sweepDocker } from './docker.ts'
import { waitFor } from './wait.ts'

export async function setup(): Promise<(() => Promise<void>) | undefined> {
  await sweepDocker()
  const { absent } = await findDocker()
  const named = process.env['MUSTER_TEST_DOCKER'] ?? process.env['DOCKER_HOST'] ?? ''
  if (absent === undefined || named !== '' || cannotStartDocker() !== undefined) return undefined
  try {
    const engine = await startDocker({ network: 'host' })
    process.env['MUSTER_TEST_DOCKER'] = engine.host
    const before: ReadonlySet<string> = new Set(await engine.holds())
    return async () => {
      delete process.env['MUSTER_TEST_DOCKER']
      const left = async (): Promise<string[]> => (await engine.holds()).filter((line) => !before.has(line))
      try {
        // The engine was new: whatever is there now a test has left behind. The kernel takes interfaces away a moment later.
        await waitFor('the engine to hold what it held when it was new', left, {
          until: (lines) => lines.length === 0,
          timeoutMs: 30_000,
        })
      } catch (cause) {
        throw new Error(`tests left on the engine:\n${(await left()).join('\n')}`, { cause })
      } finally {
        await engine.stop()
      }
    }
  } catch (error) {
    // Not this run's failure: tests without Docker go on, those with it are skipped by this name, or fail if required.
    process.env[DOCKER_FAILED] = (error as Error).message
    return undefined
  }
}
