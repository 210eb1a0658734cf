/** Worker provider that misbehaves on request: the fake provider of `@muster/core/testing` as a plugin package. */
import { readFileSync } from 'node:fs'
import type { WorkerPlugin, WorkerPluginManifest } from '@muster/core'
import { type FakeConfig, fakePlugin } from '@muster/core/testing'

// Read, not bundled: a copy of this package with another manifest is a provider with other capabilities.
const manifest = JSON.parse(readFileSync(new URL('../muster-plugin.json', import.meta.url), 'utf8')) as WorkerPluginManifest

export const plugin: WorkerPlugin<FakeConfig> = fakePlugin({ manifest })

export default plugin
