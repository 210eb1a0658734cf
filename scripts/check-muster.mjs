// `pnpm check:muster [--artifacts DIR] [--only JOB]`: Muster checks itself on Muster. Lint, types and the unit tests are runs on local workers
// of a daemon that is started for it, by the pipeline file at the top. With MUSTER_TEST_TOTALS each job counts there as a test.
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { hookSignals, musterOf, runPipeline, showOnTerminal } from '@muster/pipeline'
import { withOwnWorkers } from './lib/own-workers.mjs'
import { root } from './lib/paths.mjs'
import { totalsLine } from './lib/totals.mjs'

const { values } = parseArgs({
  options: { artifacts: { type: 'string' }, only: { type: 'string', multiple: true, default: [] } },
})
const cancel = new AbortController()
const force = new AbortController()
const unhook = hookSignals(cancel, force)
const show = showOnTerminal(process)
try {
  process.exitCode = await withOwnWorkers(async ({ client }) => {
    const result = await runPipeline(join(root, 'muster.pipeline.yaml'), {
      muster: musterOf(client),
      pool: 'check',
      // All that is wrong, not only what comes first.
      keepGoing: true,
      only: values.only,
      onEvent: show,
      cancel: cancel.signal,
      force: force.signal,
      ...(values.artifacts === undefined ? {} : { artifacts: values.artifacts }),
    })
    const passed = result.jobs.filter((job) => job.outcome === 'passed').length
    const totals = process.env['MUSTER_TEST_TOTALS']
    if (totals) appendFileSync(totals, `${totalsLine({ passed, failed: result.jobs.length - passed, skipped: 0 })}\n`)
    return result.exitCode
  })
} catch (error) {
  console.error(`check:muster: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
} finally {
  show.close()
  unhook()
}
