/** A pipeline on the standard streams of this process. */
import { styleText } from 'node:util'
import type { PipelineEvent } from '../events.ts'
import { createShow } from './show.ts'
import type { Paint } from './summary.ts'

/** A terminal that does not know its width says 0. */
const USUAL_COLUMNS = 80

export type Show = ((event: PipelineEvent) => Promise<void>) & { close(): void }

/** Live where standard error is a terminal, else one line after the other. Colours as the streams, `NO_COLOR` and `FORCE_COLOR` say. */
export function showOnTerminal({ stdout, stderr, env }: Pick<NodeJS.Process, 'stdout' | 'stderr' | 'env'>): Show {
  // A reader that goes away is told by the write; without a listener it would end the process.
  for (const stream of [stdout, stderr]) stream.on('error', () => undefined)
  const live = stderr.isTTY && env['TERM'] !== 'dumb' && env['CI'] === undefined
  return createShow({
    out: stdout,
    err: stderr,
    colours: { out: coloured(stdout, env), err: coloured(stderr, env) },
    paint: { out: paintOf(stdout), err: paintOf(stderr) },
    ...(live ? { columns: () => stderr.columns || USUAL_COLUMNS } : {}),
  })
}

function coloured(stream: NodeJS.WriteStream, env: NodeJS.ProcessEnv): boolean {
  return stream.isTTY && env['NO_COLOR'] === undefined
}

function paintOf(stream: NodeJS.WriteStream): Paint {
  const style = (format: 'green' | 'red' | 'dim') => (text: string) => styleText(format, text, { stream })
  return { good: style('green'), bad: style('red'), quiet: style('dim') }
}
