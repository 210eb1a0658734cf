/** Which version of a package a range means. Pure. */
import semver from 'semver'
import { PluginRefusal } from './refusal.ts'
import type { RegistryPolicy } from './registry.ts'
import type { Published } from './origin.ts'
import { isNamed } from './trust.ts'

export interface Wanted {
  alias: string
  package: string
  range: string
}

/** What is asked of a version before it counts. */
export interface Rule {
  policy: RegistryPolicy
  /** Milliseconds since 1970. */
  now: number
  /** Does the source know ages at all, as a registry does? */
  aged: boolean
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
  const old = inRange.filter((one) => waits(one) <= 0)
  const chosen = old.find((one) => one.deprecated === undefined) ?? old[0]
  if (chosen !== undefined) return chosen
  const [newest] = inRange
  const at = newest?.published
  if (at === undefined)
    throw new PluginRefusal(
      'no-release-time',
      `the source does not say when ${name}@${newest?.version} was published`,
      `if you trust it at any age, add "${name}" to policy.exempt in the registry manifest`,
    )
  const soonest = inRange.reduce((one, other) => (waits(other) < waits(one) ? other : one))
  const from = new Date(rule.now + waits(soonest)).toISOString()
  throw new PluginRefusal(
    'too-new',
    `${name}@${soonest.version} was published ${soonest.published}, and counts from ${from} on`,
    `wait until then, or add "${name}" to policy.exempt in the registry manifest`,
  )
}

/** Milliseconds until a version counts; never more than 0 where age does not matter. */
function waitOf(name: string, { policy, now, aged }: Rule): (one: Published) => number {
  if (!aged || policy.minReleaseAgeMs === 0 || isNamed(name, policy.exempt)) return () => 0
  return ({ published }) => {
    const at = published === undefined ? Number.NaN : Date.parse(published)
    return Number.isNaN(at) ? Infinity : at + policy.minReleaseAgeMs - now
  }
}

function noVersion({ alias, package: name, range }: Wanted, found: readonly Published[]): PluginRefusal {
  const all = found.map((one) => one.version)
  const newest = semver.maxSatisfying(all, '*') ?? semver.rsort(all)[0]
  if (newest === undefined)
    return new PluginRefusal('no-version', `${name} has no version at all`, 'publish one, or correct the name')
  // What begins above the range is nearer than what is far above it.
  const above = semver.sort(all.filter((one) => semver.gtr(one, range)))[0]
  return new PluginRefusal(
    'no-version',
    `no version of ${name} is in ${range}; there are: ${few(semver.rsort(all))}`,
    `run: muster plugins add ${name}@^${above ?? newest} --as ${alias}`,
  )
}

/** As many as help. */
function few(versions: readonly string[]): string {
  return versions.length <= 5 ? versions.join(', ') : `${versions.slice(0, 5).join(', ')} and ${versions.length - 5} more`
}
