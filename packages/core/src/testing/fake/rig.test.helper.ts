/** The fake provider in this process, without a wire: a vendor of its own for each test. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { Call, ListQuery, WorkerProvider } from '../../provider.ts'
import type { LaunchSpec } from '../../spec.ts'
import { newWorkerId } from '../ids.ts'
import type { FakeConfig, Fault, FaultAction } from './config.ts'
import { type FakeControl, fakeControl } from './control.ts'
import { fakeProvider } from './plugin.ts'

export interface Rig {
  control: FakeControl
  provider: Required<WorkerProvider>
  /** Another process's provider over the same vendor. */
  another(): Required<WorkerProvider>
  time: { now: number }
}

export function openRig(config: Omit<FakeConfig, 'dir'> = {}): Rig {
  const dir = mkdtempSync(join(tmpdir(), 'muster-fake-unit-'))
  const control = fakeControl(dir)
  onTestFinished(() => control.destroy())
  const time = { now: 1_000_000 }
  const open = (): Required<WorkerProvider> =>
    fakeProvider({ config: { dir, ...config }, now: () => time.now }) as Required<WorkerProvider>
  return { control, provider: open(), another: open, time }
}

export const query: ListQuery = { tags: { 'muster-owner': 'o', 'muster-provider': 'p' }, limit: 500 }

export function holding(over: Partial<LaunchSpec> = {}): LaunchSpec {
  const id = over.id ?? newWorkerId()
  const tags = { 'muster-owner': 'o', 'muster-provider': 'p', 'muster-pool': 'x', 'muster-worker': id, 'muster-epoch': '1' }
  return { id, tags, work: { mode: 'hold' }, ...over }
}

export function callOf(over: Partial<Call> = {}): Call {
  return {
    signal: new AbortController().signal,
    deadline: Date.now() + 10_000,
    idempotencyKey: 'key',
    epoch: 1,
    attempt: 1,
    log: { debug() {}, info() {}, warn() {}, error() {} },
    trace: { traceparent: '' },
    now: Date.now,
    secret: () => Promise.reject(new Error('no secrets here')),
    ...over,
  }
}

/** One fault of a method, on every call. */
export function faultOf(method: string, action: FaultAction, over: Partial<Fault> = {}): Fault {
  return { id: `${method.toLowerCase().replaceAll(/[^a-z]/g, '')}-${action.kind}`, method, action, ...over }
}
