/** What the conformance suite must be told of this plugin and its vendor, which is this machine. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { MakeConformance } from '@muster/core/testing'

export const setup: MakeConformance = ({ dir }) => ({
  config: { dir },
  leftovers: (ids) => Promise.resolve(leftovers(dir, ids)),
  without: {
    oom: 'it sets no limits',
    outage: 'there is one machine, and the plugin is on it',
    stall: 'there is no vendor to wait for',
    lateProblem: 'a worker that was accepted runs',
    errorCases: 'it refuses and has conflicts, which tests of their own look at',
  },
})

/** Folders of workers, and processes that know one of them. */
function leftovers(dir: string, ids: readonly string[]): string[] {
  const folders = ids.filter((id) => existsSync(join(dir, id, 'spec')))
  const processes = readdirSync('/proc').filter((pid) => {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8')
      return ids.some((id) => environment.includes(`MINIMAL=${join(dir, id)}\0`))
    } catch {
      // It has ended, or is no process.
      return false
    }
  })
  return [...folders, ...processes]
}
