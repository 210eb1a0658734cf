/** How `muster.yaml` says when something is ready, and which services stand beside a worker. */
import type { Readiness, ServiceSpec } from '@muster/core'
import { z } from 'zod'
import { strict } from './document.ts'
import { shortName, text } from './text.ts'
import { durationSchema } from './units.ts'

export interface ReadinessFile {
  exec?: string[]
  tcp?: number
  http?: { port: number; path: string }
  interval?: number
  timeout?: number
  failures?: number
}

export interface ServiceFile {
  name: string
  image: string
  env?: Record<string, string>
  command?: string[]
  readiness?: ReadinessFile
}

export const envSchema: z.ZodType<Record<string, string>> = z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string())

export const readinessSchema: z.ZodType<ReadinessFile> = strict({
  exec: z.array(text).min(1).exactOptional().describe('Command that exits 0 once it is ready.'),
  tcp: z.int().min(1).max(65_535).exactOptional().describe('Port that accepts a connection once it is ready.'),
  http: strict({ port: z.int().min(1).max(65_535), path: z.string().startsWith('/') }).exactOptional(),
  interval: durationSchema.exactOptional().describe('Time between two checks. Default 1s.'),
  timeout: durationSchema.exactOptional().describe('Longest time one check takes. Default 5s.'),
  failures: z.int().min(1).exactOptional().describe('Failures in a row after which it is not ready. Default 3.'),
})
  .refine(
    (value) => [value.exec, value.tcp, value.http].filter((check) => check !== undefined).length === 1,
    'give exactly one of exec, tcp and http',
  )
  // The same, for whoever reads the schema and not this code.
  .meta({ oneOf: [{ required: ['exec'] }, { required: ['tcp'] }, { required: ['http'] }] })

export const serviceSchema: z.ZodType<ServiceFile> = strict({
  name: shortName.describe('What the worker reaches it by.'),
  image: text.describe('Image that the service is made of.'),
  env: envSchema.exactOptional().describe('Variables of the service.'),
  command: z.array(z.string()).exactOptional().describe("Instead of the image's own arguments."),
  readiness: readinessSchema.exactOptional(),
})

const second = 1_000

export function readinessOf(given: ReadinessFile): Readiness {
  return {
    check: checkOf(given),
    intervalMs: given.interval ?? second,
    timeoutMs: given.timeout ?? 5 * second,
    failures: given.failures ?? 3,
  }
}

function checkOf(given: ReadinessFile): Readiness['check'] {
  if (given.exec !== undefined) return { kind: 'exec', command: given.exec }
  if (given.http !== undefined) return { kind: 'http', ...given.http }
  return { kind: 'tcp', port: given.tcp ?? 0 }
}

export function serviceOf({ readiness, ...same }: ServiceFile): ServiceSpec {
  return { ...same, ...(readiness === undefined ? {} : { readiness: readinessOf(readiness) }) }
}
