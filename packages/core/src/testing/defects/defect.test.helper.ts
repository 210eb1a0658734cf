/** A seeded defect: the fake provider with one fault, and the one test of the suite that must catch it. */
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { WorkerPlugin, WorkerPluginManifest } from '../../plugin.ts'
import type { Call, WorkerObservation, WorkerPage, WorkerProvider } from '../../provider.ts'
import type { FakeConfig } from '../fake/config.ts'
import { readText } from '../fake/cell.ts'
import type { WorkerRecord } from '../fake/vendor.ts'
import { type FakeControl, fakeControl } from '../fake/control.ts'
import type { Life } from '../fake/life.ts'
import { type FakeOptions, fakePlugin } from '../fake/plugin.ts'

/** Where a defect lives. */
export interface Spot {
  control: FakeControl
  life: Life
  /** Names that the vendor keeps beside its workers; by name of the defect's own use. */
  side(name: string): Side
}

/** A set of names that outlives the plugin process. */
export interface Side {
  add(name: string): void
  has(name: string): boolean
  remove(name: string): void
}

export interface Defect {
  /** What is wrong, in words. */
  name: string
  /** Names of tests; exactly these catch it. */
  caughtBy: string
  capabilities?: FakeOptions['capabilities']
  /** What the running plugin says it is. */
  manifest?(manifest: WorkerPluginManifest): WorkerPluginManifest
  wrap?(provider: WorkerProvider, spot: Spot): Partial<WorkerProvider>
  /** Seen from outside only: run in a process of its own. */
  ownProcess?: true
}

export function defectivePlugin(defect: Defect, life: Life): WorkerPlugin<FakeConfig> {
  const options = { life, ...(defect.capabilities !== undefined && { capabilities: defect.capabilities }) }
  const plugin = fakePlugin(options)
  return {
    manifest: defect.manifest?.(plugin.manifest) ?? plugin.manifest,
    async create(config, context) {
      const provider = await plugin.create(config, context)
      const control = fakeControl(config.dir ?? '')
      const spot: Spot = { control, life, side: (name) => sideOf(join(control.dir, 'side', name)) }
      return { ...provider, ...defect.wrap?.(provider, spot) }
    },
  }
}

function sideOf(folder: string): Side {
  mkdirSync(folder, { recursive: true })
  return {
    add: (name) => writeFileSync(join(folder, name), ''),
    has: (name) => existsSync(join(folder, name)),
    remove: (name) => rmSync(join(folder, name), { force: true }),
  }
}

/** Things at the vendor that a defect makes beside workers, by the worker's id. */
export const littered = 'litter'

export function litterOf(dir: string, ids: readonly string[]): string[] {
  const folder = join(dir, 'side', littered)
  return existsSync(folder) ? readdirSync(folder).filter((name) => ids.includes(name)) : []
}

export function recordOf(dir: string, id: string): WorkerRecord | undefined {
  const text = readText(join(dir, 'workers', id, 'worker.json'))
  return text === undefined ? undefined : (JSON.parse(text) as WorkerRecord)
}

/** Changes every observation, wherever it is given. */
export function observing(
  provider: WorkerProvider,
  change: (one: WorkerObservation) => WorkerObservation,
): Partial<WorkerProvider> {
  return {
    ...listing(provider, (page) => ({ ...page, workers: page.workers.map(change) })),
    ...inspecting(provider, (seen) => seen.map(change)),
    async *watch(query, call) {
      for await (const one of provider.watch?.(query, call) ?? []) yield change(one)
    },
  }
}

export function listing(provider: WorkerProvider, change: (page: WorkerPage) => WorkerPage): Pick<WorkerProvider, 'list'> {
  return { list: async (query, call) => change(await provider.list(query, call)) }
}

export function inspecting(
  provider: WorkerProvider,
  change: (seen: readonly WorkerObservation[]) => readonly WorkerObservation[],
): Pick<WorkerProvider, 'inspect'> {
  return { inspect: async (targets, call) => change(await provider.inspect(targets, call)) }
}

/** The fake provider has every method. */
export const whole = (provider: WorkerProvider): Required<WorkerProvider> => provider as Required<WorkerProvider>

/** The same call with a signal that only aborts for causes of this name. */
export function hearingOnly(call: Call, cause: 'AbortError' | 'TimeoutError' | 'nothing'): Call {
  const controller = new AbortController()
  call.signal.addEventListener('abort', () => {
    if ((call.signal.reason as Error).name === cause) controller.abort(call.signal.reason)
  })
  return { ...call, signal: controller.signal }
}
