#!/usr/bin/env node
/** `muster-pipeline run FILE`, `muster-pipeline check FILE`. Exit codes: the pipeline's; 2 for a wrong call or a wrong file. */
import { connect, discover, isMusterError } from '@muster/client'
import { Command, CommanderError } from 'commander'
import type { PipelineEvent } from './events.ts'
import { loadPipeline } from './file/load.ts'
import { PipelineFileError } from './file/problem.ts'
import { musterOf } from './muster.ts'
import { PoolMissingError, runPlan } from './run.ts'
import { jsonOf } from './show/json.ts'
import { OutputClosedError, writeTo } from './show/output.ts'
import { type Show, showOnTerminal } from './show/terminal.ts'
import { hookSignals } from './signals.ts'
import { WorkspaceError } from './transfer/scan.ts'

interface RunFlags {
  pool?: string
  only: string[]
  keepGoing?: boolean
  json?: boolean
  parallel?: number
  artifacts?: string
  config?: string
  data?: string
}

const USAGE = 2
const INFRASTRUCTURE = 125

process.exitCode = await main(process.argv.slice(2))

async function main(args: readonly string[]): Promise<number> {
  let code = 0
  const program = new Command('muster-pipeline')
    .description("Runs a pipeline file on Muster's workers.")
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
  program
    .command('run')
    .description('Runs a pipeline and shows it live.')
    .argument('<file>', 'the pipeline')
    .option('--pool <name>', 'pool of all jobs that name none')
    .option(
      '--only <job>',
      'only this job and what it needs; may be given again',
      (job: string, jobs: string[]) => [...jobs, job],
      [],
    )
    .option('--keep-going', 'after a failure, go on with what does not need the failed job')
    .option('--parallel <n>', 'jobs at once', wholeNumber)
    .option('--artifacts <folder>', 'keep the artifacts here, as tars')
    .option('--json', 'events instead of text, one JSON object a line')
    .option('-c, --config <file>', 'the muster.yaml of the daemon; default: the nearest')
    .option('--data <folder>', 'the data folder of the daemon')
    .action(async (file: string, flags: RunFlags) => {
      code = await run(file, flags)
    })
  program
    .command('check')
    .description('Says all that is wrong with a pipeline file.')
    .argument('<file>', 'the pipeline')
    .action(async (file: string) => {
      const plan = await loadPipeline(file)
      for (const job of plan.jobs) console.log(job.needs.length === 0 ? job.id : `${job.id}, after ${job.needs.join(', ')}`)
    })
  try {
    await program.parseAsync(args, { from: 'user' })
    return code
  } catch (error) {
    return explain(error)
  }
}

async function run(file: string, flags: RunFlags): Promise<number> {
  const plan = await loadPipeline(file)
  const { pool, only, keepGoing, parallel, artifacts, config, data } = flags
  const address = await discover({ ...(config === undefined ? {} : { config }), ...(data === undefined ? {} : { data }) })
  const client = connect(address, {
    traceparent: () => process.env['TRACEPARENT'] || undefined,
    onWait: ({ message }) =>
      console.error(`muster-pipeline: the daemon has put this off: ${message}; waiting for it, at most a minute`),
  })
  const [cancel, force] = [new AbortController(), new AbortController()]
  const unhook = hookSignals(cancel, force)
  const show = flags.json === true ? showJson() : showOnTerminal(process)
  try {
    const result = await runPlan(plan, {
      muster: musterOf(client),
      only,
      cancel: cancel.signal,
      force: force.signal,
      onEvent: show,
      ...(pool === undefined ? {} : { pool }),
      ...(keepGoing === undefined ? {} : { keepGoing }),
      ...(parallel === undefined ? {} : { parallel }),
      ...(artifacts === undefined ? {} : { artifacts }),
    })
    return result.exitCode
  } finally {
    show.close()
    unhook()
    client.close()
  }
}

function showJson(): Show {
  return Object.assign((event: PipelineEvent) => writeTo(process.stdout, `${jsonOf(event)}\n`), { close: () => undefined })
}

function wholeNumber(text: string): number {
  const number = Number(text)
  if (!Number.isInteger(number) || number < 1) throw new CommanderError(USAGE, 'muster.number', `'${text}' is no number of jobs`)
  return number
}

function explain(error: unknown): number {
  if (error instanceof CommanderError) {
    if (error.code === 'muster.number') console.error(`muster-pipeline: ${error.message}`)
    return error.exitCode === 0 ? 0 : USAGE
  }
  if (error instanceof PipelineFileError) {
    console.error(error.message)
    return USAGE
  }
  if (error instanceof RangeError || error instanceof PoolMissingError || error instanceof WorkspaceError) {
    console.error(`muster-pipeline: ${error.message}`)
    return USAGE
  }
  if (isMusterError(error)) {
    console.error(`muster-pipeline: ${error.message}${error.hint === undefined ? '' : `\n  ${error.hint}`}`)
    return INFRASTRUCTURE
  }
  if (error instanceof OutputClosedError) return INFRASTRUCTURE
  throw error
}
