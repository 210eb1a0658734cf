/** `${name}`: variables of the matrix, put into text before anything runs. */

export interface Substitution {
  text: string
  /** Names that stand for nothing here, each once. */
  unknown: string[]
}

/**
 * Replaces `${name}` by its value. `$${` stands for `${` itself. Pure.
 *
 * In a shell line (`shell`) everything that is more than a plain name is the shell's own, as `${x:-y}`, and so are the names in it, which
 * are variables of the job's environment.
 */
export function substitute(text: string, values: Readonly<Record<string, string>>, shell?: ReadonlySet<string>): Substitution {
  const unknown = new Set<string>()
  const replaced = text.replace(/\$\$\{|\$\{([^}]*)\}/g, (all: string, name: string | undefined) => {
    if (name === undefined) return '${'
    if (Object.hasOwn(values, name)) return values[name] ?? ''
    if (shell !== undefined && (shell.has(name) || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))) return all
    unknown.add(name)
    return all
  })
  return { text: replaced, unknown: [...unknown] }
}

/** A value as a part of an artifact's name: `Asia/Tokyo` becomes `asia-tokyo`. */
export function asNamePart(value: string): string {
  return value
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
}

/** Every combination of a matrix, in the order of the file; one empty one without a matrix. */
export function combinations(
  matrix: Readonly<Record<string, readonly string[]>> = {},
  exclude: readonly Readonly<Record<string, string>>[] = [],
): Record<string, string>[] {
  let all: Record<string, string>[] = [{}]
  for (const [name, values] of Object.entries(matrix))
    all = all.flatMap((one) => values.map((value) => ({ ...one, [name]: value })))
  return all.filter(
    (one) =>
      !exclude.some((rule) => Object.keys(rule).length > 0 && Object.entries(rule).every(([name, value]) => one[name] === value)),
  )
}
