/** `muster apply`: the configuration as it is now, without a restart. */
import type { MusterError } from '@muster/client'
import type { Command } from 'commander'
import { acting, openClient, subcommand, tellingCut, withProgress } from './context.ts'
import { bold, dim, exits, print, printJson, say, state } from './io.ts'

interface Options {
  dryRun?: true
  json?: true
}

export function applyCommand(): Command {
  return subcommand('apply', 'let the daemon read muster.yaml and plugins.json again, and apply what differs')
    .option('-n, --dry-run', 'only show what would change')
    .option('--json', 'as JSON')
    .action(acting(async (_args: [], options: Options, command: Command) => apply(options, command)))
}

async function apply({ dryRun, json }: Options, command: Command): Promise<number> {
  const client = await openClient(command)
  try {
    const { applied, changes } = await withProgress(
      'starting what is new …',
      client.apply({ dryRun: dryRun === true }, cut(dryRun === true)),
    )
    if (json === true) {
      printJson({ applied, changes })
      return exits.ok
    }
    for (const { path, kind, before, after, effect } of changes) {
      const values = before === undefined && after === undefined ? '' : ` ${before ?? '(default)'} → ${after ?? '(default)'}`
      print(
        `${signs[kind]} ${bold(path)}${kind === 'changed' || values === '' ? values : ` ${after ?? before ?? ''}`}  ${dim(effect)}`,
      )
    }
    if (changes.length === 0) say('nothing differs from what runs')
    else if (applied) say('in force')
    else say('nothing was changed; apply it with: muster apply')
    return exits.ok
  } catch (error) {
    const { problem } = error as Partial<MusterError>
    if (problem?.code !== 'config-refused') throw error
    if (json === true) printJson({ applied: false, problems: problem.errors ?? [] })
    else for (const { path, message } of problem.errors ?? []) print(`${path}: ${message}`)
    say(`${problem.detail}; nothing has changed`)
    return exits.failed
  }
}

/** Whether it did is not known: the files are as they are, and a daemon that starts has them in force. */
function cut(dryRun: boolean): ReturnType<typeof tellingCut> {
  const known = dryRun
    ? 'nothing was to be changed'
    : 'whether it was applied is not known, and a daemon that starts reads the files as they are'
  return tellingCut(known, 'muster apply --dry-run')
}

const signs = { added: state('ready', '+'), removed: state('failed', '-'), changed: state('degraded', '~') } as const
