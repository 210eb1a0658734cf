/**
 * The contract as JSON Schema 2020-12, for plugins in other languages. Two documents: the plugin manifest, and the wire, whose
 * `$defs` hold every value and whose `methods` say what each method takes, gives and streams. Run as a program, it writes them.
 */
import { writeFileSync } from 'node:fs'
import * as z from 'zod'
import { contractVersion, credentialCapabilitiesSchema, pluginManifestSchema, workerCapabilitiesSchema } from '../plugin.ts'
import { ownerTagsSchema, resourcesSchema, secretTextSchema } from '../spec.ts'
import {
  credentialMethods,
  grantRequestSchema,
  grantSchema,
  scopeClosedSchema,
  scopePageSchema,
  scopeRefSchema,
  scopeRequestSchema,
} from './credential-messages.ts'
import { wireErrorSchema } from './error-data.ts'
import { execHeaderSchema, logHeaderSchema } from './items.ts'
import * as limits from './limits.ts'
import {
  callParamsSchema,
  errorMessageSchema,
  lifeMethods,
  type MethodSpec,
  nothingSchema,
  notificationMessageSchema,
  notificationSchemas,
  requestMessageSchema,
  resultMessageSchema,
  secretMethod,
} from './messages.ts'
import { inlineLaunchSpecSchema, workerMethods } from './worker-messages.ts'
import {
  handleSchema,
  workerExitSchema,
  workerObservationSchema,
  workerPageSchema,
  workerStatsSchema,
  workerTargetSchema,
} from './worker-schemas.ts'

const dialect = 'https://json-schema.org/draft/2020-12/schema'

/** What a schema cannot say, beside the value it is about. */
const said: readonly [string, z.ZodType, string?][] = [
  ['Call', callParamsSchema],
  ['Credential', credentialCapabilitiesSchema],
  ['Error', wireErrorSchema],
  [
    'ExecItem',
    execHeaderSchema,
    "Header of an item of exec output. Each stream goes on exactly where it was, from the command's `from`.",
  ],
  ['Grant', grantSchema],
  ['GrantRequest', grantRequestSchema],
  ['Handle', handleSchema, `At most ${limits.maxHandleBytes} bytes as JSON.`],
  [
    'LaunchSpec',
    inlineLaunchSpecSchema,
    `\`files\` (decoded) and \`env\`, of services too, are together at most ${limits.maxInlineBytes} bytes.`,
  ],
  ['LogItem', logHeaderSchema, 'Header of an item of logs. `cursor` is at most 200 bytes in UTF-8.'],
  ['Nothing', nothingSchema],
  ['OwnerTags', ownerTagsSchema],
  ['Resources', resourcesSchema],
  ['ScopeClosed', scopeClosedSchema],
  ['ScopePage', scopePageSchema],
  ['ScopeRef', scopeRefSchema],
  ['ScopeRequest', scopeRequestSchema],
  ['SecretText', secretTextSchema],
  ['WorkerCapabilities', workerCapabilitiesSchema],
  ['WorkerExit', workerExitSchema],
  ['WorkerObservation', workerObservationSchema, 'Also the header of an item of watch.'],
  ['WorkerPage', workerPageSchema, `At most ${limits.maxPageBytes} bytes as JSON.`],
  ['WorkerStats', workerStatsSchema, 'Also the header of an item of stats.'],
  ['WorkerTarget', workerTargetSchema],
]

/** File name to document. */
export function jsonSchemas(): Record<string, object> {
  return { 'muster-plugin.json': manifestDocument(), 'wire.json': wireDocument() }
}

function manifestDocument(): object {
  return {
    $schema: dialect,
    title: 'Manifest of a Muster plugin (muster-plugin.json)',
    ...plain(z.toJSONSchema(pluginManifestSchema)),
  }
}

function wireDocument(): object {
  const registry = z.registry<{ id: string; description?: string }>()
  for (const [id, schema, description] of said) registry.add(schema, description === undefined ? { id } : { id, description })
  const methods: Record<string, object> = {}
  /** A value that has a name already keeps it. */
  const nameOf = (id: string, schema: z.ZodType): string => {
    if (registry.get(schema) === undefined) registry.add(schema, { id })
    return registry.get(schema)?.id ?? id
  }
  const add = (name: string, spec: MethodSpec): void => {
    const params = nameOf(`${name}.params`, spec.params)
    methods[name] = methodEntry(spec, { params, result: nameOf(`${name}.result`, spec.result) })
  }
  for (const [name, spec] of Object.entries(lifeMethods)) add(name, spec)
  for (const [name, spec] of Object.entries(workerMethods)) add(`worker.${name}`, spec)
  for (const [name, spec] of Object.entries(credentialMethods)) add(`credential.${name}`, spec)
  add('secret', secretMethod)
  const messages = {
    request: requestMessageSchema,
    notification: notificationMessageSchema,
    result: resultMessageSchema,
    error: errorMessageSchema,
  }
  for (const [name, schema] of Object.entries(messages)) registry.add(schema, { id: `message.${name}` })
  for (const [name, schema] of Object.entries(notificationSchemas)) registry.add(schema, { id: name })

  const { schemas } = z.toJSONSchema(registry, { uri: reference })
  const definitions = Object.entries(schemas).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return {
    $schema: dialect,
    title: `The wire between the Muster host and a plugin, contract ${contractVersion}`,
    // The names of a module are in order.
    limits: { ...limits },
    methods,
    notifications: Object.fromEntries(Object.keys(notificationSchemas).map((name) => [name, { $ref: reference(name) }])),
    $defs: Object.fromEntries(definitions.map(([id, schema]) => [id, plain(schema)])),
  }
}

function methodEntry(spec: MethodSpec, { params, result }: { params: string; result: string }): object {
  return {
    params: { $ref: reference(params) },
    result: { $ref: reference(result) },
    lane: spec.lane,
    ...(spec.out === undefined ? {} : { out: spec.out }),
    ...(spec.in === undefined ? {} : { in: spec.in }),
    ...(spec.maxBytes === undefined ? {} : { maxBytes: spec.maxBytes }),
  }
}

/** A JSON pointer inside the document. */
function reference(id: string): string {
  return `#/$defs/${id.replaceAll('~', '~0').replaceAll('/', '~1')}`
}

/** The document names the dialect once, and its parts need no address of their own. */
function plain({ $schema, $id, id, ...rest }: Record<string, unknown>): object {
  void [$schema, $id, id]
  return rest
}

if (import.meta.main)
  for (const [name, document] of Object.entries(jsonSchemas()))
    writeFileSync(new URL(`../../schema/${name}`, import.meta.url), `${JSON.stringify(document, undefined, 2)}\n`)
