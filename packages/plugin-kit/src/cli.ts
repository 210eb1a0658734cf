/** `muster-plugin`: parses the arguments, and turns what comes of them into an exit code. */
import { Command, CommanderError, InvalidArgumentError } from 'commander'
import { readFileSync } from 'node:fs'
import { reportFile } from '@muster/packed/conformance'
import { durationOf } from './dev.ts'
import { print, say } from './io.ts'
import { PluginFault, shownFinding } from './finding.ts'

type Act = (options: never) => Promise<boolean>

function command(name: string, summary: string, act: Act): Command {
  return (
    new Command(name)
      .description(summary)
      .option('-C, --folder <dir>', 'folder of the plugin', '.')
      // Not handed down to one that is added whole.
      .exitOverride()
      .action(async (options: unknown) => {
        if (!(await act(options as never))) process.exitCode = 1
      })
  )
}

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
const program = new Command('muster-plugin')
  .description('tools for authors of Muster plugins')
  .version(version)
  .showHelpAfterError('(add --help for all options)')
  .exitOverride()

program.addCommand(
  command('build', 'bundle the plugin into the one file that its manifest names', async (options) =>
    (await import('./cli/build.ts')).build(options),
  ).option('--source <file>', 'its main module', 'src/plugin.ts'),
)
program.addCommand(
  command('lint', 'tell what a host or a registry would find wrong, without running it', async (options) =>
    (await import('./cli/lint.ts')).lint(options),
  ).option('--json', 'as JSON'),
)
program.addCommand(
  command('test', 'pack the plugin, start it as a host would, and run the conformance suite', async (options) =>
    (await import('./cli/test.ts')).test(options),
  )
    .option('--tarball <file>', 'a packed plugin, instead of what lies in the folder')
    .option('--setup <file>', 'what the suite is told of the vendor; default: conformance.json, .ts, .mjs or .js')
    .option('--only <words>', 'only tests with this in their name; says nothing of the whole')
    .option('--parallel <number>', 'how many tests at once', atLeastOne, 4)
    .option('--report <file>', 'where the report goes', reportFile)
    .option('--json', 'the report on standard output'),
)
program.addCommand(
  command(
    'audit',
    'run the suite, look what the plugin uses of the machine, and compare that with its permissions',
    async (options) => (await import('./cli/audit.ts')).audit(options),
  )
    .option('--write', 'write the least permissions that would do into the manifest')
    .option('--except <kind:value...>', 'what is right all the same, as env:AWS_* or net:api.acme.example:443')
    .option('--setup <file>', 'what the suite is told of the vendor; default: conformance.json, .ts, .mjs or .js')
    .option('--source <file>', 'its main module', 'src/plugin.ts')
    .option('--only <words>', 'only tests with this in their name; what they do not use is not judged')
    .option('--json', 'as JSON'),
)
program.addCommand(
  command('dev', 'attach the plugin to a daemon that runs, and let each build take over there', async (options) =>
    (await import('./cli/dev.ts')).dev(options),
  )
    .option('--for <duration>', 'how long at most, as 30m or 4h; the daemon ends it then', parseDuration, '4h')
    .option('--name <name>', 'of provider and pool; default: dev- and the name of the package')
    .option('--settings <file>', 'JSON with the sections "provider" and "pool", as in muster.yaml', 'dev.json')
    .option('--source <file>', 'its main module', 'src/plugin.ts')
    .option('-c, --config <file>', 'configuration of the daemon; default: the nearest muster.yaml')
    .option('--data <dir>', "data folder of the daemon; default: the configuration's"),
)
program.addCommand(
  command('pack', 'pack the plugin: the same files are the same bytes', async (options) =>
    (await import('./cli/pack.ts')).pack(options),
  )
    .option('--out <dir>', 'where to; default: the folder of the plugin')
    .option('--report <file>', 'the report of the suite, packed where it is of these files', reportFile)
    .option('--verify', 'build and pack it twice, and compare; refuse it without a report that all tests have passed')
    .option('--json', 'as JSON'),
)

function parseDuration(text: string): string {
  if (durationOf(text) === undefined) throw new InvalidArgumentError('a duration from 1s to 24h, as 30m or 4h.')
  return text
}

function atLeastOne(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('a whole number from 1 on.')
  return value
}

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2
  else {
    process.exitCode = 1
    if (error instanceof PluginFault) for (const finding of error.findings) print(shownFinding(finding))
    else say(error instanceof Error ? (error.stack ?? error.message) : String(error))
  }
}
