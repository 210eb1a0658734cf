#!/usr/bin/env node
// `create-plugin`. The repository's own tests run the sources, so that coverage counts their lines.
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const { engines } = JSON.parse(readFileSync(join(here, '../package.json'), 'utf8'))
const needed = Number.parseInt(engines.node.replace('>=', ''), 10)
const source = process.env['MUSTER_SOURCE'] === '1' ? join(here, '../src/cli.ts') : undefined
const built = join(here, '../dist/cli.js')

if (Number.parseInt(process.versions.node, 10) < needed)
  stop(`it needs Node ${needed} or newer; this is ${process.versions.node}`)
else if (source !== undefined)
  process.execve?.(
    process.execPath,
    [process.execPath, '--conditions=@muster/source', source, ...process.argv.slice(2)],
    process.env,
  )
else if (existsSync(built)) await import(built)
else stop('it is not built: run `pnpm build`')

/** @param {string} reason */
function stop(reason) {
  console.error(`create-plugin: ${reason}`)
  process.exit(1)
}
