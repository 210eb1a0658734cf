/** Configuration of the fake provider, and the faults it can be told to have. */
import * as z from 'zod'
import { type Effect, type ProviderErrorCode, providerErrorCodes, type ThrottleScope } from '../../errors.ts'

export interface FailAction {
  kind: 'fail'
  code: ProviderErrorCode
  effect?: Effect
  /** `after`: the method has done its work, the caller gets the error all the same. Default `before`. */
  when?: 'before' | 'after'
  message?: string
  hint?: string
  retryAfterMs?: number
  scope?: ThrottleScope
  path?: string
  quota?: string
}

/** What a fault does to a call. */
export type FaultAction =
  | FailAction
  /** Waits first. */
  | { kind: 'delay'; ms: number }
  /** Never answers; `deaf` also ignores the call's signal. `after`: the answer is lost, the effect is there. */
  | { kind: 'hang' | 'deaf'; when?: 'before' | 'after' }
  /** The plugin process kills itself, before or after the method's work, or at a named step inside it. */
  | { kind: 'die'; when?: 'before' | 'after'; step?: string }
  /** `launch` makes a second worker with the same tags, of which the answer does not tell. */
  | { kind: 'double' }
  /** `launch` is accepted, then the worker shows this problem and never runs. */
  | { kind: 'late'; code: ProviderErrorCode; message?: string; final?: boolean }
  /** The vendor refuses every secret below this version (a number in the secret's version text). */
  | { kind: 'auth'; until: number }
  /** `list`, `inspect` and `watch` leave workers out: those named by the fault's `worker`, or all. */
  | { kind: 'hide' }
  /** `list` ends after so many workers as if there were no more. */
  | { kind: 'short'; workers: number }
  /** `list` cannot see these parts and says so. */
  | { kind: 'blind'; parts: string[] }
  /** Answers name another worker than they should. */
  | { kind: 'wrong-id' }
  /** Answers carry these tags. */
  | { kind: 'wrong-tags'; tags: Record<string, string> }
  /** `list` shows so many workers that are not there. */
  | { kind: 'extra'; workers: number }
  /** A stream repeats each item so many times. */
  | { kind: 'flood'; times: number }

export interface Fault {
  /** Uses are counted under this name, over restarts. */
  id: string
  /** Of the provider; `*` for all. */
  method: string
  /** Only calls for this worker. */
  worker?: string
  /** Calls that pass before the first use. Default 0. */
  skip?: number
  /** Uses; default without end. */
  times?: number
  action: FaultAction
}

const when = z.enum(['before', 'after']).exactOptional()
const code = z.enum(providerErrorCodes)
const text = z.string()
const count = z.int().min(0)

export const faultActionSchema: z.ZodType<FaultAction> = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('fail'),
    code,
    effect: z.enum(['none', 'possible']).exactOptional(),
    when,
    message: text.exactOptional(),
    hint: text.exactOptional(),
    retryAfterMs: count.exactOptional(),
    scope: z.enum(['launch', 'terminate', 'read', 'all']).exactOptional(),
    path: text.exactOptional(),
    quota: text.exactOptional(),
  }),
  z.strictObject({ kind: z.literal('delay'), ms: count }),
  z.strictObject({ kind: z.enum(['hang', 'deaf']), when }),
  z.strictObject({ kind: z.literal('die'), when, step: text.exactOptional() }),
  z.strictObject({ kind: z.literal('double') }),
  z.strictObject({ kind: z.literal('late'), code, message: text.exactOptional(), final: z.boolean().exactOptional() }),
  z.strictObject({ kind: z.literal('auth'), until: count }),
  z.strictObject({ kind: z.literal('hide') }),
  z.strictObject({ kind: z.literal('short'), workers: count }),
  z.strictObject({ kind: z.literal('blind'), parts: z.array(text) }),
  z.strictObject({ kind: z.literal('wrong-id') }),
  z.strictObject({ kind: z.literal('wrong-tags'), tags: z.record(text, text) }),
  z.strictObject({ kind: z.literal('extra'), workers: count }),
  z.strictObject({ kind: z.literal('flood'), times: count }),
])

export const faultSchema: z.ZodType<Fault> = z.strictObject({
  id: z.string().regex(/^[a-z0-9-]{1,60}$/),
  method: text,
  worker: text.exactOptional(),
  skip: count.exactOptional(),
  times: count.exactOptional(),
  action: faultActionSchema,
})

export interface FakeConfig {
  /** The vendor's folder. Default: `vendor` in the provider's own data folder. */
  dir?: string
  /** Most workers at once; without it as many as you like. */
  slots?: number
  /** Machines that workers are spread over, as named in `blind`. */
  parts?: string[]
  /** How late lists show a new worker, and how long they still show one that is gone. */
  launchMs?: number
  goneMs?: number
  /** How long a stop takes after `terminate` has answered. */
  stopMs?: number
  /** Name of the secret to ask the host for; the vendor's file `token` holds the value it accepts. */
  secret?: string
  faults?: Fault[]
}

export const fakeConfigSchema: z.ZodType<FakeConfig> = z.strictObject({
  dir: z.string().min(1).exactOptional(),
  slots: count.exactOptional(),
  parts: z.array(z.string().min(1)).min(1).exactOptional(),
  launchMs: count.exactOptional(),
  goneMs: count.exactOptional(),
  stopMs: count.exactOptional(),
  secret: z.string().min(1).exactOptional(),
  faults: z.array(faultSchema).exactOptional(),
})
