/** What the conformance suite must be told of a provider, its plugin and its vendor. */
import type { Effect, ProviderErrorCode } from '../../errors.ts'
import type { WorkerCapabilities, WorkerPluginManifest } from '../../plugin.ts'
import type { Handle, SecretValue, WorkerObservation } from '../../provider.ts'
import type { LaunchSpec, SpecField, WorkerId } from '../../spec.ts'
import type { Bench } from './bench.ts'
import type { StartPlugin } from './link.ts'

/** How one field of a launch spec can be seen to be honoured. */
export interface FieldCheck {
  /** The part of the spec that has the field. */
  spec: Partial<LaunchSpec>
  /** Run inside the worker; what it prints must match `expect`. */
  script?: string
  /** Instead of a script: looked up at the vendor. */
  look?(id: WorkerId, bench: Bench): Promise<string>
  expect: string | RegExp
}

/** A provocation of one row of the plugin's error table. */
export interface ErrorCase {
  name: string
  code: ProviderErrorCode
  effect: Effect
  path?: string
  /** Does what must fail: the suite looks at the failure. */
  provoke(bench: Bench): Promise<unknown>
}

/** How an agent is put into a worker, and how it reads what the worker was given for it. */
export interface AgentScript {
  /** The part of the spec that makes the agent this POSIX shell text. */
  spec(script: string): Partial<LaunchSpec>
  /** Shell text in it that prints the address of the host. */
  url: string
  /** Shell text in it that prints the ticket. */
  ticket: string
  /** Shell text that sends an empty POST to `$1` with `$2` as bearer token, and prints the body of the answer. Default: with `curl`. */
  post?: string
  /** This machine as workers reach it: the suite listens there for the agent. Default `127.0.0.1`. */
  host?: string
}

/** Shell texts for what differs from one worker's system to another's. */
export interface Scripts {
  /** Uses more memory than it may, within `spec`. */
  oom?: { script: string; spec?: Partial<LaunchSpec> }
  /** Prints who it runs as; `user` is what exec is asked for and `expect` what is then printed. */
  user?: { script: string; user: string; expect: string }
  /** Sends back what it gets on a TCP port, then ends the connection; prints `listening` when it is ready. */
  echoServer?: { script: string; port: number; spec?: Partial<LaunchSpec> }
  /** With `work: [agent]`. */
  agent?: AgentScript
}

/** Things only some vendors have, or that only some setups can cause. */
export interface Hooks {
  /** Makes one part unreachable in which this worker lives; gives the way back. */
  outage(worker: WorkerObservation): Promise<() => Promise<void>>
  /** The vendor answers nothing until the returned function is called. */
  stall(): Promise<() => Promise<void>>
  /** A spec that is accepted and then has a problem with this code, final. */
  lateProblem(bench: Bench): Promise<{ spec: LaunchSpec; code: ProviderErrorCode }>
  /** Handles of older versions for this worker, as they were once written. */
  oldHandles(observation: WorkerObservation): Handle[]
  /** One for each row of the plugin's error table. */
  errorCases: readonly ErrorCase[]
  secrets: SecretServer
}

/** The host's side of `call.secret`, and the vendor that accepts only the newest value. */
export interface SecretServer {
  /** The name the plugin will ask for. */
  name: string
  /** What the host would answer: the cached value, or, when that was refused, what it reads anew. */
  read(refused: string | undefined): SecretValue
  /** The vendor takes a new value from now on; {@link read} still gives the old one until it is refused. */
  rotate(): Promise<void>
  /** The vendor takes none, whatever is read, until the returned function is called. */
  revoke(): Promise<() => Promise<void>>
  /** All values there have been. */
  values(): string[]
}

