/** Specs for tests of what is pure. */
import type { Call, LaunchSpec, SpecField } from '@muster/core'
import manifest from '../../muster-plugin.json' with { type: 'json' }

export const fields = manifest.capabilities.fields as SpecField[]

export const id = 'w00000000000000000000000001'

export function specOf(over: Partial<LaunchSpec> = {}): LaunchSpec {
  const tags = {
    'muster-owner': 'owner',
    'muster-provider': 'kubernetes',
    'muster-pool': 'pool',
    'muster-worker': id,
    'muster-epoch': '1',
  }
  return { id, tags, work: { mode: 'hold' }, image: 'node:26', ...over }
}

/** A spec that is refused so, before anything is done. */
export function refusal(code: string, path: string): Error {
  return { code, effect: 'none', path } as unknown as Error
}

/** A call that nobody gives up. */
export function newCall(): Call {
  const log = { debug() {}, info() {}, warn() {}, error() {} }
  return {
    signal: new AbortController().signal,
    deadline: Number.MAX_SAFE_INTEGER,
    idempotencyKey: 'key',
    epoch: 1,
    attempt: 1,
    log,
    trace: { traceparent: '' },
    now: Date.now,
    secret: () => Promise.reject(new Error('no secrets here')),
  }
}
