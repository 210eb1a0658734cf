/** `muster plugins`: which plugins this deployment may load, to the byte. Works on files; only an upgrade needs a daemon. */
import { Command } from 'commander'
import { acting, HELP_HINT, openClient, subcommand } from './context.ts'
import { printJson, say } from './io.ts'
import type { AddOptions } from './plugins/add.ts'
import type { ChangeOptions } from './plugins/change.ts'
import type { Site, SiteOptions } from './plugins/site.ts'
import type { Asking } from './plugins/upgrade.ts'

export function pluginsCommand(): Command {
  const plugins = local('plugins', 'show the plugins of this deployment; or add, update, upgrade, lock, verify and mirror them')
    .option('--json', 'as JSON')
    .action(
      onSite(async (site, _args: [], options: { json?: true }) => (await import('./plugins/show.ts')).listPlugins(site, options)),
    )
  for (const one of [show(), add(), remove(), update(), upgrade(), rollback(), lock(), verify(), mirror(), gc(), acknowledge()])
    plugins.addCommand(one)
  return plugins
}

function show(): Command {
  return local('show', 'show one plugin: its bytes, who vouches for it, what it may do')
    .argument('<alias>')
    .option('--json', 'as JSON')
    .action(
      onSite(async (site, [alias]: [string], options: Pick<Asking, 'json' | 'client'>) =>
        (await import('./plugins/show.ts')).showPlugin(site, alias, options),
      ),
    )
}

function add(): Command {
  const command = local('add', 'add a plugin to the registry manifest, and lock it')
    .argument('[package]', 'name, or name@range')
    .option('--as <alias>', "its name in this deployment; default: the package's, without scope and plugin-")
    .option('--registry <name>', 'a registry of the registry manifest')
    .option('--tarball <file>', 'a packed package')
    .option('--mirror <dir>', 'a mirror')
    .option('--folder <dir>', 'a package under development: nobody checks its files')
  return withChanges(command).action(
    onSite(async (site, [name]: [string | undefined], options: AddOptions) =>
      (await import('./plugins/add.ts')).addPlugin(site, name, options),
    ),
  )
}

function remove(): Command {
  return withChanges(local('remove', 'take a plugin out of the registry manifest and the lock').argument('<alias>')).action(
    onSite(async (site, [alias]: [string], options: ChangeOptions) =>
      (await import('./plugins/add.ts')).removePlugin(site, alias, options),
    ),
  )
}

function update(): Command {
  return withChanges(
    local('update', 'lock the newest versions that are in the ranges').argument('[alias...]', 'default: all'),
  ).action(
    onSite(async (site, [aliases]: [string[]], options: ChangeOptions) =>
      (await import('./plugins/add.ts')).updatePlugins(site, aliases, options),
    ),
  )
}

function upgrade(): Command {
  const command = local('upgrade', 'let another version take over in the running daemon, without a lost call; then lock it')
    .argument('<alias>', 'alias, or alias@version; default: the version that the lock holds')
    .option('--rehearse', 'all but the switch: whether it would go, and what was found in each step')
    .option('--keep-old', 'the version before stays for workers that the other does not account for, until they are gone')
    .option('--wait', 'until the process before it has ended')
  return withChanges(command).action(
    onSite(async (site, [alias]: [string], options: Asking) =>
      (await import('./plugins/upgrade.ts')).upgradePlugin(site, alias, options),
    ),
  )
}

function rollback(): Command {
  const command = local('rollback', 'back to the version before, whose bytes are still here; a running daemon switches at once')
    .argument('<alias>')
    .option('--keep-old', 'the version before stays for workers that the other does not account for, until they are gone')
    .option('--wait', 'until the process before it has ended')
  return withChanges(command).action(
    onSite(async (site, [alias]: [string], options: Asking) =>
      (await import('./plugins/upgrade.ts')).rollBackPlugin(site, alias, options),
    ),
  )
}

function lock(): Command {
  return withChanges(local('lock', 'make the lock fit the registry manifest, changing as little as possible')).action(
    onSite(async (site, _args: [], options: ChangeOptions) => (await import('./plugins/change.ts')).change(site, options)),
  )
}

function verify(): Command {
  return local('verify', 'compare the bytes of all plugins with the lock')
    .option('--mirror <dir>', 'those of a mirror; no network is needed')
    .option('--frozen', 'and refuse a lock that does not fit the registry manifest')
    .option('--json', 'as JSON')
    .action(
      onSite(async (site, _args: [], options: { mirror?: string; frozen?: true; json?: true }) =>
        (await import('./plugins/mirror.ts')).verifyPlugins(site, options),
      ),
    )
}

function mirror(): Command {
  return local('mirror', 'write the bytes of all locked plugins to a folder, for hosts that reach no registry')
    .requiredOption('--out <dir>', 'where to; what is there stays')
    .option('--json', 'as JSON')
    .action(
      onSite(async (site, _args: [], options: { out: string; json?: true }) =>
        (await import('./plugins/mirror.ts')).mirrorPlugins(site, options),
      ),
    )
}

function acknowledge(): Command {
  return subcommand('acknowledge', 'it was seen that a plugin fell back to the version before: its pools show it no more')
    .argument('<alias>')
    .option('--json', 'as JSON')
    .action(
      acting(async ([alias]: [string], { json }: { json?: true }, command: Command) => {
        const seen = await (await openClient(command)).plugins.acknowledge(alias)
        if (json === true) printJson(seen)
        else say(`${alias}: seen; no longer shown by ${seen.pools.join(', ')}`)
        return undefined
      }),
    )
}

function gc(): Command {
  return local('gc', 'remove unpacked plugins that nothing needs: no lock, no worker, no host that has used them lately')
    .option('--dry-run', 'only show what would be removed')
    .option('--json', 'as JSON')
    .action(
      onSite(async (site, _args: [], options: { dryRun?: true; json?: true }) =>
        (await import('./plugins/gc.ts')).collectPlugins(site, options),
      ),
    )
}

/** A sub-command that speaks with no daemon. */
function local(name: string, summary: string): Command {
  return new Command(name)
    .description(summary)
    .showHelpAfterError(HELP_HINT)
    .option('-c, --config <file>', 'configuration; default: muster.yaml')
    .option('--manifest <file>', "the registry manifest; default: the configuration's, or plugins.json")
    .option('--data <dir>', "data folder, for what is unpacked; default: the configuration's")
}

function withChanges(command: Command): Command {
  return command
    .option('-y, --yes', 'agree to what is shown, permissions included')
    .option('--waive <reason>', 'vouch for plugins without a signature; written down with your name')
    .option('--dry-run', 'only show what would change')
    .option('--json', 'as JSON')
}

type OnSite = (site: Site, args: never, options: never) => Promise<number>

function onSite(action: OnSite): (...given: unknown[]) => Promise<void> {
  return acting(async (args: never, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<SiteOptions>()
    const { openSite } = await import('./plugins/site.ts')
    await using site = await openSite(options)
    const asking = { ...options, client: () => openClient(command) }
    return await action(site, args, asking as never)
  })
}
