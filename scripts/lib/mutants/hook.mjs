// Loaded into a test's process: one source file is read with a mutant in it, the file itself stays as it is. Leaves a mark when it was
// read: a test that fails without it has found something else.
import { readFileSync, writeFileSync } from 'node:fs'
import { registerHooks } from 'node:module'

const planted = process.env['MUSTER_MUTANT']
if (planted !== undefined) {
  /** @type {import('./vitest.mjs').Planted} */
  const { url, source, mark } = JSON.parse(readFileSync(planted, 'utf8'))
  registerHooks({
    load(asked, context, next) {
      const loaded = next(asked, context)
      if (asked.split('?', 1)[0] !== url) return loaded
      writeFileSync(mark, '')
      return { ...loaded, source }
    },
  })
}
