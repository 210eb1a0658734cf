/** The wire's methods of a credential provider: schemas of what each takes and gives. */
import * as z from 'zod'
import type {
  CredentialProvider,
  Grant,
  GrantRequest,
  RotateStage,
  ScopeClosed,
  ScopePage,
  ScopeRef,
  ScopeRequest,
} from '../credential.ts'
import type { Handle, Probe } from '../provider.ts'
import { instantSchema, type Instant, type SecretText, secretTextSchema, workerIdSchema } from '../spec.ts'
import { maxPageBytes } from './limits.ts'
import { type CallParams, callParamsSchema, type MethodSpec, type Nothing, nothingSchema } from './messages.ts'
import { handleSchema, probeSchema } from './worker-schemas.ts'

/** Names of all methods of a credential provider. */
export type CredentialMethod = keyof CredentialProvider

const call = callParamsSchema
const text = z.string().min(1)
const ttl = z.int().min(1)
const values: z.ZodType<Record<string, SecretText>> = z.record(z.string(), secretTextSchema)

export const scopeRequestSchema: z.ZodType<ScopeRequest> = z.strictObject({
  id: text,
  workerId: workerIdSchema,
  tenant: text,
  maxLifeSeconds: ttl,
})
export const scopeRefSchema: z.ZodType<ScopeRef> = z.strictObject({
  id: text,
  handle: handleSchema,
  key: secretTextSchema.exactOptional(),
})
export const grantRequestSchema: z.ZodType<GrantRequest> = z.strictObject({
  name: text,
  settings: z.unknown().exactOptional(),
  ttlSeconds: ttl,
})
export const grantSchema: z.ZodType<Grant> = z.strictObject({
  id: text,
  value: values,
  expiresAt: instantSchema,
  hardMaximum: instantSchema,
})
export const scopeClosedSchema: z.ZodType<ScopeClosed> = z.discriminatedUnion('state', [
  z.strictObject({ state: z.literal('closed') }),
  z.strictObject({ state: z.literal('expires'), at: instantSchema }),
])
export const scopePageSchema: z.ZodType<ScopePage> = z.strictObject({
  scopes: z.array(z.strictObject({ id: text, handle: handleSchema, expiresAt: instantSchema.exactOptional() })).max(500),
  next: text.exactOptional(),
  asOf: instantSchema,
})
const versionSchema: z.ZodType<{ version: string }> = z.strictObject({ version: text })
const stages: readonly [RotateStage, ...RotateStage[]] = ['create', 'set', 'test', 'finish', 'rollback']

interface OnScope {
  call: CallParams
  scope: ScopeRef
}

/** Params and result of each method. */
export interface CredentialWire {
  probe: { params: { call: CallParams }; result: Probe }
  openScope: { params: { call: CallParams; scope: ScopeRequest }; result: { handle: Handle; key?: SecretText } }
  issue: { params: OnScope & { request: GrantRequest }; result: Grant }
  renew: { params: OnScope & { grant: { id: string; ttlSeconds: number } }; result: Grant }
  revoke: { params: OnScope & { grant: { id: string } }; result: Nothing }
  closeScope: { params: OnScope; result: ScopeClosed }
  listScopes: { params: { call: CallParams; query: { owner: string; limit: number; cursor?: string } }; result: ScopePage }
  read: {
    params: { call: CallParams; secret: { path: string; version?: string } }
    result: { value: Record<string, SecretText>; version: string }
  }
  write: {
    params: { call: CallParams; secret: { path: string; value: Record<string, SecretText> } }
    result: { version: string }
  }
  versions: { params: { call: CallParams; secret: { path: string } }; result: { version: string; at?: Instant }[] }
  restore: { params: { call: CallParams; secret: { path: string; version: string } }; result: { version: string } }
  rotate: { params: { call: CallParams; secret: { path: string; stage: RotateStage; token: string } }; result: Nothing }
}

const other = { lane: 'other' } as const
const nothing = { result: nothingSchema, nothing: true } as const
/** Ending access never waits behind giving it. */
const first = { lane: 'terminate' } as const

export const credentialMethods: {
  readonly [M in CredentialMethod]: MethodSpec<CredentialWire[M]['params'], CredentialWire[M]['result']>
} = {
  probe: { ...other, args: [], params: z.strictObject({ call }), result: probeSchema },
  openScope: {
    ...other,
    args: ['scope'],
    params: z.strictObject({ call, scope: scopeRequestSchema }),
    result: z.strictObject({ handle: handleSchema, key: secretTextSchema.exactOptional() }),
  },
  issue: {
    ...other,
    args: ['scope', 'request'],
    params: z.strictObject({ call, scope: scopeRefSchema, request: grantRequestSchema }),
    result: grantSchema,
  },
  renew: {
    ...other,
    args: ['scope', 'grant'],
    params: z.strictObject({ call, scope: scopeRefSchema, grant: z.strictObject({ id: text, ttlSeconds: ttl }) }),
    result: grantSchema,
  },
  revoke: {
    ...first,
    ...nothing,
    args: ['scope', 'grant'],
    params: z.strictObject({ call, scope: scopeRefSchema, grant: z.strictObject({ id: text }) }),
  },
  closeScope: { ...first, args: ['scope'], params: z.strictObject({ call, scope: scopeRefSchema }), result: scopeClosedSchema },
  listScopes: {
    ...other,
    args: ['query'],
    params: z.strictObject({
      call,
      query: z.strictObject({ owner: text, limit: z.int().min(1).max(500), cursor: z.string().exactOptional() }),
    }),
    result: scopePageSchema,
    maxBytes: maxPageBytes,
    check: ({ query }, page) =>
      page.scopes.length > query.limit ? `scopes: ${page.scopes.length} scopes where the limit is ${query.limit}` : undefined,
  },
  read: {
    ...other,
    args: ['secret'],
    params: z.strictObject({ call, secret: z.strictObject({ path: text, version: text.exactOptional() }) }),
    result: z.strictObject({ value: values, version: text }),
  },
  write: {
    ...other,
    args: ['secret'],
    params: z.strictObject({ call, secret: z.strictObject({ path: text, value: values }) }),
    result: versionSchema,
  },
  versions: {
    ...other,
    args: ['secret'],
    params: z.strictObject({ call, secret: z.strictObject({ path: text }) }),
    result: z.array(z.strictObject({ version: text, at: instantSchema.exactOptional() })),
  },
  restore: {
    ...other,
    args: ['secret'],
    params: z.strictObject({ call, secret: z.strictObject({ path: text, version: text }) }),
    result: versionSchema,
  },
  rotate: {
    ...other,
    ...nothing,
    args: ['secret'],
    params: z.strictObject({ call, secret: z.strictObject({ path: text, stage: z.enum(stages), token: text }) }),
  },
}
