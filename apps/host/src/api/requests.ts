/** From a body of the API to what the engine is asked. Pure. */
import type { Requirements, LeaseRequest, RunRequest } from '../engine/model.ts'
import type { ExecRequest } from '../engine/runs-api.ts'
import { ApiProblem } from './problems.ts'
import { type ExecBody, INLINE_BYTES, type LeaseBody, type RunBody } from './bodies.ts'

/** A client that dies holds its worker no longer than this. */
const LEASE_TTL_MS = 300_000

export function toLeaseRequest(body: LeaseBody, principal: string): LeaseRequest {
  const { pool, ttlMs = LEASE_TTL_MS, queueTimeoutMs, ...requirements } = body
  return { pool, ttlMs, principal, requirements, ...(queueTimeoutMs === undefined ? {} : { queueTimeoutMs }) }
}

export function toRunRequest(body: RunBody): RunRequest {
  const { image, profile, resources, os, arch, mode, stdin = false, inputs = [], outputs = [], ...same } = body
  const wishes = { image, profile, resources, os, arch, mode }
  const requirements = Object.fromEntries(Object.entries(wishes).filter(([, wish]) => wish !== undefined)) as Requirements
  return { ...same, requirements, stdin, inputs, outputs }
}

export function toExecRequest({ stdin = false, ...body }: ExecBody): ExecRequest {
  return { ...body, stdin }
}

/** What travels inside the request is held in memory and kept in the store: it is bounded. */
export function checkInline(body: LeaseBody | RunBody | ExecBody): void {
  const { files = [], ...rest } = body as RunBody
  let bytes = 0
  for (const value of Object.values(rest)) bytes += textBytes(value)
  for (const { base64, ...file } of files) bytes += Buffer.byteLength(base64, 'base64') + textBytes(file)
  if (bytes > INLINE_BYTES)
    throw new ApiProblem('too-large', `the request and its files hold ${bytes} bytes, and ${INLINE_BYTES} is the most`, {
      hint: 'Send what is large as an input.',
    })
}

/** Of all strings in it, names too. */
function textBytes(value: unknown): number {
  if (typeof value === 'string') return Buffer.byteLength(value)
  if (Array.isArray(value)) return value.reduce<number>((sum, one) => sum + textBytes(one), 0)
  if (typeof value !== 'object' || value === null) return 0
  return Object.entries(value).reduce((sum, [name, one]) => sum + Buffer.byteLength(name) + textBytes(one), 0)
}
