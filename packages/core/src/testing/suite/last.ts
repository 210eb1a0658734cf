/** After everything else. */
import assert from 'node:assert/strict'
import type { Bench } from './bench.ts'
import { force, listed } from './help.ts'
import type { SuiteTest } from './test.ts'

export const lastTest: SuiteTest = {
  name: 'nothing is left of any worker of the suite',
  async run(bench) {
    const left = await bench
      .until('the last traces go', async () => {
        await takeLate(bench)
        const found = await bench.setup.leftovers([...bench.ids])
        return found.length === 0 ? found : undefined
      })
      .catch(() => bench.setup.leftovers([...bench.ids]))
    assert.deepEqual(left, [])
  },
}

/** What a killed plugin had asked its vendor for may come when its test is over. It shows in the list, and goes as a host's orphans do. */
async function takeLate(bench: Bench): Promise<void> {
  const session = await bench.session()
  for (const { id, handle } of await listed(bench, session, [...bench.ids])) await session.terminate({ id, handle }, force)
}
