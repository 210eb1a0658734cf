/** From whatever a room throws to the problem a client gets. */
import type { FastifyError } from 'fastify'
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod'
import { isProviderError, type ProviderErrorCode } from '@muster/core'
import { EngineError, type EngineErrorCode } from '../engine/api.ts'
import { RunError, type RunErrorCode } from '../engine/runs-api.ts'
import { StoreError } from '../store/store.ts'
import { ApiProblem, type ProblemCode } from './problems.ts'

const ofEngine: Readonly<Record<EngineErrorCode, ProblemCode>> = {
  refused: 'refused',
  'not-found': 'not-found',
  ended: 'ended',
  leased: 'leased',
  conflict: 'conflict',
  'ticket-used': 'ticket-used',
  stopping: 'stopping',
  busy: 'busy',
}

const ofRuns: Readonly<Record<RunErrorCode, ProblemCode>> = {
  'not-found': 'not-found',
  'not-ready': 'not-ready',
  unsupported: 'unsupported',
  ended: 'ended',
  conflict: 'conflict',
  digest: 'digest-mismatch',
  'too-large': 'too-large',
  gone: 'gone',
  'no-stdin': 'no-stdin',
  gap: 'gap',
  'bad-offset': 'bad-offset',
}

/** The others are no fault of whoever asks. */
const ofProvider: Partial<Record<ProviderErrorCode, ProblemCode>> = {
  'not-found': 'not-found',
  'invalid-spec': 'invalid-request',
  unsupported: 'unsupported',
  conflict: 'conflict',
}

const ofFastify: Readonly<Record<string, ProblemCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'too-large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported-media',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'invalid-request',
  FST_ERR_CTP_INVALID_JSON_BODY: 'invalid-request',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'invalid-request',
  FST_ERR_BAD_URL: 'invalid-request',
  // Ids and names are short: nothing has this one.
  FST_ERR_MAX_PARAM_LENGTH: 'not-found',
  FST_ERR_NOT_FOUND: 'not-found',
}

/** A client that asks again sooner only adds to the load it waits for. */
const RETRY_MS = 1000

/**
 * What the client is told; `internal` for everything that nobody threw on purpose. `query`: the names that the resource knows there.
 */
export function toProblem(error: unknown, query: readonly string[] = []): ApiProblem {
  if (error instanceof ApiProblem) return error
  if (error instanceof EngineError)
    return new ApiProblem(ofEngine[error.code], error.message, {
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      ...(error.refusal === undefined ? {} : { reason: error.refusal.code }),
      ...(error.refusal?.nearest === undefined ? {} : { nearest: error.refusal.nearest }),
      ...(error.code === 'stopping' || error.code === 'busy' ? { retryAfterMs: RETRY_MS } : {}),
    })
  if (error instanceof RunError)
    return new ApiProblem(ofRuns[error.code], error.message, {
      ...(error.at === undefined ? {} : { at: error.at }),
      ...(error.code === 'not-ready' ? { retryAfterMs: RETRY_MS } : {}),
    })
  if (error instanceof StoreError) return ofStore(error)
  if (isProviderError(error))
    return new ApiProblem(ofProvider[error.code] ?? 'provider-failed', error.message, {
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
    })
  if (hasZodFastifySchemaValidationErrors(error))
    return new ApiProblem('invalid-request', 'The request fails its schema.', {
      errors: error.validation.map((issue) => ({
        path: pathOf(error.validationContext ?? '', issue.instancePath),
        message: `${issue.message ?? 'is wrong'}${isStrange(issue, error.validationContext) ? namesOf(query) : ''}`,
      })),
    })
  if (['EMFILE', 'ENFILE'].includes((error as NodeJS.ErrnoException | undefined)?.code ?? ''))
    return new ApiProblem('busy', 'as many files are open as may be', {
      hint: 'Let the daemon open more: LimitNOFILE of its unit, ulimit -n.',
      retryAfterMs: RETRY_MS,
    })
  const code = ofFastify[(error as FastifyError | undefined)?.code ?? '']
  if (code !== undefined) return new ApiProblem(code, (error as FastifyError).message)
  return new ApiProblem('internal', 'Something went wrong inside the daemon.')
}

function isStrange({ keyword }: { keyword: string }, context: string | undefined): boolean {
  return context === 'querystring' && keyword === 'unrecognized_keys'
}

/** Of a resource that takes no query. */
export const NOTHING_ASKED = 'nothing is asked for there'

function namesOf(query: readonly string[]): string {
  return query.length === 0 ? `; ${NOTHING_ASKED}` : `; known: ${query.join(', ')}`
}

function ofStore(error: StoreError): ApiProblem {
  const details = { hint: error.hint, retryAfterMs: RETRY_MS }
  if (error.code === 'full') return new ApiProblem('disk-full', error.message, details)
  if (error.code === 'closed') return new ApiProblem('stopping', 'the daemon is stopping', details)
  if (error.code === 'overloaded') return new ApiProblem('busy', error.message, details)
  return new ApiProblem('store-unavailable', error.message, details)
}

/** A name of the client's, as that of a label, may be the fault itself, and as long as a body. */
const PART = 63
/** No schema goes so deep. */
const PARTS = 20

/** `body.outputs.0.name` of where and `/outputs/0/name`. */
function pathOf(where: string, pointer: string): string {
  return placeOf(where === 'querystring' ? 'query' : where, pointer.split('/'))
}

/** `body.outputs.0.name`, however long or deep what the client has sent is: shortened then. */
export function placeOf(where: string, inner: readonly string[]): string {
  const parts = inner.length > PARTS ? [...inner.slice(0, PARTS - 1), '…', ...inner.slice(-1)] : inner
  return [where, ...parts.map((part) => (part.length > PART ? `${part.slice(0, PART)}…` : part))]
    .filter((part) => part !== '')
    .join('.')
}
