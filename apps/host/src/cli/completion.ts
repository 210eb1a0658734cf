/** `muster completion`: for shells, made from the commands themselves; names of pools, workers and runs come from the daemon. */
import { Argument, Command } from 'commander'
import { leave, openClient } from './context.ts'
import { exits, print } from './io.ts'

const shells = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof shells)[number]

/** A shell waits for it at each key: longer than this, there is nothing to choose from. */
const PATIENCE_MS = 800

export function completionCommand(): Command {
  return new Command('completion')
    .description('print the completion for a shell')
    .addArgument(new Argument('<shell>').choices(shells))
    .addHelpText(
      'after',
      `
  bash: source <(muster completion bash)         in ~/.bashrc
  zsh:  source <(muster completion zsh)          in ~/.zshrc
  fish: muster completion fish | source          in ~/.config/fish/config.fish`,
    )
    .action((shell: Shell) => print(scripts[shell]))
}

/** What the scripts ask: the words so far, the last of them perhaps only begun. One suggestion a line. */
export function completeCommand(): Command {
  return new Command('__complete')
    .argument('[words...]')
    .allowUnknownOption()
    .passThroughOptions()
    .helpOption(false)
    .action(async (words: string[], _options: object, command: Command) => {
      const program = command.parent ?? command
      const { fixed, names } = suggest(program, words)
      const found = names === undefined ? [] : await Promise.race([namesOf(names, command), silence()])
      const begun = words.at(-1) ?? ''
      for (const word of [...fixed, ...found]) if (word.startsWith(begun)) print(word)
      await leave(exits.ok)
    })
}

export interface Suggestions {
  /** Commands and options. */
  fixed: string[]
  /** The kind of thing whose names fit here. */
  names?: Kind
}

type Kind = (typeof kinds)[number]
const kinds = ['pool', 'worker', 'run', 'lease', 'provider'] as const

/** Pure: what may stand in the place of the last word. */
export function suggest(program: Command, words: readonly string[]): Suggestions {
  let here = program
  let given = 0
  let wanted: string | undefined
  // What follows `--` is somebody else's command line.
  if (words.slice(0, -1).includes('--')) return { fixed: [] }
  for (const word of words.slice(0, -1)) {
    if (wanted !== undefined) wanted = undefined
    else if (word.startsWith('-')) wanted = valueOf(here, word)
    else {
      const inner = given === 0 ? here.commands.find((one) => one.name() === word && !isHidden(one)) : undefined
      if (inner === undefined) given += 1
      else here = inner
    }
  }
  if (wanted !== undefined) return { fixed: choicesOf(here, wanted), ...kindOf(wanted) }
  const begun = words.at(-1) ?? ''
  if (begun.startsWith('-')) return { fixed: here.options.filter((one) => !one.hidden).map((one) => one.long ?? one.short ?? '') }
  const argument = here.registeredArguments[Math.min(given, here.registeredArguments.length - 1)]
  const commands = given === 0 ? here.commands.filter((one) => !isHidden(one)).map((one) => one.name()) : []
  return { fixed: [...commands, ...(argument?.argChoices ?? [])], ...kindOf(argument?.name()) }
}

/** The name of the value that an option takes next; undefined when it takes none, or has it already. */
function valueOf(command: Command, word: string): string | undefined {
  if (word.includes('=')) return undefined
  const option = command.options.find((one) => one.long === word || one.short === word)
  return option?.required === true ? option.attributeName() : undefined
}

function choicesOf(command: Command, name: string): string[] {
  return [...(command.options.find((one) => one.attributeName() === name)?.argChoices ?? [])]
}

function kindOf(name: string | undefined): { names?: Kind } {
  const kind = kinds.find(
    (one) => one === name || (name === 'source' && one === 'worker') || (name === 'target' && one === 'worker'),
  )
  return kind === undefined ? {} : { names: kind }
}

function isHidden(command: Command): boolean {
  return command.name().startsWith('__')
}

/** Without a daemon there are no names, and a shell's prompt is no place to say so. */
async function namesOf(kind: Kind, command: Command): Promise<string[]> {
  try {
    const client = await openClient(command)
    if (kind === 'pool') return (await client.pools.list()).map((one) => one.name)
    if (kind === 'provider') return (await client.providers.list()).map((one) => one.name)
    if (kind === 'worker') return (await client.workers.list()).items.map((one) => one.id)
    if (kind === 'lease') return (await client.leases.list()).items.map((one) => one.id)
    return (await client.runs.list({ ended: 'true' })).items.map((one) => one.id)
  } catch {
    return []
  }
}

function silence(): Promise<string[]> {
  return new Promise((resolve) => setTimeout(() => resolve([]), PATIENCE_MS).unref())
}

const scripts: Readonly<Record<Shell, string>> = {
  bash: `_muster() {
  local IFS=$'\\n'
  COMPREPLY=($("\${COMP_WORDS[0]}" __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _muster muster`,
  zsh: `_muster() {
  local -a found
  found=(\${(f)"$(\${words[1]} __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)"})
  (( \${#found} )) && compadd -a found || _files
}
compdef _muster muster`,
  fish: `complete -c muster -f -a '(muster __complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'`,
}
