/** Another configuration while the daemon runs: read, compared, refused whole when anything is wrong, else in force at once. */
import { createHash } from 'node:crypto'
import { type LoadedConfig, type MusterConfig, type ProviderConfig, urlFor } from './config/load.ts'
import { type Change, diffConfig, type Written } from './config/diff.ts'
import type { Problem } from './config/problem.ts'
import { type Deployment, isTaken, withDev } from './dev-parts.ts'
import type { Engine } from './engine/api.ts'
import type { ProviderEntry } from './engine/entries.ts'
import { type Examined, examine } from './examine.ts'
import type { Discovery } from './plugins/discover.ts'
import type { Candidate, Staged, StartedRoom } from './plugins/room.ts'
import type { Target } from './plugins/target.ts'
import type { Running, RunningState } from './running.ts'
import { accountAll, versionOf } from './upgrade.ts'

export interface Applied {
  changes: Change[]
  /** When there are any, nothing has changed. */
  problems: Problem[]
  /** False: there was nothing to do, or it was only looked at. */
  applied: boolean
}

/** Reads the file again. One at a time; errors: StoreError, and nothing has changed. */
export type Apply = (how: { principal: string; dryRun: boolean }) => Promise<Applied>

export interface ApplyDeps {
  running: RunningState
  /** Where tarballs are unpacked. */
  store: string
  engine: Pick<Engine, 'configure' | 'upgrades'>
  plugins: Pick<StartedRoom, 'stage' | 'list'>
  /** What runs where the lock's own version could not start. */
  fallen(found: NonNullable<Examined['found']>): Promise<Discovery>
  /** How the providers that it names are configured, to be noted. */
  entries(found: Deployment): ProviderEntry[]
  /** Told of the configuration that is in force from now on. */
  applied(config: MusterConfig): void
}

export function applyOf({ running, store, engine, plugins, fallen, entries, applied }: ApplyDeps): Apply {
  async function apply({ principal, dryRun }: { principal: string; dryRun: boolean }): Promise<Applied> {
    const { now } = running
    const { problems, found: read, at } = await examine(now.config.file, () => [store], { strictly: true })
    if (read === undefined || problems.length > 0) return { changes: [], problems, applied: false }
    const found = { ...read, discovery: await fallen(read) }
    const differs = diffConfig(writtenOf(now), writtenOf(found))
    const fixed = differs.filter((change) => change.restart).map((change) => restartProblem(change, at))
    // What made a provider give up may have been mended outside of the file.
    const givenUp = plugins.list().some((provider) => provider.status().state === 'failed')
    if (fixed.length > 0 || (differs.length === 0 && !givenUp)) return { changes: differs, problems: fixed, applied: false }
    // Whoever started the daemon may have given these by hand.
    const { data, listen } = now.config
    const next = { ...found, config: { ...found.config, data, listen } }
    const clash = running.dev.filter((one) => isTaken(one.asked.name, next)).map((one) => clashProblem(one.asked.name, at))
    if (clash.length > 0) return { changes: differs, problems: clash, applied: false }
    const whole = withDev(next, running.dev)
    // Also when only looked at: a plugin that cannot start with it is what one wants to know.
    const staged = await plugins.stage(whole, at)
    if ('problems' in staged) return { changes: differs, problems: staged.problems, applied: false }
    const { known, problems: lost } = await askAll(staged, { now, next: whole.config, at })
    if (lost.length > 0) {
      await staged.discard()
      return { changes: differs, problems: lost, applied: false }
    }
    const changes = [...differs, ...staged.revived.map(revival)]
    if (dryRun || changes.length === 0) {
      await staged.discard()
      return { changes, problems: [], applied: false }
    }
    try {
      const taken = staged.candidates.filter((one) => isOther(one, now))
      const versions = Object.fromEntries(taken.map(({ provider, plugin }) => [provider, versionOf(plugin)]))
      const noted = { entries: entries(next), commit: () => staged.commit() }
      await engine.configure(engineConfig(whole.config), { principal, changes, versions, known, ...noted })
    } catch (error) {
      await staged.discard()
      throw error
    }
    running.now = next
    applied(next.config)
    return { changes, problems: [], applied: true }
  }

  /** Another version of a plugin, or another place, that does not know the workers of the one before would let go of them. */
  async function askAll(
    staged: Staged,
    { now, next, at }: { now: Running; next: MusterConfig; at: LoadedConfig['problem'] },
  ): Promise<Asked> {
    const versions = staged.candidates.filter((one) => isOther(one, now))
    const places = staged.candidates.filter(
      (one) => !versions.includes(one) && isElsewhere(one, now, next) && engine.upgrades.hasLive(one.provider),
    )
    const asked = [
      await ask(versions, {
        at,
        which: 'the other version of its plugin',
        fix: 'end these workers, or keep the version that runs; muster plugins upgrade ALIAS --rehearse says more',
      }),
      await ask(places, {
        at,
        which: 'with its other configuration it',
        fix: 'give the other place a provider of its own and take this one out, which leaves with its last worker; or end these workers first',
      }),
    ]
    return { known: Object.assign({}, ...asked.map((one) => one.known)), problems: asked.flatMap((one) => one.problems) }
  }

  async function ask(
    candidates: readonly Candidate[],
    { at, which, fix }: { at: LoadedConfig['problem']; which: string; fix: string },
  ): Promise<Asked> {
    const { known, lost, failed } = await accountAll(candidates, engine)
    const told = (provider: string, reason: string): Problem => at(['providers', provider], { at: 'key', reason, fix })
    const problems = [
      ...lost.map(({ provider, worker, why }) => told(provider, `${which} does not account for ${worker}: ${why}`)),
      ...(failed === undefined ? [] : [told(candidates[0]?.provider ?? '', failed)]),
    ]
    return { known, problems }
  }

  return (how) => running.inTurn(() => apply(how))
}

