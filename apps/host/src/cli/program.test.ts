import type { Command } from 'commander'
import { expect, test, vi } from 'vitest'
import { exits } from './io.ts'
import { createProgram } from './program.ts'

const committed = new URL('../../../../docs/reference/cli.md', import.meta.url).pathname

const codes: Readonly<Record<keyof typeof exits, string>> = {
  ok: 'it was done; of `run` and `exec`: the command exited 0',
  failed: 'it was refused or failed, or its output cannot be written; the last lines say why',
  usage: 'the arguments are wrong',
  moved:
    'of `up`: its data folder was moved, removed or replaced while it worked; another start would begin an empty one at the old path',
  timeout: 'of `run` and `exec`: the command ran longer than its time-out',
  infrastructure:
    'of `run`, `exec` and `runs attach`: the command did not run to its end, nobody can tell how it ended, or its output cannot be written',
  cancelled: 'it was cancelled; of `cp` and `backup`: given up by a signal',
  pipe: 'nobody reads the output any more',
}

function shown(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ')
}

function described(command: Command, path: string): string[] {
  const words = [
    path,
    ...command.registeredArguments.map((one) =>
      (one.required ? `<${one.name()}>` : `[${one.name()}]`).replace(/.$/, (end) => (one.variadic ? `...${end}` : end)),
    ),
  ]
  const own = command.options.filter((option) => !['--config', '--data', '--url'].includes(option.long ?? '') && !option.hidden)
  const inner = command.commands.filter((one) => !one.name().startsWith('__'))
  return [
    `## ${path}`,
    '',
    `\`${words.join(' ')}\` – ${command.description()}.`,
    '',
    ...(own.length === 0
      ? []
      : [
          '| option | |',
          '| --- | --- |',
          ...own.map((option) => {
            const { defaultValue } = option as { defaultValue: unknown }
            const plain = ['string', 'number'].includes(typeof defaultValue) ? `; default ${String(defaultValue)}` : ''
            const choices = option.argChoices === undefined ? '' : `; one of ${option.argChoices.join(', ')}`
            return `| \`${shown(option.flags)}\` | ${shown(option.description)}${choices}${plain} |`
          }),
          '',
        ]),
    ...inner.flatMap((one) => described(one, `${path} ${one.name()}`)),
  ]
}

test('the committed reference is that of the commands (write it anew: `pnpm vitest run apps/host/src/cli/program.test.ts -u`)', async () => {
  const program = createProgram()
  const all = program.options.map((option) => `| \`${option.flags}\` | ${shown(option.description)} |`)
  const text = [
    '# The command line',
    '',
    'Tables and JSON go to stdout, everything that Muster says about itself to stderr, each line with `muster:` before it. Colours are for terminals only',
    '(`NO_COLOR`, `FORCE_COLOR`). `muster completion bash` prints the completion for a shell.',
    '',
    'Which daemon is meant: that of the nearest `muster.yaml`, unless one is named by these, before the command or after it, or by `MUSTER_URL` (with',
    '`MUSTER_TOKEN`, and `MUSTER_CA`, the PEM file of who signed its certificate; or `unix:` and the path of its socket). That token goes nowhere else: not to the daemon that a folder names.',
    '',
    '| option | |',
    '| --- | --- |',
    ...all,
    '',
    '| exit code | |',
    '| --- | --- |',
    ...Object.entries(codes).map(([name, meaning]) => `| ${exits[name as keyof typeof exits]} | ${meaning} |`),
    '| other | of `run` and `exec`: that of the command; 128 and the number of the signal that ended it |',
    '',
    ...program.commands.filter((one) => !one.name().startsWith('__')).flatMap((one) => described(one, `muster ${one.name()}`)),
  ]
  await expect(`${text.join('\n').trimEnd()}\n`).toMatchFileSnapshot(committed)
})

test('every command and option says what it is for', () => {
  const silent: string[] = []
  const look = (command: Command, path: string): void => {
    if (command.name().startsWith('__')) return
    if (command.description() === '') silent.push(path)
    for (const option of command.options) if (option.description === '') silent.push(`${path} ${option.flags}`)
    for (const inner of command.commands) look(inner, `${path} ${inner.name()}`)
  }
  look(createProgram(), 'muster')
  expect(silent).toEqual([])
})

/** What a wrong command line is answered with. */
async function told(...words: string[]): Promise<string> {
  const spy = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  try {
    await createProgram().parseAsync(words, { from: 'user' })
  } catch {
    // So it ends.
  }
  const text = spy.mock.calls.map(([chunk]) => String(chunk)).join('')
  spy.mockRestore()
  return text
}

test.each([['nope'], ['run'], ['runs', '--nope'], ['runs', 'nope'], ['plugins', 'add', '--nope'], ['workers', 'show']])(
  'each line of the answer to a wrong command line says who speaks: %s %s %s',
  async (...words) => {
    const lines = (await told(...words)).trimEnd().split('\n')
    expect(lines.filter((line) => !line.startsWith('muster: '))).toEqual([])
    expect(lines.at(-1)).toBe('muster: (add --help for all options)')
  },
)

test('an id behind the name of a list is answered with the command that shows it', async () => {
  expect(await told('runs', 'r1')).toMatch(/too many arguments for 'runs'.*\nmuster: one of them: muster runs show ID\n/)
  expect(await told('workers', 'cordon', 'w1')).toContain(
    '\nmuster: cordon is a command of its own: muster cordon [options] <worker>\n',
  )
  expect(await told('version', 'x')).not.toContain('one of them')
  expect(await told('\u001b[2J')).toContain(String.raw`unknown command '\u001b[2J'`)
})

const inRun = ['run', '--pool', 'p']
test.each([
  [...inRun, '--detach-timeout'],
  [...inRun, '--timeout'],
  [...inRun, '--queue-timeout'],
  ['exec', '--detach-timeout'],
  ['exec', '--timeout'],
  ['leases', 'create', '--pool', 'p', '--ttl'],
])('a time in which nothing can be is a wrong command line, told before anything is asked: %s %s %s %s %s', async (...words) => {
  const command = words[0] === 'leases' ? [] : ['--', 'x', 'true']
  for (const wrong of ['0s', '0.4ms', '31d'])
    expect(await told(...words, wrong, ...command)).toContain('Write a number and a unit from 1ms to 30d, as 30s, 5m or 2h.')
})
