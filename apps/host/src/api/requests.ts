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

interface Inline {
  command?: RunBody['command']
  env?: RunBody['env']
  files?: RunBody['files']
}

/** What travels inside the request is held in memory and sealed in the store: it is bounded. */
export function checkInline({ command = [], env = {}, files = [] }: Inline): void {
  let bytes = 0
  for (const word of command) bytes += Buffer.byteLength(word)
  for (const [name, value] of Object.entries(env)) bytes += Buffer.byteLength(name) + Buffer.byteLength(value)
  for (const file of files) bytes += Buffer.byteLength(file.base64, 'base64')
  if (bytes > INLINE_BYTES)
    throw new ApiProblem('too-large', `command, env and files hold ${bytes} bytes together, and ${INLINE_BYTES} is the most`, {
      hint: 'Send what is large as an input.',
    })
}
