/** Follows a run as if it ran here: output through, standard input in, signals as cancel, exit code out. */
import { fstatSync } from 'node:fs'
import { isMusterError, type MusterClient, type Run } from '@muster/client'
import { tell } from './context.ts'
import { bytes, duration, exits, say, tellUnwritable } from './io.ts'
import { outcomeOf } from './outcome.ts'

export interface FollowOptions {
  client: MusterClient
  run: Run
  /** Send this process's standard input. */
  stdin: boolean
  /** No lines about waiting; or only about what is wrong while it does. */
  quiet: boolean | 'but trouble'
  /** Ctrl-C ends the run; else only the following. */
  cancels: boolean
  /** Who listened for signals until now. */
  early?: Pick<ReturnType<typeof noteSignals>, 'release'>
  /** Done once the run has ended, whatever its outcome. False: a run that passed did not give all that was asked for. */
  afterwards?: (run: Run) => Promise<boolean>
}

/** Waiting that is longer than this is worth a line. */
const SHORT_MS = 1000
/** How often the reason for waiting is looked at anew. */
const LOOK_MS = 5000

/** The exit code of this process. */
export async function followRun(options: FollowOptions): Promise<number> {
  const { client, run } = options
  const ended = new AbortController()
  const stop = stopper(options)
  // Not before: Node drops a signal that has come, and was told to nobody yet, with its last listener.
  options.early?.release()
  const aborted = AbortSignal.any([ended.signal, stop.now])
  const waiting = options.quiet === true ? Promise.resolve() : tellWaiting(options, aborted)
  const input = options.stdin ? sendInput(options, aborted) : Promise.resolve()
  let over = false
  try {
    await showOutput(options, stop)
    const end = await client.runs.wait(run.id, { signal: stop.now })
    over = true
    const whole = (await options.afterwards?.(end)) !== false
    const { code, line } = outcomeOf(end)
    if (stop.deaf()) return stop.code()
    if (end.logProblem !== undefined) say(`the end of its output may be missing: ${end.logProblem}`)
    if (line !== undefined) say(line)
    const peak = end.exit?.memoryPeakBytes
    // For people: what a script reads has it in `muster runs show`.
    if (peak !== undefined && options.quiet === false && process.stderr.isTTY) say(`peak memory ${bytes(peak)}`)
    if (code === exits.infrastructure && line !== undefined) say(`\`muster why run ${run.id}\` says more`)
    // A code of the command's own says more than that its output is not here.
    return code === exits.ok && !whole ? exits.infrastructure : code
  } catch (error) {
    if (stop.now.aborted) return stop.code()
    if (over || (isMusterError(error) && error.code === 'not-found')) throw error
    return tellLeft(error, run)
  } finally {
    ended.abort()
    stop.close()
    await Promise.all([waiting, input])
  }
}

/** To its end; what is not there any more is told, and how the run ends is waited for all the same. */
async function showOutput({ client, run }: FollowOptions, stop: Stopper): Promise<void> {
  try {
    for await (const { stream, data } of client.runs.logs(run.id, { signal: stop.now })) {
      await write(stream === 'stdout' ? process.stdout : process.stderr, data)
      if (stop.deaf()) break
    }
  } catch (error) {
    if (!isMusterError(error) || error.code !== 'gone') throw error
    say(`no more of its output can be shown: ${error.message}`)
  }
}

/** Why it is not followed any more, or could not be cancelled; and that it is there all the same. */
function tellLeft(error: unknown, { id }: Run): number {
  const code = tell(error, exits.infrastructure)
  if (code !== exits.pipe) say(`run ${id} is not ended by that; \`muster runs attach ${id}\` follows it again`)
  return code
}

/** May standard input hold something for the command? A pipe or a file may; a terminal only when asked; `/dev/null` and nothing do not. */
export function hasInput(): boolean {
  try {
    const stat = fstatSync(0)
    return stat.isFIFO() || stat.isFile() || stat.isSocket()
  } catch {
    return false
  }
}

/** Before the run can be followed: the first signal is noted, and whoever makes the run looks at it. */
export function noteSignals(): { signal: AbortSignal; release(): void } {
  const noted = new AbortController()
  const note = (name: NodeJS.Signals): void => {
    if (noted.signal.aborted) {
      say('left without an answer of the daemon; if it took the run in, `muster runs` shows it')
      process.exit(exits.cancelled)
    }
    noted.abort(new Error(name))
    say('waiting for the daemon, to cancel what was asked of it; once more leaves at once')
  }
  for (const name of stopSignals) process.on(name, note)
  return {
    signal: noted.signal,
    release: () => {
      for (const name of stopSignals) process.removeListener(name, note)
    },
  }
}

interface Stopper {
  /** Aborts when nothing is waited for any more. */
  now: AbortSignal
  code(): number
  /** Nobody takes the output any more. */
  deaf(): boolean
  close(): void
}

