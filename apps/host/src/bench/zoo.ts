/** What the pools beside hostile plugins feel of them: calls and leases of a good pool on a host with the zoo, and on one without. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { type Fault, faults } from '../plugins/testing/zoo/faults.ts'
import { type Fence, findFence } from '../plugins/testing/zoo/fence.ts'
import { makeZoo } from '../plugins/testing/zoo/site.ts'
import type { Felt } from './beside.ts'
import type { Figure } from './report.ts'
import { summary } from './stats.ts'

const rounds = 10
const what: Record<keyof Felt, string> = {
  launch: 'launch, the call to the plugin',
  inspect: 'inspect, the call to the plugin',
  lease: 'lease, from the request to its worker',
}

export async function benchZoo(leases: number): Promise<Figure[]> {
  const found = await findFence()
  if (found.absent !== undefined)
    return [{ name: 'beside plugins of the zoo', value: 'not measured', baseline: found.absent, ratio: '', aim: '' }]
  const names = Object.keys(faults) as Fault[]
  const fence = await found.system()
  const [plain, zoo] = [await makeZoo([], { token: 'none' }), await makeZoo(names, { token: 'none' })]
  const hosts: Host[] = []
  try {
    const bare = await startHost(plain.config)
    hosts.push(bare)
    const alone = await bare.measure(leases)
    const hostile = await startHost(zoo.config, fence)
    hosts.push(hostile)
    const [own, other] = [nothing(), nothing()]
    // In turn, so that both meet the same machine, which the zoo loads too.
    for (let n = 0; n < rounds; n++) {
      add(own, await hostile.measure(leases / rounds))
      add(other, await bare.measure(leases / rounds))
    }
    return (Object.keys(what) as (keyof Felt)[]).flatMap((kind) => {
      const name = `${what[kind]}, beside ${names.length} plugins of the zoo, p50 / p99`
      return [
        { name, ...compared(own[kind], other[kind], 'a host without them, at the same time') },
        { name, ...compared(own[kind], alone[kind], 'a host without them, and nothing beside it') },
      ]
    })
  } finally {
    for (const host of hosts) await host.stop()
    await zoo.dispose()
    await plain.dispose()
    await fence.drop()
  }
}

function compared(own: readonly number[], bare: readonly number[], which: string): Omit<Figure, 'name'> {
  const [mine, least] = [summary(own), summary(bare)]
  const text = ({ p50, p99 }: { p50: number; p99: number }): string => `${p50.toFixed(2)} / ${p99.toFixed(2)} ms`
  return {
    value: text(mine),
    baseline: `${which}: ${text(least)}`,
    ratio: `p50 × ${(mine.p50 / least.p50).toFixed(2)}, p99 × ${(mine.p99 / least.p99).toFixed(2)}`,
    aim: '',
  }
}

const nothing = (): Felt => ({ launch: [], inspect: [], lease: [] })

function add(to: Felt, { launch, inspect, lease }: Felt): void {
  to.launch.push(...launch)
  to.inspect.push(...inspect)
  to.lease.push(...lease)
}

interface Host {
  measure(count: number): Promise<Felt>
  stop(): Promise<void>
}

/** Resolves when its good pool can be used; what becomes of its other plugins goes on meanwhile. */
async function startHost(config: string, fence?: Fence): Promise<Host> {
  const child = fork(join(import.meta.dirname, 'beside.ts'), [config], { execArgv: ['--conditions=@muster/source'] })
  await fence?.take(child.pid ?? -1)
  const over = once(child, 'exit').then(([code]) => Promise.reject(new Error(`the host ended with ${code}`)))
  // It is heard of by whoever waits.
  over.catch(() => undefined)
  const heard = (): Promise<unknown> => Promise.race([once(child, 'message').then(([message]) => message as unknown), over])
  await heard()
  return {
    async measure(count) {
      child.send(count)
      return (await heard()) as Felt
    },
    stop: () => ended(child),
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.disconnect()
  await once(child, 'exit')
}
