/** The daemon's log: JSON lines for machines, short lines for people; values that may be secret are never in it. */
import { pino, type Logger } from 'pino'
import { inert } from './inert.ts'

export const logLevels = ['debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof logLevels)[number]

export interface LogOptions {
  level: LogLevel
  format: 'json' | 'text'
  /** Gets whole lines. */
  write(line: string): void
}

/** Values under these keys are left out wherever they are; of `env` the names stay. */
const hidden = new Set([
  'authorization',
  'cookie',
  'password',
  'secret',
  '$secret',
  'token',
  'ticket',
  'session',
  'base64',
  'files',
  'value',
])
/** Deeper structures are cut: no log line is a dump. */
const MOST_DEPTH = 6

export function createLog({ level, format, write }: LogOptions): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }), log: (data) => once(masked(data, 0) as Record<string, unknown>) },
      // Masked with everything else, above; pino's own would put every property of an error into the line.
      serializers: { err: (value: unknown) => value },
    },
    { write: (line) => write(format === 'json' ? `${inert(line.trimEnd())}\n` : textOf(line)) },
  )
}

/** The line has these of its own: twice in one line, readers would take the wrong one, or refuse it. */
const own = new Set(['level', 'time'])

function once(data: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [own.has(key) ? `${key}_` : key, value]))
}

/** A copy that may be shown. Pure. */
export function masked(value: unknown, depth: number): unknown {
  if (typeof value === 'bigint') return value.toString()
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Error) return errorOf(value, depth)
  if (value instanceof Uint8Array) return `[${value.length} bytes]`
  if (depth >= MOST_DEPTH) return '[deep]'
  if (Array.isArray(value)) return value.map((inner) => masked(inner, depth + 1))
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]): [string, unknown] => {
      if (hidden.has(key.toLowerCase())) return [key, '[hidden]']
      if (key === 'env' && typeof inner === 'object' && inner !== null && !Array.isArray(inner)) return [key, Object.keys(inner)]
      return [key, masked(inner, depth + 1)]
    }),
  )
}

function errorOf(error: Error, depth: number): Record<string, unknown> {
  const { code, hint } = error as { code?: unknown; hint?: unknown }
  return {
    type: error.name,
    message: error.message,
    ...(typeof code === 'string' ? { code } : {}),
    ...(typeof hint === 'string' && hint !== '' ? { hint } : {}),
    stack: error.stack,
    ...(error.cause === undefined || depth >= MOST_DEPTH ? {} : { cause: masked(error.cause, depth + 1) }),
  }
}

/** `12:00:01 warn  what happened  key=value …`, an error's stack below it, further in: its message may have lines of anybody. */
function textOf(line: string): string {
  const { level, time, msg, err, ...data } = JSON.parse(line) as Record<string, unknown> & { msg?: string }
  const words = Object.entries(data).map(
    ([key, value]) => `${key}=${typeof value === 'string' && !/\s/.test(value) ? value : JSON.stringify(value)}`,
  )
  const error = err as { message?: string; stack?: string } | undefined
  const head = `${String(time).slice(11, 19)} ${String(level).padEnd(5)} ${[msg ?? error?.message ?? '', ...words].join('  ')}`
  const below = error === undefined ? [] : (error.stack ?? error.message ?? '').split('\n').map((frame) => `  ${frame}`)
  return `${[head, ...below].map(inert).join('\n')}\n`
}
