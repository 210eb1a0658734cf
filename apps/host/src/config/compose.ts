/**
 * The common part of a Compose file, as the services of a pool. What it does not know is a problem with its line: nothing is left out.
 * Source: the Compose specification, "Services top-level elements".
 */
import { z } from 'zod'
import { loadDocument, type Loaded, strict } from './document.ts'
import type { Problem } from './problem.ts'
import { shortName, text } from './text.ts'

/** As `worker.services` of `muster.yaml` is written. */
export interface WrittenService {
  name: string
  image: string
  env?: Record<string, string>
  command?: string[]
  readiness?: { exec: string[]; interval: string; timeout: string; failures: number }
}

export interface Imported {
  /** In an order in which each stands behind what it needs. Absent when there are problems. */
  services?: WrittenService[]
  /** Ports that the file publishes on the machine: a job needs none of that. */
  ports: { service: string; ports: string[] }[]
  problems: Problem[]
}

const scalar = z.union([z.string(), z.number(), z.boolean()]).transform(String)
const port = z.union([text, z.int()]).transform(String)

/** As `1m30s` or `500ms`, to milliseconds. */
const duration = text.transform((value, context) => {
  const parts = [...value.matchAll(/(\d+(?:\.\d+)?)(ms|us|s|m|h)/g)]
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== value) {
    context.addIssue({ code: 'custom', message: `'${value}' is no duration: write 500ms, 10s or 1m30s` })
    return z.NEVER
  }
  const units: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000, h: 3_600_000 }
  return parts.reduce((sum, [, number, unit = '']) => sum + Number(number) * (units[unit] ?? 0), 0)
})

const healthcheck = strict({
  test: z.union([text, z.array(text).min(1)]),
  interval: duration.exactOptional(),
  timeout: duration.exactOptional(),
  start_period: duration.exactOptional(),
  retries: z.int().min(1).exactOptional(),
})

const service = strict({
  image: text,
  command: z.union([text, z.array(scalar)]).exactOptional(),
  environment: z
    .union([z.record(z.string(), scalar), z.array(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*=/, 'write NAME=value'))])
    .exactOptional(),
  depends_on: z
    .union([z.array(text), z.record(z.string(), strict({ condition: z.enum(['service_started', 'service_healthy']) }))])
    .exactOptional(),
  healthcheck: healthcheck.exactOptional(),
  expose: z.array(port).exactOptional(),
  ports: z.array(port).exactOptional(),
  restart: z.enum(['no']).exactOptional(),
})

const composeSchema = strict({
  version: text.exactOptional(),
  name: text.exactOptional(),
  services: z.record(shortName, service),
})
type ComposeFile = z.infer<typeof composeSchema>
type ComposeService = ComposeFile['services'][string]

export function importCompose(file: string, content: string): Imported {
  const loaded = loadDocument(file, content, composeSchema)
  const { value, problems } = loaded
  if (value === undefined) return { ports: [], problems }
  const wrong = [...checkNeeds(value, loaded), ...checkCommands(value, loaded)]
  if (wrong.length > 0) return { ports: [], problems: wrong }
  return {
    services: inOrder(value).map((name) => serviceOf(name, value.services[name] as ComposeService)),
    ports: Object.entries(value.services).flatMap(([name, { ports = [] }]) =>
      ports.length === 0 ? [] : [{ service: name, ports }],
    ),
    problems: [],
  }
}

function needsOf({ depends_on: needs = [] }: ComposeService): string[] {
  return Array.isArray(needs) ? needs : Object.keys(needs)
}

function checkNeeds({ services }: ComposeFile, { problem }: Loaded<unknown>): Problem[] {
  return Object.entries(services).flatMap(([name, given]) => {
    const at = ['services', name, 'depends_on']
    return needsOf(given).flatMap((need): Problem[] => {
      if (services[need] === undefined)
        return [problem(at, { reason: `there is no service '${need}'`, fix: 'add it, or remove it from depends_on' })]
      if (!reaches(services, need, name)) return []
      return [problem(at, { reason: `'${name}' and '${need}' wait for each other`, fix: 'let one of them go first' })]
    })
  })
}

/** Does `from` need `to`, at once or by others? */
function reaches(services: ComposeFile['services'], from: string, to: string): boolean {
  const seen = new Set<string>()
  const visit = (name: string): boolean => {
    if (name === to) return true
    const found = services[name]
    if (found === undefined || seen.has(name)) return false
    seen.add(name)
    return needsOf(found).some(visit)
  }
  return visit(from)
}

/** A program as one text is split by Compose as a shell does: what stands in quotes is for a person to write as a list. */
function checkCommands({ services }: ComposeFile, { problem }: Loaded<unknown>): Problem[] {
  return Object.entries(services).flatMap(([name, { command }]) =>
    typeof command === 'string' && /["'\\$`]/.test(command)
      ? [problem(['services', name, 'command'], { reason: 'it has quotes or variables', fix: 'write it as a list of words' })]
      : [],
  )
}

/** As the file has them, but each behind all that it needs. */
function inOrder({ services }: ComposeFile): string[] {
  const done = new Set<string>()
  const visit = (name: string): void => {
    if (done.has(name)) return
    for (const need of needsOf(services[name] as ComposeService)) visit(need)
    done.add(name)
  }
  for (const name of Object.keys(services)) visit(name)
  return [...done]
}

function serviceOf(name: string, { image, command, environment, healthcheck: health }: ComposeService): WrittenService {
  const words = typeof command === 'string' ? command.trim().split(/\s+/) : command
  const env = Array.isArray(environment)
    ? Object.fromEntries(environment.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]))
    : environment
  const readiness = health === undefined ? undefined : readinessOf(health)
  return {
    name,
    image,
    ...(env === undefined ? {} : { env }),
    ...(words === undefined ? {} : { command: words }),
    ...(readiness === undefined ? {} : { readiness }),
  }
}

/** Compose's defaults are 30 s between checks; before a job that is a long wait for a database that takes two. */
const INTERVAL_MS = 1_000
const TIMEOUT_MS = 30_000

function readinessOf({
  test,
  interval = INTERVAL_MS,
  timeout = TIMEOUT_MS,
  retries = 3,
  start_period: start = 0,
}: z.infer<typeof healthcheck>): WrittenService['readiness'] {
  const [kind, ...words] = typeof test === 'string' ? ['CMD-SHELL', test] : test
  if (kind === 'NONE') return undefined
  const exec = kind === 'CMD-SHELL' ? ['/bin/sh', '-c', words.join(' ')] : words
  // In its first time a service may fail without being counted out: as many more failures are allowed here.
  return { exec, interval: `${interval}ms`, timeout: `${timeout}ms`, failures: retries + Math.ceil(start / interval) }
}
