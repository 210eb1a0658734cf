/** `muster version`: of the command, and of the daemon when one runs. */
import type { Command } from 'commander'
import { hostVersion } from '../version.ts'
import { acting, openClient, subcommand } from './context.ts'
import { print, printJson } from './io.ts'

export function versionCommand(): Command {
  return subcommand('version', 'show what runs here')
    .option('--json', 'as JSON')
    .action(
      acting(async (_args: [], { json }: { json?: true }, command: Command) => {
        const daemon = await openClient(command)
          .then((client) => client.version())
          .catch(() => undefined)
        if (json === true)
          printJson({ version: hostVersion, node: process.versions.node, ...(daemon === undefined ? {} : { daemon }) })
        else {
          print(`muster ${hostVersion} (node ${process.versions.node})`)
          print(
            daemon === undefined
              ? 'daemon: none runs here'
              : `daemon ${daemon.version}, owner ${daemon.owner}, store ${daemon.store['engine'] ?? ''}`,
          )
        }
        return undefined
      }),
    )
}
