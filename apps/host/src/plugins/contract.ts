/** Which version of the contract a host and a plugin speak with each other. Pure. */

/** Versions this host speaks, newest last. */
export const hostContracts: readonly string[] = ['1.0']

/** The highest common major with the smaller minor; undefined when there is none. */
export function negotiate(host: readonly string[], plugin: readonly string[]): string | undefined {
  const ours = byMajor(host)
  const theirs = byMajor(plugin)
  const common = [...ours.keys()].filter((major) => theirs.has(major))
  if (common.length === 0) return undefined
  const major = Math.max(...common)
  return `${major}.${Math.min(ours.get(major) ?? 0, theirs.get(major) ?? 0)}`
}

/** The greatest minor of each major. */
function byMajor(versions: readonly string[]): Map<number, number> {
  const found = new Map<number, number>()
  for (const version of versions) {
    const [major = 0, minor = 0] = version.split('.').map(Number)
    found.set(major, Math.max(found.get(major) ?? 0, minor))
  }
  return found
}
