/** Which version of a package a range means. Pure. */
import semver from 'semver'
import { PluginRefusal } from './refusal.ts'
import type { RegistryPolicy } from './registry.ts'
import type { Published } from './origin.ts'
import { isNamed } from './trust.ts'
import { addCommand, byHand, orElse, type ToAdd } from './way-out.ts'

export interface Wanted extends ToAdd {
  range: string
}

/** What is asked of a version before it counts. */
export interface Rule {
  policy: RegistryPolicy
  /** Milliseconds since 1970. */
  now: number
  /** Does the source know ages at all, as a registry does? */
  aged: boolean
  /** Which other one would do is told by whoever tries them. */
  tried?: boolean
}

/** The highest version that counts; one that is deprecated only where there is no other. Errors: PluginRefusal. */
export function chooseVersion(wanted: Wanted, found: readonly Published[], rule: Rule): Published {
  const { package: name, range } = wanted
  // As a lock has them: no v before it, and nothing of a build behind it.
  const exact = found.filter(({ version }) => semver.valid(version) === version)
  const inRange = exact
    .filter(({ version }) => semver.satisfies(version, range))
    .sort((a, b) => semver.rcompare(a.version, b.version))
  if (inRange.length === 0) throw noVersion(wanted, exact)
  const waits = waitOf(name, rule)
  const counting = rule.tried === true ? [] : exact
  const old = inRange.filter((one) => waits(one) <= 0)
  const chosen = old.find((one) => one.deprecated === undefined) ?? old[0]
  if (chosen !== undefined) return chosen
  const [newest] = inRange
  const at = newest?.published
  if (at === undefined)
    throw new PluginRefusal(
      'no-release-time',
      `the source does not say when ${name}@${newest?.version} was published`,
      instead(
        wanted,
        { refused: newest?.version ?? '', exact: counting, waits },
        byHand(`add "${name}" to policy.exempt, if you trust it at any age`),
      ),
    )
  const soonest = inRange.reduce((one, other) => (waits(other) < waits(one) ? other : one))
  const from = new Date(rule.now + waits(soonest)).toISOString()
  throw new PluginRefusal(
    'too-new',
    `${name}@${soonest.version} was published ${soonest.published}, and counts from ${from} on`,
    instead(
      wanted,
      { refused: soonest.version, exact: counting, waits },
      `run: ${addCommand(wanted, soonest.version)}, once that is; or add "${name}" to policy.exempt in the registry manifest`,
    ),
  )
}

/** The nearest that counts already first, where there is one. */
function instead(
  wanted: Wanted,
  { refused, exact, waits }: { refused: string; exact: readonly Published[]; waits: (one: Published) => number },
  fix: string,
): string {
  const counting = exact.filter((one) => waits(one) <= 0 && one.deprecated === undefined).map((one) => one.version)
  const [nearest] = nearestTo(refused, counting)
  return nearest === undefined ? fix : orElse(addCommand(wanted, nearest), fix)
}

/** Other versions, the nearest first: those before it, as what a version brought along is not in them, then those after it. */
export function nearestTo(version: string, others: readonly string[]): string[] {
  const exact = others.filter((one) => semver.valid(one) === one && one !== version)
  if (semver.valid(version) === null) return semver.rsort(exact)
  return [
    ...semver.rsort(exact.filter((one) => semver.lt(one, version))),
    ...semver.sort(exact.filter((one) => semver.gte(one, version))),
  ]
}

/** Those that count, the nearest to what a range means first; what its publisher advises against is none of them. */
export function othersThan(
  { package: name, range }: Pick<Wanted, 'package' | 'range'>,
  { found, rule }: { found: readonly Published[]; rule: Rule },
): string[] {
  const waits = waitOf(name, rule)
  return nearestTo(
    meant({ package: name, range }, { found, rule }),
    found.filter((one) => waits(one) <= 0 && one.deprecated === undefined).map((one) => one.version),
  )
}

/** What a range comes to; what it would come to in time; or where it begins, if there is nothing in it. */
function meant(
  { package: name, range }: Pick<Wanted, 'package' | 'range'>,
  { found, rule }: { found: readonly Published[]; rule: Rule },
): string {
  try {
    return chooseVersion({ alias: '', package: name, range }, found, rule).version
  } catch (error) {
    if (!(error instanceof PluginRefusal)) throw error
    const all = found.map((one) => one.version).filter((one) => semver.valid(one) === one)
    return semver.maxSatisfying(all, range) ?? semver.minVersion(range)?.version ?? ''
  }
}

/** Milliseconds until a version counts; never more than 0 where age does not matter. */
function waitOf(name: string, { policy, now, aged }: Rule): (one: Published) => number {
  if (!aged || policy.minReleaseAgeMs === 0 || isNamed(name, policy.exempt)) return () => 0
  return ({ published }) => {
    const at = published === undefined ? Number.NaN : Date.parse(published)
    return Number.isNaN(at) ? Infinity : at + policy.minReleaseAgeMs - now
  }
}

function noVersion(wanted: Wanted, found: readonly Published[]): PluginRefusal {
  const { package: name, range } = wanted
  const all = found.map((one) => one.version)
  const newest = semver.maxSatisfying(all, '*') ?? semver.rsort(all)[0]
  if (newest === undefined)
    return new PluginRefusal(
      'no-version',
      `${name} has no version at all`,
      'run: npm publish, as its publisher; or correct the name',
    )
  // What begins above the range is nearer than what is far above it.
  const above = semver.sort(all.filter((one) => semver.gtr(one, range)))[0]
  return new PluginRefusal(
    'no-version',
    `no version of ${name} is in ${range}; there are: ${few(semver.rsort(all))}`,
    `run: ${addCommand(wanted, `^${above ?? newest}`)}`,
  )
}

/** As many as help. */
function few(versions: readonly string[]): string {
  return versions.length <= 5 ? versions.join(', ') : `${versions.slice(0, 5).join(', ')} and ${versions.length - 5} more`
}
