// The public API of @muster/core as a file in review, etc/core.api.md. `pnpm api` writes it; --check fails when it is not up to date.
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { cache, root } from './lib/paths.mjs'

mkdirSync(join(cache, 'api'), { recursive: true })
mkdirSync(join(root, 'etc'), { recursive: true })
const extractor = join(root, 'node_modules/.bin/api-extractor')
const core = join(root, 'packages/core')
const checking = process.argv.includes('--check')
const types = spawnSync(join(root, 'node_modules/.bin/tsc'), ['-b', core], { stdio: 'inherit' })
const report =
  types.status === 0 ? spawnSync(extractor, ['run', ...(checking ? [] : ['--local'])], { cwd: core, stdio: 'inherit' }) : types
if (report.status !== 0 && checking)
  console.log('The API of @muster/core changed: run `pnpm api` and commit etc/core.api.md with the change.')
process.exitCode = report.status ?? 1