export const stopSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** The first signal cancels the run and waits for its end; the second kills it and waits for nothing. */
function stopper({ client, run, cancels }: FollowOptions): Stopper {
  const now = new AbortController()
  let times = 0
  let unwritten: number | undefined
  const cancel = (reason: string, force: boolean): Promise<unknown> =>
    client.runs.cancel(run.id, { reason, force }).catch((error: unknown) => {
      tellLeft(error, run)
      now.abort()
    })
  const onSignal = (name: NodeJS.Signals): void => {
    times += 1
    if (!cancels) {
      now.abort()
    } else if (times === 1) {
      say(`${name}: cancelling ${run.id} …; once more: at once`)
      void cancel(`${name} at the client`, false).then(async () => {
        const held = await describeHolder(client, run).catch(() => undefined)
        if (held !== undefined && times === 1 && !now.signal.aborted)
          say(`${run.id}: ${held}; waiting for it. Once more leaves at once: the daemon ends the run then`)
      })
    } else if (times === 2) void cancel(`${name} at the client, twice`, true).finally(() => now.abort())
    else now.abort()
  }
  const killUnread = async (): Promise<void> => {
    await cancel('nobody reads its output any more', true)
    now.abort()
  }
  // Nobody reads the output any more, as after `| head`: the command ends at once, as by SIGPIPE, and the run is not left behind: it is killed
  // by the daemon, which stores what there is of its output first. Nobody here waits for that. One whose output has no room here goes on: the
  // daemon has all of it.
  const onUnwritable = (error: Error): void => {
    if (unwritten !== undefined) return
    unwritten = tellUnwritable(error, exits.infrastructure)
    if (unwritten === exits.pipe && cancels) void killUnread()
    else now.abort()
    if (unwritten !== exits.pipe) say(`run ${run.id} is not ended by that; \`muster logs ${run.id}\` shows all of its output`)
  }
  for (const name of stopSignals) process.on(name, onSignal)
  process.stdout.removeAllListeners('error').on('error', onUnwritable)
  return {
    now: now.signal,
    code: () => unwritten ?? exits.cancelled,
    deaf: () => unwritten !== undefined,
    close: () => {
      for (const name of stopSignals) process.removeListener(name, onSignal)
    },
  }
}

/** Resolves once the stream can take more. A stream that nobody reads any more takes everything. */
export function write(stream: NodeJS.WriteStream, data: Uint8Array): Promise<void> | undefined {
  if (stream.destroyed || stream.errored !== null || stream.write(data)) return undefined
  return new Promise((resolve) => {
    const done = (): void => {
      for (const event of ['drain', 'close', 'error']) stream.removeListener(event, done)
      resolve()
    }
    for (const event of ['drain', 'close', 'error']) stream.once(event, done)
  })
}

async function sendInput({ client, run }: FollowOptions, signal: AbortSignal): Promise<void> {
  try {
    await client.runs.stdin(run.id, process.stdin as AsyncIterable<Uint8Array>, { signal })
  } catch (error) {
    if (signal.aborted) return
    say('standard input could not be passed on:')
    tell(error, exits.failed)
  } finally {
    // A pipe that its writer keeps open must not keep us.
    process.stdin.destroy()
  }
}

async function tellWaiting({ client, run, quiet }: FollowOptions, signal: AbortSignal): Promise<void> {
  const began = performance.now()
  let told = ''
  let timer: NodeJS.Timeout | undefined
  const look = async (): Promise<void> => {
    const late = performance.now() - began > LOOK_MS
    const described = quiet === false ? describeWaiting(client, run) : describeHeldUp(client, run, late)
    const text = await described.catch(() => undefined)
    if (signal.aborted) return
    if (text !== undefined && text !== told) say((told = text))
    timer = setTimeout(() => void look(), LOOK_MS)
  }
  timer = setTimeout(() => void look(), SHORT_MS)
  try {
    const started = await client.runs.wait(run.id, { until: 'running', signal })
    // One that is cancelled before its command began had a worker, and did not run there.
    if (told !== '' && started.worker !== undefined && started.startedAt !== undefined)
      say(`runs on worker ${started.worker} after ${duration(performance.now() - began)}`)
  } catch {
    // What is wrong with the run is told by whoever follows its log.
  } finally {
    clearTimeout(timer)
  }
}

/** Whoever has its worker is away, or the daemon's disk does not take its output; undefined: neither, or nobody has one. */
async function describeHolder(client: MusterClient, { id }: Run): Promise<string | undefined> {
  const { state, worker } = await client.runs.get(id)
  if (worker === undefined || state === 'ended') return undefined
  const provider = await client.providers.get((await client.workers.get(worker)).provider)
  if (provider.state !== 'ready')
    return `provider ${provider.name}, which has its worker, does not answer: ${provider.reason ?? provider.state}`
  return (await client.conditions()).find(({ type }) => type === 'output-waits')?.message
}

/** Why its command, which has a worker, has not begun; undefined: nothing is known to be in the way. */
async function describeTrouble(client: MusterClient, run: Run): Promise<string | undefined> {
  const [last] = await client.why('run', run.id, 1)
  if (last?.rule === 'exec-retry') return `${run.id}: ${last.decision}`
  const held = await describeHolder(client, run)
  return held === undefined ? undefined : `${run.id}: ${held}`
}

/** As for a command in a worker that is there, which begins at once: that it does not is told late, whatever holds it up. */
async function describeHeldUp(client: MusterClient, { id }: Run, late: boolean): Promise<string | undefined> {
  const run = await client.runs.get(id)
  if (run.state !== 'starting') return undefined
  const trouble = await describeTrouble(client, run)
  if (trouble !== undefined || !late) return trouble
  return (
    `${id}: its command has not begun in worker ${run.worker} yet; ` +
    `\`muster providers\` shows whether a call there has no answer, \`muster why run ${id}\` what was tried`
  )
}

async function describeWaiting(client: MusterClient, { id, pool }: Run): Promise<string | undefined> {
  const run = await client.runs.get(id)
  if (run.state === 'uploading') return `${id} waits for its inputs`
  if (run.state === 'starting')
    return (await describeTrouble(client, run)) ?? `${id}: its worker ${run.worker ?? ''} is being readied`
  if (run.state !== 'queued') return undefined
  const { waiting } = await client.pools.get(pool)
  return waiting === '' ? `${id}: a worker of pool ${pool} is being made` : `${id} waits for a worker of pool ${pool}: ${waiting}`
}
