/**
 * vitest's global set-up where real systems are used: one engine for the whole run, if none is there and one can be
 * started. Test files find it by `findDocker()`.
 */
import { cannotStartDocker, DOCKER_FAILED, findDocker, startDocker, sweepDocker } from './docker.ts'
import { leftOn } from './inventory.ts'

export async function setup(): Promise<(() => Promise<void>) | undefined> {
  await sweepDocker()
  const { absent } = await findDocker()
  const named = process.env['MUSTER_TEST_DOCKER'] ?? process.env['DOCKER_HOST'] ?? ''
  if (absent === undefined || named !== '' || cannotStartDocker() !== undefined) return undefined
  try {
    const engine = await startDocker({ network: 'host' })
    process.env['MUSTER_TEST_DOCKER'] = engine.host
    return async () => {
      delete process.env['MUSTER_TEST_DOCKER']
      let left: string[] = []
      try {
        left = await leftOn(engine.socket)
      } finally {
        await engine.stop()
      }
      // The engine was new: whatever is there now a test has left behind.
      if (left.length > 0) throw new Error(`tests left on the engine:\n${left.join('\n')}`)
    }
  } catch (error) {
    // Not this run's failure: tests without Docker go on, those with it are skipped by this name, or fail if required.
    process.env[DOCKER_FAILED] = (error as Error).message
    return undefined
  }
}
