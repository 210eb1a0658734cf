/** `muster run`: one command on a worker of a pool, as if it ran here. */
import { lstat } from 'node:fs/promises'
import { relative, resolve } from 'node:path'
import type { MusterClient, Run, RunRequest } from '@muster/client'
import type { Command } from 'commander'
import { parseDuration, parseSize } from '../config/units.ts'
import { acting, asTime, DETACH_TIMEOUT, type GlobalOptions, openClient, parsing, subcommand } from './context.ts'
import { exits, print, printJson, say } from './io.ts'
import { saveOutputs } from './outputs.ts'
import { collect, collectEnv, collectLabel, collectOutput } from './pairs.ts'

interface Options {
  pool: string
  image?: string
  profile?: string
  cpu?: number
  mem?: number
  pids?: number
  env: Record<string, string>
  label: Record<string, string>
  workdir?: string
  upload?: string
  exclude: string[]
  output: { name: string; path: string }[]
  outputDir: string
  force?: true
  timeout?: number
  queueTimeout?: number
  keepFailed?: number
  detachTimeout?: number
  stdin?: boolean
  interactive?: true
  detach?: true
  quiet?: true
  json?: true
}

/** The name of what `--upload` sends. */
const WORKSPACE = 'workspace'

const asDuration = parsing(parseDuration, 'a number and a unit, as 30s, 5m or 2h')

export function runCommand(): Command {
  return subcommand('run', 'run a command on a worker of a pool, with its output, input and exit code as if it ran here')
    .requiredOption('--pool <pool>', 'where')
    .argument('<command...>', 'program and arguments, after --')
    .passThroughOptions()
    .option('--image <image>', "instead of the pool's")
    .option('--profile <profile>', "a machine kind of the provider, instead of the pool's")
    .option('--cpu <n>', 'vCPU, as 0.5', parsing(positive, 'a number above 0'))
    .option('--mem <size>', 'memory, as 512Mi or 4Gi', parsing(parseSize, 'a size, as 512Mi or 4Gi'))
    .option('--pids <n>', 'most processes at once', parsing(positive, 'a number above 0'))
    .option('-e, --env <name=value>', 'a variable; just the name: its value here', collectEnv, {})
    .option('--label <name=value>', 'for finding it again', collectLabel, {})
    .option('-w, --workdir <path>', 'in the worker')
    .option('--upload <dir>', "send this folder's content into the working folder first")
    .option('--exclude <glob>', 'but not what matches, as node_modules', collect, [])
    .option('--output <name=path>', 'fetch this path of the worker afterwards, as NAME here', collectOutput, [])
    .option('--output-dir <dir>', 'there instead of here', '.')
    .option('--force', 'let an output take the place of what has its name here; else that is refused before anything runs')
    .option('--timeout <duration>', 'from its start; then exit 124', asTime)
    .option('--queue-timeout <duration>', 'longest wait for a worker', asTime)
    .option('--keep-failed <duration>', 'when it fails, keep its worker so long for `muster exec`; 0s: not at all', asDuration)
    .option('--detach-timeout <duration>', DETACH_TIMEOUT, asTime)
    .option('-i, --interactive', 'pass on standard input from a terminal too')
    .option('--no-stdin', 'pass on no standard input')
    .option('-d, --detach', 'do not follow it; print its id')
    .option('-q, --quiet', 'no lines about waiting')
    .option('--json', 'with --detach: the run as JSON')
    .addHelpText(
      'after',
      `
Exit code: that of the command (128 and the number of a signal that ended it). 124: timed out, 130: cancelled,
125: it did not run to its end, or nobody can tell how it ended; or it passed, and an output could not be saved here. A line that begins with 'muster:' says so when the
code is not the command's own.`,
    )
    .action(
      acting(async ([argv]: [string[]], options: Options, command: Command) => run(argv, options, command), exits.infrastructure),
    )
}

async function run(argv: string[], options: Options, command: Command): Promise<number> {
  const { followRun, hasInput, noteSignals } = await import('./follow.ts')
  const early = noteSignals()
  if (options.detach !== true) await refuseTaken(options)
  const client = await openClient(command)
  const piped = options.stdin !== false && options.detach !== true && hasInput()
  const stdin = piped || (options.interactive === true && process.stdin.isTTY)
  const made = await create(client, { argv, options, stdin, piped })
  if (options.upload !== undefined && !early.signal.aborted) {
    const more = { ...command.optsWithGlobals<GlobalOptions>(), signal: early.signal }
    await upload(client, made, { ...options, upload: options.upload, ...more }).catch((error: unknown) => {
      if (!early.signal.aborted) throw error
    })
  }
  if (early.signal.aborted) {
    await client.runs.cancel(made.id, { reason: `${(early.signal.reason as Error).message} at the client` })
    say('cancelled before it began')
    return exits.cancelled
  }
  if (options.detach === true) {
    early.release()
    if (options.json === true) printJson(made)
    else print(made.id)
    return exits.ok
  }
  return followRun({
    client,
    run: made,
    stdin,
    quiet: options.quiet === true,
    cancels: true,
    early,
    afterwards: async (ended) => {
      const saved = await saveOutputs(client, ended, options)
      await tellKept(client, ended)
      return saved
    },
  })
}

