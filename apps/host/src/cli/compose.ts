/** `muster compose`: the services of a Compose file, as a pool's section has them. */
import { readFile } from 'node:fs/promises'
import { Command } from 'commander'
import { MusterError } from '@muster/client'
import { acting } from './context.ts'
import { exits, print, say } from './io.ts'

export function composeCommand(): Command {
  return new Command('compose')
    .description(
      'print the services of a Compose file as worker.services of a pool; what cannot be taken over is said, with its line',
    )
    .argument('<file>', 'as compose.yaml')
    .action(acting(async ([file]: [string]) => compose(file)))
}

async function compose(file: string): Promise<number> {
  const [{ importCompose }, { formatProblem }, { stringify }] = await Promise.all([
    import('../config/compose.ts'),
    import('../config/problem.ts'),
    import('yaml'),
  ])
  const { services, ports, problems } = importCompose(file, await textOf(file))
  for (const problem of problems) print(formatProblem(problem))
  if (services === undefined) return exits.failed
  for (const { service, ports: published } of ports)
    say(`${service}: nothing is published (${published.join(', ')}); the worker reaches its ports by name`)
  print(stringify({ services }).trimEnd())
  return exits.ok
}

async function textOf(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((cause: Error) => {
    throw new MusterError('local', `${file} cannot be read: ${cause.message}`, { hint: 'Name a Compose file.', cause })
  })
}
