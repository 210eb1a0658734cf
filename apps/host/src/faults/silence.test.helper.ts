/** Six silent minutes on a cluster, proved by the test of the plugin, which the host does not import: it writes what it saw. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../../../..')

/** `absent`: why nothing is proved here. */
export interface SilenceProved {
  absent?: string
  seconds?: number
  /** Over which way to the cluster, with how many connections, of which so many were ended as idle. */
  ways?: { name: string; opened?: number; idle?: number }[]
  /** What became of the library's helpers beside. */
  library?: { helper: string; way: string; fate: string }[]
}

export function silenceIn(): SilenceProved {
  const folder = mkdtempSync(join(tmpdir(), 'muster-prove-'))
  try {
    const result = join(folder, 'silence.json')
    // One test of its file: with the house's reporter the others would be skips without a reason.
    const args = ['--reporter=default', '-t', 'silence', 'packages/plugin-kubernetes/src/api/cluster.integration.test.ts']
    if (!testsPass(args, { MUSTER_PROVE_SILENCE: result })) throw new Error('not everything lives through silence')
    return existsSync(result)
      ? (JSON.parse(readFileSync(result, 'utf8')) as SilenceProved)
      : { absent: 'no cluster runs on this machine' }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Runs tests of this repository; their words go where ours go. */
export function testsPass(args: readonly string[], env: Readonly<Record<string, string>>): boolean {
  const vitest = join(root, 'node_modules/vitest/vitest.mjs')
  const options = { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } } as const
  return spawnSync(process.execPath, [vitest, 'run', '--configLoader', 'native', ...args], options).status === 0
}

/** As a part of the page of proofs. */
export function silenceText(
  { absent, seconds = 0, ways = [], library = [] }: SilenceProved = { absent: 'not asked for' },
): string {
  const title = '## Silence\n\n'
  if (absent !== undefined) return `${title}Not proved: ${absent}.`
  const counted = ways.flatMap(({ name, opened, idle }) =>
    opened === undefined ? [] : [`the one that ${name}, ${idle} of ${opened} connections`],
  )
  const fates = library.map(({ helper, way, fate }) => `\`${helper}\` ${fate} (${way})`)
  return `${title}A log that is followed, a command, an attached process, a port and a watch of a cluster, on which nobody says anything for ${seconds} s: over
the direct way, over a relay that resets what is idle for a minute (\`cuts\`), and over one that forgets it and tells nobody (\`forgets\`). The relays
ended as idle: ${counted.join('; ')}. Commands, attached processes and ports stayed on their one
connection; logs and watches opened theirs again. Each said after the silence what it was told, once and whole; a command without pings
beside them was lost. Of the helpers of the vendor's library, over the way that is named, none did: ${fates.join('; ')}.`
}