async function create(
  client: MusterClient,
  { argv, options, stdin, piped }: { argv: string[]; options: Options; stdin: boolean; piped: boolean },
): Promise<Run> {
  try {
    return await client.runs.create(requestOf(argv, options, stdin))
  } catch (error) {
    // The caller may not even know that something is piped in.
    if (piped && (error as { code?: string }).code === 'refused')
      say('standard input is piped, so it was asked for; --no-stdin goes without it')
    throw error
  }
}

function requestOf(argv: string[], options: Options, stdin: boolean): RunRequest {
  const { pool, image, profile, cpu, mem, pids, env, label, workdir, upload, output, timeout } = options
  const { queueTimeout, keepFailed, detachTimeout } = options
  const resources = { ...(cpu && { cpu }), ...(mem && { memoryBytes: mem }), ...(pids && { pids }) }
  return {
    pool,
    command: argv,
    stdin,
    ...(image === undefined ? {} : { image }),
    ...(profile === undefined ? {} : { profile }),
    ...(Object.keys(resources).length === 0 ? {} : { resources }),
    ...(Object.keys(env).length === 0 ? {} : { env }),
    ...(Object.keys(label).length === 0 ? {} : { labels: label }),
    ...(workdir === undefined ? {} : { workdir }),
    ...(upload === undefined ? {} : { inputs: [{ name: WORKSPACE, path: '.' }] }),
    ...(output.length === 0 ? {} : { outputs: output }),
    ...(timeout === undefined ? {} : { timeoutMs: timeout }),
    ...(queueTimeout === undefined ? {} : { queueTimeoutMs: queueTimeout }),
    ...(keepFailed === undefined ? {} : { keepFailedMs: keepFailed }),
    ...(detachTimeout === undefined ? {} : { detachMs: detachTimeout }),
  }
}

/** A run whose upload fails is ended: it would wait for ever. */
async function upload(
  client: MusterClient,
  { id }: Run,
  { upload: folder, exclude, quiet, config, data, signal }: Options & GlobalOptions & { upload: string; signal: AbortSignal },
): Promise<void> {
  const { packFolder, dataFolder } = await import('@muster/client')
  // The daemon's own data folder may lie in the workspace; it is no part of it, and grows while it is read.
  const own = await dataFolder({ ...(config && { config }), ...(data && { data }) })
    .then((path) => relative(resolve(folder), path))
    .catch(() => '')
  const excluded = own === '' || own.startsWith('..') ? exclude : [...exclude, own]
  try {
    const { sha256, bytes } = await client.runs.putInput(id, {
      name: WORKSPACE,
      tar: () => packFolder(folder, { exclude: excluded }),
      signal,
    })
    if (quiet !== true) say(`uploaded ${folder}: ${bytes ?? 0} bytes, sha256 ${sha256 ?? 'unknown'}`)
  } catch (error) {
    await client.runs.cancel(id, { reason: 'its upload failed' }).catch(() => undefined)
    throw error
  }
}

/** An output may take the place of nothing that is here: whoever names it `src` most likely did not mean their own. */
async function refuseTaken({
  output,
  outputDir,
  force,
}: Pick<Options, 'output' | 'outputDir'> & { force?: true | undefined }): Promise<void> {
  if (force === true) return
  for (const { name } of output) {
    const target = resolve(outputDir, name)
    if ((await lstat(target).catch(() => undefined)) === undefined) continue
    const { MusterError } = await import('@muster/client')
    throw new MusterError('local', `the output ${name} would be ${target}, which is there already; nothing was run`, {
      hint: 'Name the output otherwise or give another --output-dir; --force replaces what is there, as a whole.',
    })
  }
}

/** How to get in, where its worker is kept for a look. */
async function tellKept(client: MusterClient, { worker: id, outcome, keepFailedMs = 0 }: Run): Promise<void> {
  if (id === undefined || keepFailedMs === 0 || outcome === 'passed' || outcome === 'cancelled') return
  // The run has ended as it did, whatever becomes of this look.
  const worker = await client.workers.get(id).catch(() => undefined)
  if (worker?.keptUntil === undefined || worker.phase !== 'draining') say(`worker ${id} could not be kept: it is gone`)
  else say(`worker ${id} is kept until ${worker.keptUntil}: muster exec -i ${id} -- sh; done: muster workers terminate ${id}`)
}

function positive(text: string): number | undefined {
  const value = Number(text)
  return value > 0 && Number.isFinite(value) ? value : undefined
}
