import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { WorkerPluginManifest } from '@muster/core'
import { describeProvider, processPlugin } from '@muster/core/testing'
import { afterAll, describe, expect, it } from 'vitest'
import { setup } from './conformance.ts'
import manifest from './muster-plugin.json' with { type: 'json' }

const source = fileURLToPath(new URL('src/plugin.ts', import.meta.url))
const dir = mkdtempSync(join(tmpdir(), 'muster-minimal-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

it('is no longer than sixty lines', () => {
  expect(readFileSync(source, 'utf8').trimEnd().split('\n').length).toBeLessThanOrEqual(60)
})

describeProvider(
  'the minimal provider',
  {
    manifest: manifest as WorkerPluginManifest,
    start: processPlugin([process.execPath, '--conditions=@muster/source', source]),
    ...(await setup({ dir })),
  },
  { describe, it, afterAll },
)
