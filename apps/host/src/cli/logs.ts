/** `muster logs`: the output of a run. */
import type { Command } from 'commander'
import { acting, openClient, parsing, subcommand } from './context.ts'
import { exits, say } from './io.ts'

interface Options {
  follow?: true
  from: number
  json?: true
}

export function logsCommand(): Command {
  return subcommand('logs', 'print the output of a run, stdout and stderr apart')
    .argument('<run>')
    .option('-f, --follow', 'until its end')
    .option('--from <position>', 'from this position on', parsing(position, 'a position that --json gave'), 0)
    .option('--json', 'one JSON object a line: stream, next (the position after it), base64')
    .action(acting(async ([id]: [string], options: Options, command: Command) => logs(id, options, command)))
}

async function logs(id: string, { follow, from, json }: Options, command: Command): Promise<number> {
  const client = await openClient(command)
  const gone = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => gone.abort())
  try {
    for await (const { stream, data, next } of client.runs.logs(id, { from, follow: follow === true, signal: gone.signal })) {
      const out = json === true || stream === 'stdout' ? process.stdout : process.stderr
      const bytes = json === true ? `${JSON.stringify({ stream, next, base64: Buffer.from(data).toString('base64') })}\n` : data
      if (!out.write(bytes)) await new Promise((resolve) => out.once('drain', resolve))
    }
  } catch (error) {
    if (!gone.signal.aborted) throw error
    return exits.cancelled
  }
  const run = await client.runs.get(id)
  if (run.logProblem !== undefined) say(`the end of it may be missing: ${run.logProblem}`)
  if (run.state !== 'ended' && follow !== true) say(`${id} is ${run.state}; --follow stays until its end`)
  return exits.ok
}

function position(text: string): number | undefined {
  const value = Number(text)
  return Number.isSafeInteger(value) && value >= 0 ? value : undefined
}
