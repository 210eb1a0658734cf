/** Log of a plugin process: one JSON object a line on stderr, without secrets. */
import type { CallLog } from '../provider.ts'
import type { Redactor } from './redact.ts'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** Longest line in characters; one that is longer loses its data, and its message is cut. */
const maxLine = 16 * 1024

export interface LogTarget {
  write(line: string): void
  redactor: Redactor
}

/** `base` is data of every line, as the provider's name. */
export function createLog(target: LogTarget, base: Record<string, unknown>): CallLog {
  const at =
    (level: LogLevel) =>
    (message: string, data?: Record<string, unknown>): void => {
      // Cleaned before it can be cut: half a secret would not be found.
      const head = { time: new Date().toISOString(), level, message: target.redactor.clean(message), ...base }
      target.write(`${target.redactor.clean(line(head, data))}\n`)
    }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

function line(head: Record<string, unknown> & { message: string }, data: Record<string, unknown> | undefined): string {
  let whole: string
  try {
    whole = JSON.stringify(data === undefined ? head : { ...head, data }, writable)
  } catch (error) {
    whole = JSON.stringify({ ...head, unwritable: error instanceof Error ? error.message : 'data' })
  }
  if (whole.length <= maxLine) return whole
  return JSON.stringify({ ...head, message: head.message.slice(0, maxLine / 4), cut: true })
}

/** Errors have no own enumerable fields, and secrets are never written. */
function writable(key: string, value: unknown): unknown {
  if (key === '$secret') return '[secret]'
  if (value instanceof Error) return { ...(value as object), name: value.name, message: value.message, stack: value.stack }
  return typeof value === 'bigint' ? value.toString() : value
}
