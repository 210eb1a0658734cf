/** A process that holds a provider and is killed in the middle of what it does. Reads its orders from its arguments. */
import type { LaunchSpec } from '@muster/core'
import { createProvider, type ProviderOptions } from './provider.ts'
import { callOf } from './rig.test.helper.ts'

export interface Orders {
  options: Pick<ProviderOptions, 'config' | 'ledger'> & { dataDir: string }
  launch?: LaunchSpec
  terminate?: { id: string; graceMs: number }
  /** Ends itself at this step, as SIGKILL from outside would. */
  dieAt?: string
}

const { options, launch, terminate, dieAt } = JSON.parse(process.argv[2] ?? '{}') as Orders
const { dataDir, ...rest } = options
const provider = createProvider({
  ...rest,
  context: { provider: 'local', owner: 'test', dataDir, now: Date.now },
  reached(step) {
    if (step === dieAt) process.kill(process.pid, 'SIGKILL')
  },
})
await provider.probe(callOf())
// Whoever kills this process at a time of its own counts from here.
process.stdout.write('ready\n')
if (launch !== undefined) await provider.launch(launch, callOf())
if (terminate !== undefined)
  await provider.terminate({ id: terminate.id }, { ...terminate, force: false, reason: 'test' }, callOf())
process.stdout.write('done\n')
