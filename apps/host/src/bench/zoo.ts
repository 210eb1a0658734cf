/** What the pools beside hostile plugins feel of them: leases of a good pool in a daemon with the zoo, and in one without. */
import { waitFor } from '@muster/test/systems/wait'
import type { Site } from '../faults/daemon.test.helper.ts'
import { cagesAreHere } from '../plugins/cage.ts'
import { type Fate, type Fault, faults } from '../plugins/testing/zoo/faults.ts'
import { openFence } from '../plugins/testing/zoo/fence.ts'
import { makeZoo } from '../plugins/testing/zoo/site.ts'
import type { Figure } from './report.ts'
import { summary } from './stats.ts'

export async function benchZoo(leases: number): Promise<Figure[]> {
  const isRoot = process.getuid?.() === 0
  const here = { none: true, root: isRoot, cage: await cagesAreHere() }
  const names = (Object.entries(faults) as [Fault, Fate][]).filter(([, { needs }]) => here[needs ?? 'none']).map(([name]) => name)
  const fence = await openFence()
  const [plain, zoo] = [await makeZoo([], { token: 'none' }), await makeZoo(names, { token: 'none' })]
  try {
    await open(plain)
    const alone = await times(plain, leases)
    const daemon = await zoo.start()
    await fence?.take(daemon.pid)
    await waitFor('the API', () => zoo.client.version())
    const beside = { zoo: [] as number[], plain: [] as number[] }
    // In turn, so that both meet the same machine, which the zoo loads too.
    for (let n = 0; n < 10; n++) {
      beside.zoo.push(...(await times(zoo, leases / 10)))
      beside.plain.push(...(await times(plain, leases / 10)))
    }
    const [own, other, before] = [summary(beside.zoo), summary(beside.plain), summary(alone)]
    const text = ({ p50, p99 }: { p50: number; p99: number }): string => `${p50.toFixed(1)} / ${p99.toFixed(1)} ms`
    const ratio = (bare: { p50: number; p99: number }): string =>
      `p50 × ${(own.p50 / bare.p50).toFixed(2)}, p99 × ${(own.p99 / bare.p99).toFixed(2)}`
    const name = `lease of another pool, from the request to its worker, beside ${names.length} plugins of the zoo, p50 / p99`
    return [
      {
        ...{ name, value: text(own), aim: '' },
        baseline: `a daemon without them at the same time: ${text(other)}`,
        ratio: ratio(other),
      },
      {
        ...{ name, value: text(own), aim: '' },
        baseline: `a daemon without them, and nothing beside it: ${text(before)}`,
        ratio: ratio(before),
      },
    ]
  } finally {
    await zoo.dispose()
    await plain.dispose()
    await fence?.drop()
  }
}

async function open(site: Site): Promise<void> {
  await site.start()
  await site.ready()
}

async function times({ client }: Site, count: number): Promise<number[]> {
  const ms: number[] = []
  for (let n = 0; n < count; n++) {
    const began = performance.now()
    const { id } = await client.leases.create({ pool: 'good' })
    await client.leases.wait(id)
    ms.push(performance.now() - began)
    await client.leases.release(id)
  }
  return ms
}
