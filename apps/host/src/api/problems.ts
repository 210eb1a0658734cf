/** What the API answers when it does not do what was asked: RFC 9457 problems with closed codes. */
import { z } from 'zod'
import { type Problem, reasonOf } from '../config/problem.ts'
import type { Refusal } from '../engine/model.ts'

export interface ProblemKind {
  status: number
  title: string
  /** For the reference: when it is answered, and what a client does about it. */
  meaning: string
  /** The same request may succeed later without anybody's doing. */
  retry?: true
}

export const problemCodes = [
  'invalid-request',
  'unauthorized',
  'forbidden',
  'wrong-host',
  'not-found',
  'not-acceptable',
  'too-slow',
  'conflict',
  'ended',
  'leased',
  'ticket-used',
  'gap',
  'no-stdin',
  'not-ready',
  'gone',
  'too-large',
  'unsupported-media',
  'bad-offset',
  'refused',
  'config-refused',
  'plugin-refused',
  'not-accounted',
  'unsupported',
  'digest-mismatch',
  'idempotency-mismatch',
  'rate-limited',
  'head-too-large',
  'internal',
  'provider-failed',
  'busy',
  'stopping',
  'store-unavailable',
  'disk-full',
] as const
export type ProblemCode = (typeof problemCodes)[number]

export const problemKinds: Readonly<Record<ProblemCode, ProblemKind>> = {
  'invalid-request': {
    status: 400,
    title: 'The request is not valid',
    meaning: 'A part of the request fails its schema; `errors` names each part. Mend the request.',
  },
  unauthorized: {
    status: 401,
    title: 'No valid token',
    meaning: 'The request has no bearer token, or one that is unknown, expired or revoked.',
  },
  forbidden: { status: 403, title: 'Not allowed', meaning: 'The token is valid, and its role may not do this.' },
  'wrong-host': {
    status: 403,
    title: 'Wrong host or origin',
    meaning:
      'The Host or Origin header names another server: what a web page of somebody else would send. Use the address of the API itself.',
  },
  'not-found': { status: 404, title: 'Not found', meaning: 'There is no such thing, or it is no longer kept.' },
  'not-acceptable': {
    status: 406,
    title: 'No such representation',
    meaning: 'The Accept header names no media type of this resource.',
  },
  'too-slow': {
    status: 408,
    title: 'The request did not arrive in time',
    meaning: 'The head of a request must come within 15 seconds, and a body that is no stream within a minute. Send it again.',
    retry: true,
  },
  conflict: {
    status: 409,
    title: 'Conflict',
    meaning:
      'It contradicts what is so, as other bytes for an input that is there already, or forgetting a worker that can still be ended. The hint says what to do first.',
  },
  ended: {
    status: 409,
    title: 'It has ended',
    meaning: 'The lease, the run or its standard input has ended, and this needs a live one.',
  },
  leased: {
    status: 409,
    title: 'The worker is leased',
    meaning: 'Somebody holds the worker. Release the lease, or say `force`.',
  },
  'ticket-used': {
    status: 409,
    title: 'The ticket was exchanged before',
    meaning:
      "A ticket is good for one session. Either the agent asked twice, or somebody else has read the ticket: the worker's decisions have a row for each try.",
  },
  gap: {
    status: 409,
    title: 'Bytes are missing before this piece',
    meaning: 'Standard input, or the output that an agent hands in, goes on at the offset in `at`. Send from there.',
  },
  'no-stdin': { status: 409, title: 'The run has no standard input', meaning: 'Ask for it when the run is made: `stdin: true`.' },
  'not-ready': {
    status: 409,
    title: 'Not ready yet',
    meaning: 'What was asked for does not exist yet, as an output before the command has ended. Ask again later.',
    retry: true,
  },
  gone: { status: 410, title: 'Dropped', meaning: 'It was there, and retention has dropped it.' },
  'too-large': {
    status: 413,
    title: 'Too large',
    meaning: 'The body, or what it announces, is larger than the API takes. Files of some size travel as inputs.',
  },
  'unsupported-media': {
    status: 415,
    title: 'Wrong media type',
    meaning:
      'The Content-Type is not the one this resource takes, or the body is not sent plain: JSON is UTF-8, and no Content-Encoding is undone.',
  },
  'bad-offset': {
    status: 416,
    title: 'No such position',
    meaning:
      'The offset is no position of this log, or the number not one of a decision. Start at 0, or at a position that was given.',
  },
  refused: {
    status: 422,
    title: 'No pool could ever serve this',
    meaning: 'As asked, it would wait for ever. `nearest` names the pool that comes nearest and the field that differs.',
  },
  'config-refused': {
    status: 422,
    title: 'The configuration is refused',
    meaning: 'Nothing has changed. `errors` names each place as `file:line:column`, what is wrong there, and how to mend it.',
  },
  'plugin-refused': {
    status: 422,
    title: 'The version of the plugin is refused',
    meaning:
      'It cannot be loaded, does not fit the configuration, or cannot be started; `errors` says why. The version that ran goes on as if nothing had been.',
  },
  'not-accounted': {
    status: 409,
    title: 'The version of the plugin does not account for live workers',
    meaning:
      'It does not list a worker of the version that runs, or cannot read its handle; `errors` names each by its id. The version that ran goes on. End these workers, or use another version.',
  },
  unsupported: {
    status: 422,
    title: 'The provider cannot do this',
    meaning: "The worker's provider does not declare the capability.",
  },
  'digest-mismatch': {
    status: 422,
    title: 'Other bytes arrived than were announced',
    meaning: 'The SHA-256 of the body is not the announced one. Nothing was kept; send it again.',
  },
  'idempotency-mismatch': {
    status: 422,
    title: 'The idempotency key belongs to another request',
    meaning: 'This key was used with another method, path or body. Use a new key for a new request.',
  },
  'rate-limited': {
    status: 429,
    title: 'Too many at once',
    meaning:
      'The principal has asked too often, waits for too many answers or has as many streams open as are left for all others, or requests without a valid token came from its address too often. `Retry-After` says when to ask again.',
    retry: true,
  },
  'head-too-large': {
    status: 431,
    title: 'The head is too large',
    meaning: 'Request line and headers together hold more than 16 KiB. Send less in headers and query.',
  },
  internal: { status: 500, title: 'Internal error', meaning: "A fault of Muster; the daemon's log has it under `id`." },
  'provider-failed': {
    status: 502,
    title: 'The provider failed',
    meaning:
      'What was asked of the worker went wrong at its provider; the detail says what the provider said. `muster providers` says how it does.',
    retry: true,
  },
  busy: { status: 503, title: 'Busy', meaning: 'More work waits than may. Ask again later.', retry: true },
  stopping: {
    status: 503,
    title: 'Stopping',
    meaning: 'The daemon is about to end and takes no new work. Ask again when it is back.',
    retry: true,
  },
  'store-unavailable': {
    status: 503,
    title: 'The store cannot be written',
    meaning: 'Nothing of the request is kept. The hint says what is wrong with the disk or the database.',
    retry: true,
  },
  'disk-full': {
    status: 507,
    title: 'The disk is full',
    meaning: 'Nothing of the request is kept. It works again once there is room.',
    retry: true,
  },
}

