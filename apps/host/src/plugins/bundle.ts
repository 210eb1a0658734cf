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

/** Writes one bundle and removes the oldest beyond `keep`. Returns its path relative to the data folder. */
export async function writeBundle(dataDir: string, facts: CrashFacts, keep: number): Promise<string> {
  const folder = join(dataDir, 'crashes')
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const name = `${new Date(facts.at).toISOString().replaceAll(':', '-')}-${facts.provider}.json`
  await writeFile(join(folder, name), `${JSON.stringify(facts, null, 2)}\n`, { mode: 0o600 })
  const all = (await readdir(folder)).sort()
  for (const old of all.slice(0, Math.max(0, all.length - keep))) await rm(join(folder, old), { force: true })
  return join('crashes', name)
}
