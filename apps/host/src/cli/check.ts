/** `muster check`: everything that can be known without starting a worker. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { acting, withProgress } from './context.ts'
import { exits, print, printJson, say } from './io.ts'

interface Options {
  config?: string
  json?: true
}

export function checkCommand(): Command {
  return new Command('check')
    .description('find all that is wrong with muster.yaml, plugins.json and every plugin, without starting a worker')
    .option('-c, --config <file>', 'configuration; default: muster.yaml')
    .option('--json', 'as JSON')
    .action(acting(async (_args: [], _options: unknown, command: Command) => check(command.optsWithGlobals<Options>())))
}

async function check({ config = 'muster.yaml', json }: Options): Promise<number> {
  const [{ examine }, { checkPlugins }, { formatProblem, sortProblems }] = await Promise.all([
    import('../examine.ts'),
    import('../plugins/check.ts'),
    import('../config/problem.ts'),
  ])
  // Nothing of a check stays.
  const store = await mkdtemp(join(tmpdir(), 'muster-check-'))
  try {
    const { problems, found, at } = await examine(config, ({ data }) => [store, join(data, 'plugins')], { strictly: true })
    const started =
      found === undefined
        ? { problems: [], notes: [] }
        : await withProgress('starting each plugin once …', checkPlugins({ ...found, at }))
    const all = sortProblems([...problems, ...started.problems])
    if (json === true) printJson({ problems: all, notes: started.notes })
    else {
      for (const problem of all) print(formatProblem(problem))
      for (const note of started.notes) say(`provider ${note.provider}: ${note.text}`)
      if (all.length === 0) say(`${config} and all its plugins are right`)
      else say(`${all.length} ${all.length === 1 ? 'problem' : 'problems'}`)
    }
    return all.length === 0 ? exits.ok : exits.failed
  } finally {
    await rm(store, { recursive: true, force: true })
  }
}
