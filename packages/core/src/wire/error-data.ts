/** A {@link ProviderError} as `error` of a JSON-RPC answer, and back. */
import * as z from 'zod'
import { type Effect, ProviderError, type ProviderErrorCode, providerErrorCodes, type ThrottleScope } from '../errors.ts'
import { maxErrorMessage, maxErrorText } from './limits.ts'

/** The fields of a ProviderError; the cause stays where it was. */
export interface WireErrorData {
  code: ProviderErrorCode
  effect: Effect
  hint?: string
  retryAfterMs?: number
  scope?: ThrottleScope
  path?: string
  quota?: string
}

export interface WireError {
  /** JSON-RPC's number: -32601 unknown method, -32602 bad params, else -32000. The meaning is in `data`. */
  code: number
  message: string
  data: WireErrorData
}

const text = z.string().max(maxErrorText)

export const wireErrorDataSchema: z.ZodType<WireErrorData> = z.strictObject({
  code: z.enum(providerErrorCodes),
  effect: z.enum(['none', 'possible']),
  hint: text.exactOptional(),
  retryAfterMs: z.number().min(0).exactOptional(),
  scope: z.enum(['launch', 'terminate', 'read', 'all']).exactOptional(),
  path: text.exactOptional(),
  quota: text.exactOptional(),
})

export const wireErrorSchema: z.ZodType<WireError> = z.strictObject({
  code: z.int(),
  message: z.string().max(maxErrorMessage),
  data: wireErrorDataSchema,
})

export const rpcMethodNotFound: number = -32_601
export const rpcInvalidParams: number = -32_602
const rpcFailed: number = -32_000

/** Texts are cleaned of control characters and capped; `clean` is applied before that, to take secrets out. */
export function toWireError(error: ProviderError, clean: (text: string) => string = same): WireError {
  const data: WireErrorData = { code: error.code, effect: error.effect }
  if (error.hint !== undefined) data.hint = plainText(clean(error.hint), maxErrorText)
  if (error.retryAfterMs !== undefined) data.retryAfterMs = error.retryAfterMs
  if (error.scope !== undefined) data.scope = error.scope
  if (error.path !== undefined) data.path = plainText(clean(error.path), maxErrorText)
  if (error.quota !== undefined) data.quota = plainText(clean(error.quota), maxErrorText)
  return { code: rpcFailed, message: plainText(clean(error.message), maxErrorMessage), data }
}

export function fromWireError(error: WireError): ProviderError {
  const { code, ...options } = error.data
  for (const key of ['hint', 'path', 'quota'] as const) {
    const value = options[key]
    if (value !== undefined) options[key] = plainText(value, maxErrorText)
  }
  return new ProviderError(code, plainText(error.message, maxErrorMessage), options)
}

/** One line without control characters and without characters that turn the direction of text, at most so long. */
export function plainText(value: string, max: number): string {
  // A cap before the replacement bounds the work; line ends and tabs become one space.
  const flat = value
    .slice(0, max * 2)
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/[\p{Cc}\u200E\u200F\u202A-\u202E\u2066-\u2069]/gu, '')
    .toWellFormed()
  return flat.length > max ? `${flat.slice(0, max - 1).toWellFormed()}…` : flat
}

function same(value: string): string {
  return value
}
