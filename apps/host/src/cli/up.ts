/** `muster up`: the daemon. */
import { resolve } from 'node:path'
import { Command, Option } from 'commander'
import { type ListenAddress, parseAddress } from '../config/address.ts'
import { leave, parsing } from './context.ts'

const levels = ['debug', 'info', 'warn', 'error'] as const

interface Options {
  config?: string
  data?: string
  listen?: { host: string; port: number }
  adopt?: true
  newOwner?: true
  logLevel: (typeof levels)[number]
  logFormat?: 'json' | 'text'
}

export function upCommand(): Command {
  return new Command('up')
    .description('run the daemon, until it is asked to stop; workers and runs live on')
    .option('-c, --config <file>', 'configuration; default: muster.yaml')
    .option('--data <dir>', "data folder instead of the configuration's")
    .option(
      '--listen <host:port>',
      "address instead of the configuration's; port 0: any",
      parsing(parseListen, 'host:port, as 127.0.0.1:7420 or [::1]:7420'),
    )
    .addOption(
      new Option(
        '--adopt',
        'the store was restored or moved, and no other daemon uses its owner: unknown workers are removed',
      ).conflicts('newOwner'),
    )
    .option('--new-owner', 'the store was restored or copied, and is another deployment: leave all earlier workers alone')
    .addOption(new Option('--log-level <level>', 'least level that is logged').choices(levels).default('info'))
    .addOption(new Option('--log-format <format>', 'default: text at a terminal, else json').choices(['json', 'text']))
    .action(async (_options: unknown, command: Command) => {
      const { config = 'muster.yaml', data, listen, adopt, newOwner, logLevel, logFormat } = command.optsWithGlobals<Options>()
      const { runDaemon } = await import('../main.ts')
      await leave(
        await runDaemon(config, {
          logLevel,
          logFormat: logFormat ?? (process.stderr.isTTY ? 'text' : 'json'),
          ...(data === undefined ? {} : { data: resolve(data) }),
          ...(listen === undefined ? {} : { listen }),
          ...(adopt === true ? { restore: 'adopt' } : newOwner === true ? { restore: 'new-owner' } : {}),
        }),
      )
    })
}

function parseListen(text: string): ListenAddress | undefined {
  const address = parseAddress(text)
  return address === undefined || address.port > 65_535 ? undefined : address
}