/** A certificate is not part of what differs: its files change while their names stay. One that is wrong is for its condition to tell. */
export function withCertificate(apply: Apply, look: (only?: 'only') => Promise<Change | undefined>): Apply {
  return async (how) => {
    const done = await apply(how)
    const refused = done.problems.length > 0
    const taken = await look(refused || how.dryRun ? 'only' : undefined)
    if (refused || taken === undefined) return done
    return { ...done, changes: [...done.changes, taken], applied: !how.dryRun }
  }
}

interface Asked {
  /** Ids of the workers that are accounted for, by provider. */
  known: Record<string, string[]>
  problems: Problem[]
}

/** Than what this provider runs now, under whichever alias. One that the configuration does not name now runs what it did before. */
function isOther({ provider, plugin }: Candidate, { config, discovery }: Running): boolean {
  const alias = config.providers.find((one) => one.name === provider)?.alias
  const was = discovery.plugins.find((one) => one.alias === alias)
  return was?.digest !== plugin.digest || was.manifest.version !== plugin.manifest.version
}

/** Is it configured to be something else, which may be another place? */
function isElsewhere({ provider }: Candidate, { config }: Running, next: MusterConfig): boolean {
  const [was, is] = [config, next].map(({ providers }) => providers.find((one) => one.name === provider))
  // What nobody knows any more may have been anything.
  return is !== undefined && (was === undefined || configDigest(was) !== configDigest(is))
}

/** Of what says where a provider is and as whom: not of what the secrets are. Each record of a worker has one: 64 bits tell a provider's few apart. */
function configDigest({ config, secrets }: Pick<ProviderConfig, 'config' | 'secrets'>): string {
  return createHash('sha256')
    .update(JSON.stringify([config, secrets]))
    .digest('hex')
    .slice(0, 16)
}

function revival(name: string): Change {
  return { path: `providers.${name}`, kind: 'changed', effect: 'it was given up and is well now: a new process takes over' }
}

/** The parts of a configuration that the engine goes by. `left`: what else is started, as it was configured last. */
export function engineConfig(
  config: MusterConfig,
  left: readonly Pick<Target, 'provider'>[] = [],
): Parameters<Engine['configure']>[0] {
  const { pools, providers, reconcileMs, orphanGraceMs, retention } = config
  const urls = providers.flatMap((provider) => {
    const url = urlFor(provider, config)
    return url === undefined ? [] : [[provider.name, url] as const]
  })
  const stats = Object.fromEntries(providers.flatMap((one) => (one.stats === undefined ? [] : [[one.name, one.stats] as const])))
  const kept = { ...retention, recordsMs: retention.runsMs }
  const configs = Object.fromEntries(
    [...left.map((one) => one.provider), ...providers].map((one) => [one.name, configDigest(one)]),
  )
  return { pools, configs, reconcileMs, orphanGraceMs, urls: Object.fromEntries(urls), stats, retention: kept }
}

function writtenOf({ written, discovery }: Pick<NonNullable<Examined['found']>, 'written' | 'discovery'>): Written {
  const plugins = discovery.plugins.map(({ alias, manifest, digest }) => [alias, { version: manifest.version, digest }] as const)
  return { file: written, plugins: Object.fromEntries(plugins) }
}

function clashProblem(name: string, at: LoadedConfig['problem']): Problem {
  const fix = 'give it another name, or end what is attached'
  return at(['providers', name], { at: 'key', reason: `a plugin under development is attached as ${name}`, fix })
}

function restartProblem({ path, before, after }: Change, at: LoadedConfig['problem']): Problem {
  const value = (given: string | undefined): string => (given === undefined ? 'its default' : `'${given}'`)
  // Neither is shown where one may be secret.
  const how = before === undefined && after === undefined ? '' : ` from ${value(before)} to ${value(after)}`
  return at(path.split('.'), {
    at: 'key',
    reason: `${path} cannot change${how} while the daemon runs`,
    fix: 'restart the daemon (workers and runs live on), or write it as it was',
  })
}
