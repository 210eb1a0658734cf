/** What is right of a value that its schema refuses, so that the rest can still be checked. Pure. */
import type { z } from 'zod'

export type Path = readonly PropertyKey[]

export interface Kept<T> {
  value: T
  /** Paths of what was taken out. */
  dropped: Path[]
}

/**
 * Takes refused parts out of a plain value until the schema takes it: an unknown key alone, a wrong value with its key, and what
 * lacks a required key whole. Undefined: nothing would be left.
 */
export function keepRight<T>(given: unknown, schema: z.ZodType<T>): Kept<T> | undefined {
  // Without aliases: what is shared in the file is taken out at one place only.
  const value: unknown = JSON.parse(JSON.stringify(given))
  const dropped: Path[] = []
  for (;;) {
    const parsed = schema.safeParse(value)
    if (parsed.success) return { value: parsed.data, dropped }
    const refused = parsed.error.issues.flatMap((issue) =>
      issue.code === 'unrecognized_keys' ? issue.keys.map((key): Path => [...issue.path, key]) : [issue.path as Path],
    )
    const before = dropped.length
    // From within: what is around a part is taken out only when the part itself is not there.
    for (const path of refused.toSorted((left, right) => right.length - left.length)) {
      if (dropped.slice(before).some((gone) => gone.every((part, index) => path[index] === part))) continue
      const gone = takeOut(value, path)
      if (gone === undefined) return undefined
      dropped.push(gone)
    }
  }
}

/** Removes what is at a path; when there is nothing, or it is one of a list, what is around it. Answers the path that is gone. */
function takeOut(value: unknown, path: Path): Path | undefined {
  if (path.length === 0) return undefined
  const around = path.slice(0, -1)
  const key = path.at(-1) as PropertyKey
  const parent = around.reduce<unknown>((inner, part) => (isRecord(inner) ? inner[part] : undefined), value)
  if (!isRecord(parent) || Array.isArray(parent) || !Object.hasOwn(parent, key)) return takeOut(value, around)
  delete parent[key]
  return path
}

function isRecord(value: unknown): value is Record<PropertyKey, unknown> {
  return typeof value === 'object' && value !== null
}
