import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { WorkerPluginManifest } from '@muster/core'
import { describeProvider, processPlugin } from '@muster/core/testing'
import { afterAll, describe, expect, it } from 'vitest'
import manifest from './muster-plugin.json' with { type: 'json' }

const source = fileURLToPath(new URL('src/plugin.ts', import.meta.url))
const dir = mkdtempSync(join(tmpdir(), 'muster-minimal-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

it('is no longer than sixty lines', () => {
  expect(readFileSync(source, 'utf8').trimEnd().split('\n').length).toBeLessThanOrEqual(60)
})

/** Folders of workers, and processes that know one of them. */
function leftovers(ids: readonly string[]): Promise<string[]> {
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
  return Promise.resolve([...folders, ...processes])
}

describeProvider(
  'the minimal provider',
  {
    manifest: manifest as WorkerPluginManifest,
    start: processPlugin([process.execPath, '--conditions=@muster/source', source]),
    config: { dir },
    leftovers,
    without: {
      oom: 'it sets no limits',
      outage: 'there is one machine, and the plugin is on it',
      stall: 'there is no vendor to wait for',
      lateProblem: 'a worker that was accepted runs',
      errorCases: 'it refuses and has conflicts, which tests of their own look at',
    },
  },
  { describe, it, afterAll },
)
