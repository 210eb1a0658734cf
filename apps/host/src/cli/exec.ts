/** `muster exec`: a command in a worker that lives. */
import type { Command } from 'commander'
import { acting, asTime, DETACH_TIMEOUT, openClient, subcommand } from './context.ts'
import { exits } from './io.ts'
import { collectEnv } from './pairs.ts'

interface Options {
  env: Record<string, string>
  workdir?: string
  user?: string
  timeout?: number
  detachTimeout?: number
  stdin?: boolean
  interactive?: true
  tty?: true
}

export function execCommand(): Command {
  return subcommand('exec', 'run a command in a worker that lives; the worker goes on after it')
    .argument('<worker>')
    .argument('<command...>', 'program and arguments, after --')
    .passThroughOptions()
    .option('-e, --env <name=value>', 'a variable; just the name: its value here', collectEnv, {})
    .option('-w, --workdir <path>', 'in the worker')
    .option('-u, --user <user>', 'in the worker')
    .option('--timeout <duration>', 'then exit 124', asTime)
    .option('--detach-timeout <duration>', `${DETACH_TIMEOUT}. With -t it always ends at once then`, asTime)
    .option('-i, --interactive', 'pass on standard input from a terminal too')
    .option('-t, --tty', 'give the command a terminal; with -i this one is it, and every key goes there')
    .option('--no-stdin', 'pass on no standard input')
    .action(
      acting(
        async ([worker, argv]: [string, string[]], options: Options, command: Command) =>
          // Behind the worker everything is the command's; a `--` before it is only the sign that it begins.
          exec(worker, { argv: argv[0] === '--' ? argv.slice(1) : argv, options, command }),
        exits.infrastructure,
      ),
    )
}

async function exec(
  worker: string,
  { argv, options, command }: { argv: string[]; options: Options; command: Command },
): Promise<number> {
  if (options.tty === true) {
    const { atTerminal } = await import('./terminal.ts')
    return atTerminal(worker, { ...options, argv, command })
  }
  const { followRun, hasInput } = await import('./follow.ts')
  const client = await openClient(command)
  const { env, workdir, user, timeout, detachTimeout } = options
  const stdin = (options.stdin !== false && hasInput()) || (options.interactive === true && process.stdin.isTTY)
  const run = await client.workers.exec(worker, {
    command: argv,
    stdin,
    ...(Object.keys(env).length === 0 ? {} : { env }),
    ...(workdir === undefined ? {} : { workdir }),
    ...(user === undefined ? {} : { user }),
    ...(timeout === undefined ? {} : { timeoutMs: timeout }),
    ...(detachTimeout === undefined ? {} : { detachMs: detachTimeout }),
  })
  return followRun({ client, run, stdin, quiet: 'but trouble', cancels: true })
}
