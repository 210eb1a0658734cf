/** `muster top`: pools, providers and what waits, live in a terminal. */
import { setTimeout as pause } from 'node:timers/promises'
import { stripVTControlCharacters } from 'node:util'
import type { Condition, MusterClient, Pool, Provider, Run } from '@muster/client'
import type { Command } from 'commander'
import { parseDuration } from '../config/units.ts'
import { acting, openClient, parsing, subcommand } from './context.ts'
import { age, bold, bytes, dim, ESCAPE, exits, harmless, print, printJson, state } from './io.ts'

interface Options {
  interval?: number
  once?: true
  json?: true
}

export interface Picture {
  pools: Pool[]
  providers: Provider[]
  conditions: Condition[]
  /** Newest first. */
  runs: Run[]
}

/** A daemon that is asked more often than this has less time for its work. */
const LEAST_INTERVAL_MS = 100
/** A look takes milliseconds; after this the picture is old, and whoever looks at it must know. */
const SILENT_MS = 3000
const SILENT = 'the daemon does not answer: what stands below is old'
/** Control sequences of ECMA-48, and xterm's for its second screen. */
const ALTERNATE_SCREEN = `${ESCAPE}[?1049h${ESCAPE}[?25l`
const OWN_SCREEN = `${ESCAPE}[?25h${ESCAPE}[?1049l`
const HOME_AND_CLEAR_LINE = `${ESCAPE}[H${ESCAPE}[2K`
const HOME_AND_CLEAR = `${ESCAPE}[H${ESCAPE}[J`

export function topCommand(): Command {
  return subcommand('top', 'show pools, providers and runs, live; q or Ctrl-C ends it')
    .option('--interval <duration>', 'between two looks; default 1s', parsing(interval, 'a number and a unit, 100ms or more'))
    .option('--once', 'look once; so it does where the output is no terminal')
    .option('--json', 'one look, as JSON')
    .action(acting(async (_args: [], options: Options, command: Command) => top(options, command)))
}

/** A terminal that calls itself dumb has no screen to draw on. */
export function isLive(tty: boolean | undefined, term: string | undefined): boolean {
  return tty === true && term !== 'dumb'
}

async function top({ interval: intervalMs = 1000, once, json }: Options, command: Command): Promise<number> {
  const client = await openClient(command)
  if (json === true) {
    printJson(await look(client))
    return exits.ok
  }
  if (once === true || !isLive(process.stdout.isTTY, process.env['TERM'])) {
    print(drawn(await look(client), { columns: 200, rows: Infinity }).join('\n'))
    return exits.ok
  }
  const over = new AbortController()
  const end = (): void => over.abort()
  // While the daemon is away a look waits for it: whoever wants to leave does not.
  const ended = new Promise<undefined>((resolve) =>
    over.signal.addEventListener('abort', () => resolve(undefined), { once: true }),
  )
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, end)
  const raw = process.stdin.isTTY
  if (raw) process.stdin.setRawMode(true)
  // Raw mode hands Ctrl-C on as a byte.
  process.stdin.on('data', (keys: Buffer) => ['q', 'Q', '\u0003'].includes(keys.toString()) && end())
  process.stdout.write(ALTERNATE_SCREEN)
  try {
    while (!over.signal.aborted) {
      const slow = setTimeout(() => process.stdout.write(`${HOME_AND_CLEAR_LINE}${SILENT}`), SILENT_MS)
      const picture = await Promise.race([look(client), ended]).finally(() => clearTimeout(slow))
      if (picture === undefined) break
      // A console that does not know its size says 0.
      const [columns, rows] = [process.stdout.columns || 80, process.stdout.rows || 24]
      process.stdout.write(`${HOME_AND_CLEAR}${drawn(picture, { columns, rows: rows - 1 }).join('\r\n')}`)
      await pause(intervalMs, undefined, { signal: over.signal }).catch(() => undefined)
    }
  } finally {
    process.stdout.write(OWN_SCREEN)
    if (raw) process.stdin.setRawMode(false)
    process.stdin.pause()
  }
  return exits.ok
}

function interval(text: string): number | undefined {
  const ms = parseDuration(text)
  return ms !== undefined && ms >= LEAST_INTERVAL_MS ? ms : undefined
}

