/** `muster-plugin` as its user types it, from the sources. */
import { fileURLToPath } from 'node:url'
import { runProcess } from '@muster/test/systems/process'

const bin = fileURLToPath(new URL('../bin/muster-plugin.mjs', import.meta.url))

export interface KitRun {
  code: number | null
  stdout: string
  stderr: string
}

export async function kit(...args: string[]): Promise<KitRun> {
  return await runProcess([process.execPath, bin, ...args], {
    env: { ...process.env, MUSTER_SOURCE: '1' },
    timeoutMs: 280_000,
  })
}
