/** Crash bundles: what is known of a plugin's end, kept as files, a few of them, and given to those who ask. */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'

export interface CrashFacts {
  at: number
  provider: string
  plugin: { name: string; version: string }
  reason: string
  exit?: { code: number | null; signal: string | null }
  violation?: string
  restarts: number
  /** Last lines of its output, redacted. */
  output: string[]
}

export interface CrashBundle extends CrashFacts {
  id: string
}

/** One among many: its output is had with itself alone. */
export type CrashHead = Omit<CrashBundle, 'output'>

export interface BundleLimits {
  most: number
  ms: number
}

/** Hides what a provider's plugin was given as secrets. */
export type CleanFor = (provider: string, text: string) => string

export interface CrashQuery {
  /** Of this provider only. */
  provider?: string
  /** Older than this one. */
  before?: string
  limit: number
}

export interface CrashRoom {
  /** The newest first; `next`: ask with `before` for those after. */
  list(query: CrashQuery): Promise<{ items: CrashHead[]; next?: string }>
  get(id: string): Promise<CrashBundle | undefined>
}

/** The time, and the provider: ids have the order of the crashes. */
export const crashIdPattern: RegExp = /^\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z-[a-z0-9-]{1,40}$/

const factsSchema: z.ZodType<CrashFacts> = z.strictObject({
  at: z.int(),
  provider: z.string(),
  plugin: z.strictObject({ name: z.string(), version: z.string() }),
  reason: z.string(),
  exit: z.strictObject({ code: z.int().nullable(), signal: z.string().nullable() }).exactOptional(),
  violation: z.string().exactOptional(),
  restarts: z.int(),
  output: z.array(z.string()),
})

/** Reads what {@link writeBundle} wrote. Once more without secrets: one may have become known after it was written. */
export function openCrashes(dataDir: string, clean: CleanFor): CrashRoom {
  const folder = folderOf(dataDir)
  const read = (id: string): Promise<CrashFacts | undefined> => readFacts(join(folder, `${id}.json`))
  const cleaner = (facts: CrashFacts) => (text: string) => clean(facts.provider, text)
  return {
    async list({ provider, before, limit }) {
      const ids = (await namesIn(folder)).map((name) => name.replace(/\.json$/, '')).filter((id) => crashIdPattern.test(id))
      const items: CrashHead[] = []
      for (const id of ids.reverse()) {
        if (before !== undefined && id >= before) continue
        if (provider !== undefined && !isOf(`${id}.json`, provider)) continue
        const last = items.at(-1)
        if (items.length === limit && last !== undefined) return { items, next: last.id }
        // One that was dropped meanwhile, or is damaged.
        const found = await read(id)
        if (found !== undefined) items.push({ id, ...cleanHead(found, cleaner(found)) })
      }
      return { items }
    },
    async get(id) {
      const found = crashIdPattern.test(id) ? await read(id) : undefined
      return found && { id, ...cleaned(found, cleaner(found)) }
    },
  }
}

/** Writes one bundle, and removes those that are too many, too old, or say the same. Returns its path relative to the data folder. */
export async function writeBundle(
  dataDir: string,
  facts: CrashFacts,
  { keep, clean }: { keep: BundleLimits; clean(text: string): string },
): Promise<string> {
  const folder = folderOf(dataDir)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const name = `${stamp(facts.at)}-${facts.provider}.json`
  const part = join(folder, `${name}.part`)
  // A secret that it was given after it had said it is known by now.
  const written = cleaned(facts, clean)
  const [first, newest] = (await namesIn(folder)).filter((one) => one !== name && isOf(one, facts.provider)).slice(-2)
  await writeFile(part, `${JSON.stringify(written, null, 2)}\n`, { mode: 0o600 })
  await rename(part, join(folder, name))
  // A plugin that falls in a loop says the same each time: how that began, and how it is now.
  if (first !== undefined && newest !== undefined && (await areAlike(written, [join(folder, first), join(folder, newest)])))
    await rm(join(folder, newest), { force: true })
  await dropBundles(dataDir, facts.at, keep)
  return join('crashes', name)
}

/** Of each provider so many: one takes no other's away. Names begin with their time: their order is that of the crashes. */
export async function dropBundles(dataDir: string, now: number, { most, ms }: BundleLimits): Promise<void> {
  const folder = folderOf(dataDir)
  const oldest = stamp(now - ms)
  const seen = new Map<string, number>()
  for (const name of (await namesIn(folder)).reverse()) {
    const whose = name.slice(oldest.length)
    const count = (seen.get(whose) ?? 0) + 1
    seen.set(whose, count)
    if (count > most || name < oldest) await rm(join(folder, name), { force: true })
  }
}

/** Do they say the same of the same plugin? */
async function areAlike(facts: CrashFacts, paths: readonly string[]): Promise<boolean> {
  const said = ({ plugin, reason, violation }: CrashFacts): string =>
    JSON.stringify([plugin.name, plugin.version, reason, violation])
  for (const path of paths) {
    const found = await readFacts(path)
    if (found === undefined || said(found) !== said(facts)) return false
  }
  return true
}

/** Of one that was dropped, or is damaged: undefined. */
async function readFacts(path: string): Promise<CrashFacts | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined)
  return text === undefined ? undefined : factsSchema.safeParse(parsed(text)).data
}

function isOf(name: string, provider: string): boolean {
  return name.endsWith(`Z-${provider}.json`)
}

function folderOf(dataDir: string): string {
  return join(dataDir, 'crashes')
}

async function namesIn(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(() => [] as string[])).sort()
}

function stamp(at: number): string {
  return new Date(at).toISOString().replaceAll(':', '-')
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function cleaned(facts: CrashFacts, clean: (text: string) => string): CrashFacts {
  return { ...cleanHead(facts, clean), output: facts.output.map(clean) }
}

function cleanHead({ output: _output, ...facts }: CrashFacts, clean: (text: string) => string): Omit<CrashFacts, 'output'> {
  const { reason, violation } = facts
  return { ...facts, reason: clean(reason), ...(violation === undefined ? {} : { violation: clean(violation) }) }
}
