/** A plugin process of straw, for tests of what stands around one: it says, and ends as, the test wants. */
import { type CloseReason, type Probe, ProviderError } from '@muster/core'
import { openHolds } from '../holds.ts'
import type { PluginProcess, ProcessEnd } from '../process.ts'
import { plainManifest } from './manifest.ts'
import type { Target } from '../target.ts'

export interface Straw {
  process: PluginProcess
  /** Answers of its probes; the last one stays. An error is thrown. */
  probes: (Probe | Error)[]
  /** `retire`, `close REASON` and `kill`, as they came. */
  told: string[]
  said: string[]
  /** What one turn took from it at the most. */
  busiest: { bytes: number; frames: number }
  excess?: string
  /** Its connection and the process end. */
  end(how?: Partial<CloseReason & ProcessEnd>): void
}

let pids = 0

/** What workers were given, where it cannot be read. */
export function shutStore(): AsyncIterable<never> {
  return { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(new Error('the store is shut')) }) }
}

export function straw(...probes: (Probe | Error)[]): Straw {
  const closed = Promise.withResolvers<CloseReason>()
  const exited = Promise.withResolvers<ProcessEnd>()
  const told: string[] = []
  const end: Straw['end'] = ({ kind = 'ended', message = 'it went', code = 1, signal = null, ...more } = {}) => {
    closed.resolve({ kind, message, ...more })
    exited.resolve({ code, signal })
  }
  const all = probes.length === 0 ? [{ state: 'ready' } as const] : probes
  const made: Straw = { probes: all, told, said: [], busiest: { bytes: 0, frames: 0 }, end, process: {} as PluginProcess }
  const worker = {
    async probe() {
      const [next] = all.length > 1 ? all.splice(0, 1) : all
      if (next instanceof Error) throw next
      return next
    },
    // Whatever else it is asked fails by this.
    async list() {
      throw new ProviderError('auth', 'the token is old')
    },
  }
  const connection = {
    worker,
    closed: closed.promise,
    stats: () => ({ asked: 0, busiest: made.busiest }),
    describe: () => new Promise(() => undefined),
    async retire() {
      told.push('retire')
    },
    close(message: string) {
      told.push(`close ${message}`)
      end({ kind: 'closed', message, code: 0 })
    },
  }
  made.process = {
    ...{ pid: ++pids, holds: openHolds(), exited: exited.promise },
    connection: connection as unknown as PluginProcess['connection'],
    tail: () => made.said,
    excess: () => made.excess,
    kill() {
      told.push('kill')
      end({ code: null, signal: 'SIGKILL' })
    },
  }
  return made
}

export function strawTarget(version = '1.0.0', config: unknown = {}): Target {
  const manifest = plainManifest('@acme/straw', { version })
  const entry = { alias: 'straw', package: '@acme/straw', version, source: { registry: 'default' } }
  const isolation = { level: 'L1' as const, enforced: [], advisory: [], ownUser: false, ownNetwork: false }
  return {
    provider: { name: 'p', alias: 'straw', config, secrets: {} },
    plugin: {
      ...{ alias: 'straw', entry, manifest, isolation, root: '/nowhere', main: '/nowhere/plugin.mjs' },
      ...{ contract: '1.0', digest: 'x' },
    },
  }
}
