/** `muster providers crashes` and `crash`: why a plugin fell, shown and given away. */
import { open } from 'node:fs/promises'
import { type CrashBundle, type MusterClient, MusterError } from '@muster/client'
import type { Command } from 'commander'
import { acting, openClient, subcommand } from './context.ts'
import { age, bold, dim, print, printJson, printTable, say } from './io.ts'

export function crashesCommand(): Command {
  return subcommand('crashes', 'show the crash bundles of plugins that are kept, the newest first')
    .argument('[provider]', 'only those of this provider')
    .option('--json', 'as JSON')
    .action(
      acting(async ([provider]: [string | undefined], { json }: { json?: true }, command: Command) => {
        const { items, next } = await crashesOf(await openClient(command), provider)
        if (json === true) {
          printJson({ crashes: items, ...(next === undefined ? {} : { next }) })
          return undefined
        }
        await printTable(
          items,
          [
            { title: 'CRASH', styled: true, of: (one) => bold(one.id) },
            { title: 'PLUGIN', of: ({ plugin }) => `${plugin.name}@${plugin.version}` },
            { title: 'AGE', of: (one) => age(one.at) },
            { title: 'REASON', of: (one) => one.reason },
          ],
          `no crash bundle${provider === undefined ? '' : ` of ${provider}`} is kept`,
        )
        if (items.length > 0) say('more of one of them: muster providers crash CRASH')
        if (next !== undefined) say('these are the newest 500')
        return undefined
      }),
    )
}

/** The newest; of a provider that there is, or was. */
export async function crashesOf(
  { providers }: MusterClient,
  provider?: string,
): ReturnType<MusterClient['providers']['crashes']> {
  const found = await providers.crashes({ limit: 500, ...(provider === undefined ? {} : { provider }) })
  if (provider !== undefined && found.items.length === 0) await providers.get(provider)
  return found
}

interface Options {
  output?: string
  force?: true
  json?: true
}

export function crashCommand(): Command {
  return subcommand(
    'crash',
    'show a crash bundle, or write it to a file for the author of the plugin; secrets that the plugin was given are taken out',
  )
    .argument('<crash>', 'its id, or a provider: the newest of it')
    .option('--output <file>', 'write it here as JSON, readable by this user alone')
    .option('--force', 'replace a file that is there')
    .option('--json', 'as JSON')
    .action(
      acting(async ([wanted]: [string], { output, force, json }: Options, command: Command) => {
        const found = await bundleOf(await openClient(command), wanted)
        if (output !== undefined) {
          await save(found, output, force === true)
          say(`${output}: ${found.id}`)
        }
        if (json === true) printJson(found)
        else if (output === undefined) show(found)
        return undefined
      }),
    )
}

/** No provider's name looks like an id: those begin with a date and have a `.` and capitals. */
async function bundleOf({ providers }: MusterClient, wanted: string): Promise<CrashBundle> {
  if (wanted.includes('.')) return providers.crash(wanted)
  const [newest] = (await providers.crashes({ provider: wanted, limit: 1 })).items
  if (newest !== undefined) return providers.crash(newest.id)
  const { name } = await providers.get(wanted)
  throw new MusterError('local', `no crash bundle of ${name} is kept`, {
    hint: '`muster providers crashes` lists those of all providers.',
  })
}

export async function save(bundle: CrashBundle, file: string, force: boolean): Promise<void> {
  try {
    await using opened = await open(file, force ? 'w' : 'wx', 0o600)
    // One that was there keeps its mode; a pipe or a device is nobody's to change.
    if ((await opened.stat()).isFile()) await opened.chmod(0o600)
    await opened.writeFile(`${JSON.stringify(bundle, null, 2)}\n`)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw code === 'EEXIST'
      ? new MusterError('local', `${file} is there already`, { hint: 'Name another file, or say --force.' })
      : new MusterError('local', message, { hint: 'Name a file that this user may write.', cause: error })
  }
}

function show({ id, at, plugin, provider, reason, exit, violation, restarts, output }: CrashBundle): void {
  print(`${bold(id)}: ${reason}`)
  const ended = exit === undefined ? 'it was never started' : (exit.signal ?? `exit ${exit.code ?? 'unknown'}`)
  const broken = violation === undefined ? '' : `, broke: ${violation}`
  print(dim(`${plugin.name}@${plugin.version} as ${provider}, at ${at}, ${ended}${broken}, restarts before ${restarts}`))
  for (const line of output) print(line)
  if (output.length === 0) say('it wrote nothing')
}
