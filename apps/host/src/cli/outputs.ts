/** Outputs of a run that has ended, as files here: at its end, and for as long as they are kept. */
import { resolve } from 'node:path'
import { type MusterClient, MusterError, type Run } from '@muster/client'
import type { Command } from 'commander'
import { acting, openClient, subcommand, tell } from './context.ts'
import { exits, print, printJson, say } from './io.ts'

export interface Saving {
  outputDir: string
  quiet?: boolean | undefined
  /** What is there is replaced, as a whole. */
  force?: true | undefined
}

/** One that cannot be saved keeps none of the others away. False: not all are here. */
export async function saveOutputs(client: MusterClient, ended: Run, { outputDir, quiet, force }: Saving): Promise<boolean> {
  let whole = true
  for (const { name, path, direction, state, bytes, sha256 } of ended.artifacts) {
    if (direction !== 'out') continue
    // Absent, or closed to whoever ran the command: which of them, the run's own reason says.
    if (state !== 'stored') {
      say(`output ${name}: ${state === 'dropped' ? 'it is kept no longer' : `nothing came from ${path}`}`)
      continue
    }
    const onSkipped = (entry: string): void => say(`output ${name}: left out ${entry}`)
    try {
      await client.runs.saveOutput(ended.id, { name, target: resolve(outputDir, name), replace: force === true, onSkipped })
      if (quiet !== true) say(`output ${name}: ${bytes ?? 0} bytes, sha256 ${sha256 ?? 'unknown'}`)
    } catch (error) {
      whole = false
      say(`${ended.outcome === 'passed' ? 'it passed, but its' : 'its'} output ${name} could not be saved:`)
      tell(error, exits.infrastructure)
    }
  }
  return whole
}

interface Options extends Saving {
  json?: true
  list?: true
}

/** The exit code: that of a failure where one that is wanted is not here. */
export async function fetchOutputs(client: MusterClient, id: string, wanted: { names: string[] } & Options): Promise<number> {
  const { names, json, list } = wanted
  const run = await client.runs.get(id)
  const all = run.artifacts.filter((one) => one.direction === 'out')
  const unknown = names.find((name) => !all.some((one) => one.name === name))
  if (unknown !== undefined)
    throw new MusterError('not-found', `run ${id} has no output ${unknown}`, {
      hint: all.length === 0 ? 'It was asked for none.' : `There are: ${all.map(({ name }) => name).join(', ')}.`,
    })
  const chosen = names.length === 0 ? all : all.filter(({ name }) => names.includes(name))
  if (json === true) printJson({ outputs: chosen })
  else if (list === true) for (const { name, state, path, bytes } of chosen) print(`${name}  ${state}  ${path}  ${bytes ?? ''}`)
  if (json === true || list === true) return exits.ok
  if (run.state !== 'ended')
    throw new MusterError('not-ready', `run ${id} is ${run.state}: its outputs are there once it has ended`, {
      hint: `Follow it with: muster runs attach ${id}.`,
    })
  if (chosen.length === 0) say(`run ${id} was asked for no outputs`)
  const whole = await saveOutputs(client, { ...run, artifacts: chosen }, wanted)
  return whole && chosen.every(({ state }) => state === 'stored') ? exits.ok : exits.failed
}

export function outputsCommand(): Command {
  return subcommand('outputs', 'fetch the outputs of a run that has ended, for as long as they are kept')
    .argument('<run>')
    .argument('[name...]', 'these alone')
    .option('--output-dir <dir>', 'there instead of here', '.')
    .option('--force', 'replace what is there, as a whole')
    .option('-q, --quiet', 'say nothing of what is saved')
    .option('--list', 'show them, and save none')
    .option('--json', 'as --list, as JSON')
    .action(
      acting(async ([id, names]: [string, string[]], options: Options, command: Command) =>
        fetchOutputs(await openClient(command), id, { names, ...options }),
      ),
    )
}
