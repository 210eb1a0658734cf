import { readFile } from 'node:fs/promises'
import { pluginManifestSchema } from '@muster/core'
import { fakeManifest } from '@muster/core/testing'
import { expect, it } from 'vitest'

it('has the manifest of the fake provider, schemas and capabilities alike', async () => {
  const file = JSON.parse(await readFile(new URL('../muster-plugin.json', import.meta.url), 'utf8')) as unknown
  expect(pluginManifestSchema.parse(file)).toEqual(fakeManifest())
})
