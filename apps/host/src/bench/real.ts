/** Local processes beside the bare thing: pairs in turn, so that both meet the same machine. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Figure } from './report.ts'
import { type Rig, startRig } from './rig.ts'
import { quantile } from './stats.ts'

export const packages: string = join(import.meta.dirname, '../../../../packages')

export interface Pair {
  create: number[]
  end: number[]
}

export const empty = (): Pair => ({ create: [], end: [] })

/** One worker through the host, from the request to ready, and its end. */
export async function ours(rig: Rig, into: Pair): Promise<void> {
  const begin = performance.now()
  const { id } = await rig.engine.leases.request({ pool: 'p', requirements: {}, ttlMs: 3_600_000, principal: 'bench' })
  const { worker } = await rig.engine.leases.wait(id, (view) => view.lease.state === 'active')
  into.create.push(performance.now() - begin)
  const end = performance.now()
  await rig.engine.leases.release(id, { reason: 'bench', force: true })
  while (worker !== undefined && rig.engine.workers.get(worker.id) !== undefined) await sleep(2)
  into.end.push(performance.now() - end)
}

/** The least a worker can be: a shell that waits, and its end. */
async function bareSpawn(into: Pair): Promise<void> {
  const begin = performance.now()
  const child = spawn('/bin/sh', ['-c', 'echo up; exec sleep 1000'], { stdio: ['ignore', 'pipe', 'ignore'] })
  await once(child.stdout, 'data')
  into.create.push(performance.now() - begin)
  const end = performance.now()
  child.kill('SIGKILL')
  await once(child, 'exit')
  into.end.push(performance.now() - end)
}

/** What a pair took, ours beside what is bare. */
export function figures(what: string, { mine, bare }: { mine: Pair; bare: Pair }, aims: [string, string] = ['', '']): Figure[] {
  const row = (name: string, [a, b]: [number[], number[]], aim: string): Figure => {
    const [m50, m95, b50, b95] = [quantile(a, 0.5), quantile(a, 0.95), quantile(b, 0.5), quantile(b, 0.95)]
    return {
      name,
      value: `${m50.toFixed(0)} / ${m95.toFixed(0)} ms`,
      baseline: `${b50.toFixed(0)} / ${b95.toFixed(0)} ms`,
      ratio: `P50 × ${(m50 / b50).toFixed(2)}, P95 × ${(m95 / b95).toFixed(2)}`,
      aim,
    }
  }
  return [
    row(`${what}: create to ready, P50 / P95`, [mine.create, bare.create], aims[0]),
    row(`${what}: terminate to gone, P50 / P95`, [mine.end, bare.end], aims[1]),
  ]
}

export async function benchLocal(pairs: number): Promise<Figure[]> {
  const rig = await startRig({
    plugin: join(packages, 'plugin-baremetal'),
    name: '@muster/plugin-baremetal',
    config: { transport: 'local' },
    pool: 'worker: { work: hold }',
  })
  const [mine, bare] = [empty(), empty()]
  for (let n = 0; n < pairs; n++) {
    await ours(rig, mine)
    await bareSpawn(bare)
  }
  await rig.stop()
  return figures('local', { mine, bare })
}
