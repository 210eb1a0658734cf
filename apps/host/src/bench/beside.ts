/** A host in a process of its own, for `zoo.ts`: it measures when it is told to, and says what it found. */
import { join } from 'node:path'
import { examine } from '../examine.ts'
import { openRig } from './rig.ts'

/** Milliseconds of each. */
export interface Felt {
  /** The call to the plugin. */
  launch: number[]
  /** The call to the plugin. */
  inspect: number[]
  /** From the request to a worker that is ready. */
  lease: number[]
}

const [file = ''] = process.argv.slice(2)
const { found, problems } = await examine(file, ({ data }) => [join(data, 'plugins')])
if (found === undefined || problems.length > 0) throw new Error(JSON.stringify(problems))
const pool = 'good'
let felt: Felt = { launch: [], inspect: [], lease: [] }
const rig = await openRig(found, pool, ({ provider, method }, ms) => {
  if (provider === pool && method === 'launch') felt.launch.push(ms)
})

async function measure(count: number): Promise<Felt> {
  felt = { launch: [], inspect: [], lease: [] }
  for (let n = 0; n < count; n++) {
    const began = performance.now()
    const { id } = await rig.engine.leases.request({ pool, requirements: {}, ttlMs: 3_600_000, principal: 'bench' })
    const { lease } = await rig.engine.leases.wait(id, (view) => view.lease.state === 'active')
    felt.lease.push(performance.now() - began)
    const asked = performance.now()
    await rig.plugins.provider(pool).inspect([{ id: lease.worker_id ?? '' }])
    felt.inspect.push(performance.now() - asked)
    await rig.engine.leases.release(id, { reason: 'measured' })
  }
  return felt
}

process.on('message', (count: number) => {
  void measure(count).then((found) => process.send?.(found))
})
process.on('disconnect', () => {
  void rig.stop().then(() => process.exit())
})
process.send?.('ready')
