import { describe, expect, it } from 'vitest'
import { pluginManifestSchema } from './plugin.ts'
import { fakeManifest } from './testing/fake/plugin.ts'

/** The manifest of the fake plugin with other values at paths, and where the schema finds fault with it. */
function faults(over: Record<string, unknown>): string[] {
  const manifest = structuredClone(fakeManifest()) as unknown as Record<string, unknown>
  for (const [path, value] of Object.entries(over)) {
    const keys = path.split('.')
    const last = keys.pop() ?? ''
    const part = keys.reduce((whole, key) => whole[key] as Record<string, unknown>, manifest)
    part[last] = value
  }
  const { success, error } = pluginManifestSchema.safeParse(manifest)
  return success ? [] : error.issues.map((issue) => issue.path.join('.'))
}

describe('what a plugin may ask of its host', () => {
  it.each([
    ['limits.startMs', 1, 600_000],
    ['limits.retireMs', 1, 300_000],
    ['limits.inFlight', 1, 4096],
    ['limits.heapMb', 16, 1_000_000],
    ['capabilities.visibility.launchMs', 0, 3_600_000],
    ['capabilities.visibility.goneMs', 0, 3_600_000],
    ['capabilities.logs.delayMs', 0, 3_600_000],
  ])('%s is from %i to %i', (path, least, most) => {
    for (const value of [least, most]) expect(faults({ [path]: value })).toEqual([])
    // The largest heap is the deployment's to say.
    for (const value of path === 'limits.heapMb' ? [least - 1] : [least - 1, most + 1])
      expect(faults({ [path]: value })).toEqual([path])
  })

  it.each(['secrets', 'permissions.net', 'permissions.unix', 'permissions.fsRead', 'permissions.fsWrite', 'permissions.env'])(
    '%s has 256 names at most, each of 1024 characters',
    (path) => {
      const names = Array.from({ length: 256 }, (_, one) => String(one).padStart(1024, 'x'))
      expect(faults({ [path]: names })).toEqual([])
      expect(faults({ [path]: [...names, 'x'] })).toEqual([path])
      expect(faults({ [path]: ['x'.repeat(1025)] })).toEqual([`${path}.0`])
    },
  )
})