export interface ProviderSetup {
  /** As in `muster-plugin.json`. */
  manifest: WorkerPluginManifest
  /** One plugin process, not configured yet. */
  start: StartPlugin
  config: unknown
  /** In every spec of the suite: an image, the smallest resources. */
  spec?: Partial<LaunchSpec>
  /** A command that runs this POSIX shell text. Default `/bin/sh -c`. */
  shell?(script: string): string[]
  /** A path that is seen in the worker's directory as this relative one, as `copyIn` and `copyOut` want it. Default: the name itself. */
  inside?(name: string): string
  scripts?: Scripts
  /** Checks of declared fields, beside those the suite has itself: `env`, `files`, `workdir`, `labels` need one only to differ. */
  fields?: Partial<Record<SpecField, FieldCheck>>
  /** What is left at the vendor of these workers, looked up without the plugin; empty when all is gone. */
  leftovers(ids: readonly WorkerId[]): Promise<string[]>
  hooks?: Partial<Hooks>
  /**
   * Why a hook or a script is not there, or a test cannot be what it is elsewhere, in one sentence each. `signal`: no
   * command ends by one. `lines`: a log may have line ends that the output has not.
   */
  without?: Partial<Record<keyof Hooks | keyof Scripts | 'signal' | 'lines', string>>
  /** How many workers the test of long lists makes. Default 20. */
  many?: number
  /** How many launches of one id go out at once. Default 20. */
  crowd?: number
  /** How long the suite waits for anything to happen, in milliseconds. Default 30,000. */
  patienceMs?: number
  /** How much output a slow reader has before it. Default 128 MiB. */
  floodBytes?: number
  /** Most memory a plugin process may add meanwhile. Default 64 MiB. */
  slowReaderBytes?: number
}

/** What an author says of plugin and vendor where the tools start the packed plugin themselves. */
export interface ConformanceSetup extends Omit<ProviderSetup, 'manifest' | 'start'> {
  /** Takes away what the setup made. */
  stop?(): Promise<void>
}

/** Exported as `setup` by `conformance.ts`. `dir` is an empty folder, removed in the end. */
export type MakeConformance = (place: { dir: string }) => ConformanceSetup | Promise<ConformanceSetup>

/** What a test needs: a capability as `exec.stdin`, a work mode as `work:hold`, a field as `field:env`, a hook as `hook:outage`, a script as `script:oom`, what a setup may do without as `unless:signal`, `secrets` of the manifest, `handles:older`. */
export type Need = string

/** The first need that is not there, with the reason where the setup gives one; undefined when all are. */
export function missing(
  needs: readonly Need[],
  setup: ProviderSetup,
): { need: Need; reason: string; excused: boolean } | undefined {
  for (const need of needs) {
    const [kind = '', name = ''] = need.split(':')
    if (kind === 'hook' || kind === 'script') {
      const given = kind === 'hook' ? setup.hooks?.[name as keyof Hooks] : setup.scripts?.[name as keyof Scripts]
      if (given !== undefined) continue
      const reason = setup.without?.[name as keyof Hooks]
      return { need, reason: reason ?? `the setup has no ${name} and does not say why`, excused: reason !== undefined }
    }
    if (kind === 'unless') {
      const reason = setup.without?.[name as 'signal']
      if (reason !== undefined) return { need, reason, excused: true }
      continue
    }
    const { secrets, capabilities } = setup.manifest
    if (need === 'secrets' && secrets.length > 0) continue
    if (need === 'handles:older' && capabilities.handles.length > 1) continue
    if (!declares(capabilities, need)) return { need, reason: 'not in the manifest', excused: true }
  }
  return undefined
}

/** Does the provider declare it? A leading `!` asks for the opposite. */
export function declares(capabilities: WorkerCapabilities, need: Need): boolean {
  if (need.startsWith('!')) return !declares(capabilities, need.slice(1))
  const [kind = '', name = ''] = need.split(':')
  if (kind === 'work') return (capabilities.work as string[]).includes(name)
  if (kind === 'field') return (capabilities.fields as string[]).includes(name)
  const found = kind
    .split('.')
    .reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], capabilities)
  if (Array.isArray(found)) return name === '' || found.includes(name)
  return name === '' ? found !== undefined && found !== false && found !== 'none' : String(found) === name
}
