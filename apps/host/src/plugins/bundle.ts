/** Crash bundles: what is known of a plugin's end, kept as files, a few of them. */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

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

export interface BundleLimits {
  most: number
  ms: number
}

/** Writes one bundle and removes those that are too many or too old. Returns its path relative to the data folder. */
export async function writeBundle(dataDir: string, facts: CrashFacts, keep: BundleLimits): Promise<string> {
  const folder = join(dataDir, 'crashes')
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const name = `${new Date(facts.at).toISOString().replaceAll(':', '-')}-${facts.provider}.json`
  await writeFile(join(folder, name), `${JSON.stringify(facts, null, 2)}\n`, { mode: 0o600 })
  await dropBundles(dataDir, facts.at, keep)
  return join('crashes', name)
}

/** Names begin with their time: their order is that of the crashes. */
export async function dropBundles(dataDir: string, now: number, { most, ms }: BundleLimits): Promise<void> {
  const folder = join(dataDir, 'crashes')
  const all = (await readdir(folder).catch(() => [] as string[])).sort()
  const oldest = new Date(now - ms).toISOString().replaceAll(':', '-')
  for (const [index, name] of all.entries())
    if (index < all.length - most || name < oldest) await rm(join(folder, name), { force: true })
}
