/** `muster tokens`: of other users and machines. */
import { Option, type Command } from 'commander'
import { parseDuration } from '../config/units.ts'
import { acting, openClient, parsing, subcommand } from './context.ts'
import { age, bold, print, printJson, printTable, say } from './io.ts'

const roles = ['viewer', 'operator', 'admin'] as const

export function tokensCommand(): Command {
  const tokens = subcommand('tokens', 'show the tokens of the API; or make or revoke one')
    .option('--json', 'as JSON')
    .action(
      acting(async (_args: [], { json }: { json?: true }, command: Command) => {
        const all = await (await openClient(command)).tokens.list()
        if (json === true) {
          printJson({ tokens: all })
          return undefined
        }
        await printTable(
          all,
          [
            { title: 'TOKEN', styled: true, of: (one) => bold(one.id) },
            { title: 'NAME', of: (one) => one.name },
            { title: 'ROLE', of: (one) => one.role },
            { title: 'AGE', of: (one) => age(one.createdAt) },
            { title: 'LAST USED', of: (one) => (one.lastUsedAt === undefined ? undefined : `${age(one.lastUsedAt)} ago`) },
            { title: 'EXPIRES', of: (one) => expiryOf(one.expiresAt) },
          ],
          'there is no token',
        )
        return undefined
      }),
    )
  tokens.addCommand(
    subcommand('create', 'make a token; its text is shown this once')
      .requiredOption('--name <name>', 'who or what it is for')
      .addOption(new Option('--role <role>', 'what it may do').choices(roles).makeOptionMandatory())
      .option('--ttl <duration>', 'it expires after this long', parsing(parseDuration, 'a number and a unit, as 30d'))
      .option('--json', 'as JSON')
      .action(
        acting(
          async (
            _args: [],
            { name, role, ttl, json }: { name: string; role: (typeof roles)[number]; ttl?: number; json?: true },
            command: Command,
          ) => {
            const made = await (
              await openClient(command)
            ).tokens.create({ name, role, ...(ttl === undefined ? {} : { ttlMs: ttl }) })
            if (json === true) printJson(made)
            else {
              say(`${made.details.id} for ${name}, role ${role}:`)
              print(made.token)
            }
            return undefined
          },
        ),
      ),
  )
  tokens.addCommand(
    subcommand('revoke', 'make a token worthless, at once')
      .argument('<token>', 'its id')
      .action(
        acting(async ([id]: [string], _options: unknown, command: Command) => {
          await (await openClient(command)).tokens.revoke(id)
          say(`${id} is revoked`)
          return undefined
        }),
      ),
  )
  return tokens
}

/** One whose time is over stays in the list until it is revoked, so that nobody takes it for good. */
function expiryOf(at: string | undefined): string | undefined {
  return at === undefined || Date.parse(at) > Date.now() ? at : `expired ${age(at)} ago`
}
