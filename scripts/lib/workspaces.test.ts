import { expect, test } from 'vitest'
import { builtWorkspaces, manifestOf, workspaces } from './workspaces.mjs'

test('a package without a build is not waited for: what is built already would be built with each start', () => {
  const built = builtWorkspaces()
  expect(built).toContain('apps/host')
  expect(built).not.toContain('packages/provider-parts')
  for (const folder of workspaces()) expect(built.includes(folder)).toBe('build' in (manifestOf(folder).scripts ?? {}))
})