async function look(client: MusterClient): Promise<Picture> {
  const [pools, providers, conditions, runs] = await Promise.all([
    client.pools.list(),
    client.providers.list(),
    client.conditions(),
    client.runs.list({ limit: 100 }),
  ])
  return { pools, providers, conditions, runs: runs.items }
}

/** Lines that fit: what is wrong first, then pools, providers, and as many runs as there is room for. */
export function drawn(
  { pools, providers, conditions, runs }: Picture,
  { columns, rows, now = Date.now() }: { columns: number; rows: number; now?: number },
): string[] {
  const of = (workers: Record<string, number>, ...phases: string[]): number =>
    phases.reduce((sum, phase) => sum + (workers[phase] ?? 0), 0)
  const lines = [
    ...conditions.map(({ scope, name, type, message }) => [state('degraded', type), `${scope} ${name}`, message]),
    [
      dim('POOL'),
      dim('WORKERS'),
      dim('STARTING'),
      dim('IDLE'),
      dim('LEASED'),
      dim('ENDING'),
      dim('QUEUED'),
      dim('CPU'),
      dim('MEMORY'),
      dim('WAITS FOR'),
    ],
    ...pools.map(({ name, workers, scale, queued, waiting, usage }) => [
      bold(name),
      bar(of(workers, ...Object.keys(workers)), scale.max),
      String(of(workers, 'queued', 'launching', 'starting')),
      String(of(workers, 'idle')),
      String(of(workers, 'leased')),
      String(of(workers, 'draining', 'terminating')),
      String(queued),
      usage?.cpu.toFixed(2) ?? '',
      usage === undefined ? '' : bytes(usage.memoryBytes),
      waiting,
    ]),
    [],
    [dim('PROVIDER'), dim('STATE'), dim('SINCE'), dim('RESTARTS'), dim('CALLS'), dim('NOTE')],
    ...providers.map(({ name, state: how, since, restarts, inFlight, reason }) => [
      bold(name),
      state(how),
      age(since, now),
      String(restarts),
      String(inFlight),
      reason ?? '',
    ]),
    [],
    [dim('RUN'), dim('STATE'), dim('AGE'), dim('POOL'), dim('COMMAND')],
    ...runs.map(({ id, state: how, createdAt, pool, command }) => [
      id,
      state(how === 'running' ? 'active' : how, how),
      age(createdAt, now),
      pool,
      command.join(' '),
    ]),
  ]
  if (runs.length === 0) lines.push([dim('no run is under way')])
  return table(lines)
    .slice(0, rows)
    .map((line) => cut(line, columns))
}

/** `3/8`, and how full that is. */
function bar(count: number, most: number): string {
  const width = 10
  const full = most === 0 ? 0 : Math.min(width, Math.ceil((count / most) * width))
  return `${'#'.repeat(full)}${'.'.repeat(width - full)} ${count}/${most}`
}

/** Cells of neighbouring lines of the same number of cells stand below each other. */
function table(given: readonly (readonly string[])[]): string[] {
  // A line is one line, whatever a command or a message holds.
  const lines = given.map((cells) => cells.map((cell) => harmless(cell.replaceAll(/\s+/g, ' '))))
  const widths = new Map<number, number[]>()
  for (const cells of lines) {
    const known = widths.get(cells.length) ?? []
    widths.set(
      cells.length,
      cells.map((cell, index) => Math.max(visible(cell), known[index] ?? 0)),
    )
  }
  return lines.map((cells) =>
    cells
      .map((cell, index) =>
        index === cells.length - 1 ? cell : cell + ' '.repeat((widths.get(cells.length)?.[index] ?? 0) - visible(cell) + 2),
      )
      .join('')
      .trimEnd(),
  )
}

function visible(text: string): number {
  return stripVTControlCharacters(text).length
}

/** The first `columns` characters that are seen; colours stay whole. */
function cut(line: string, columns: number): string {
  if (visible(line) <= columns) return line
  let left = columns
  const [plain = '', ...coloured] = line.split(ESCAPE)
  const take = (text: string): string => {
    const taken = text.slice(0, left)
    left -= taken.length
    return taken
  }
  const begin = take(plain)
  // Each part begins with the rest of its escape, `[1m`.
  const parts = coloured.map((part) => {
    const end = part.indexOf('m') + 1
    return `${ESCAPE}${part.slice(0, end)}${take(part.slice(end))}`
  })
  return begin + parts.join('')
}