export interface ProblemDetails {
  hint?: string
  /** Parts of the request that are wrong. */
  errors?: { path: string; message: string }[]
  nearest?: Refusal['nearest']
  /** With `refused`: the engine's own code of the refusal. */
  reason?: string
  /** With `gap`: where to go on. */
  at?: number
  retryAfterMs?: number
}

/** Thrown by routes; its message is the problem's detail and is shown to the client. */
export class ApiProblem extends Error {
  override readonly name = 'ApiProblem'
  readonly code: ProblemCode
  readonly details: ProblemDetails

  constructor(code: ProblemCode, detail: string, details: ProblemDetails = {}) {
    super(detail)
    this.code = code
    this.details = details
  }
}

export interface ProblemBody {
  type: string
  title: string
  status: number
  code: ProblemCode
  detail: string
  hint?: string
  errors?: { path: string; message: string }[]
  nearest?: NonNullable<Refusal['nearest']>
  reason?: string
  at?: number
  id?: string
}

export const problemSchema: z.ZodType<ProblemBody> = z.object({
  type: z.string().describe('`urn:muster:problem:` and the code.'),
  title: z.string(),
  status: z.int(),
  code: z.enum(problemCodes),
  detail: z.string(),
  hint: z.string().describe('What can be done about it.').exactOptional(),
  errors: z.array(z.object({ path: z.string(), message: z.string() })).exactOptional(),
  nearest: z
    .object({ pool: z.string(), field: z.string(), asked: z.string(), has: z.string() })
    .describe('With `refused`: the pool that comes nearest, and the field in which it differs.')
    .exactOptional(),
  reason: z.string().describe('With `refused`: why.').exactOptional(),
  at: z.int().describe('With `gap`: the offset to go on from.').exactOptional(),
  id: z.string().describe("With `internal`: what to look for in the daemon's log.").exactOptional(),
})

/** The body that is sent. */
export function problemBody(problem: ApiProblem, id?: string): ProblemBody {
  const { hint, errors, nearest, reason, at } = problem.details
  const kind = problemKinds[problem.code]
  return {
    type: `urn:muster:problem:${problem.code}`,
    title: kind.title,
    status: kind.status,
    code: problem.code,
    detail: problem.message,
    ...(hint === undefined || hint === '' ? {} : { hint }),
    ...(errors === undefined ? {} : { errors }),
    ...(nearest === undefined ? {} : { nearest }),
    ...(reason === undefined ? {} : { reason }),
    ...(at === undefined ? {} : { at }),
    ...(id === undefined ? {} : { id }),
  }
}

/** Each with the place that it is at, and what mends it. */
export function errorsOf(problems: readonly Problem[]): { path: string; message: string }[] {
  return problems.map(({ file, line, column, fix, ...why }) => ({
    path: `${file}:${line}:${column}`,
    message: `${reasonOf(why)}\n    fix: ${fix}`,
  }))
}
