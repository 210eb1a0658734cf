/** After everything else. */
import assert from 'node:assert/strict'
import type { SuiteTest } from './test.ts'

export const lastTest: SuiteTest = {
  name: 'nothing is left of any worker of the suite',
  async run(bench) {
    const left = await bench
      .until('the last traces go', async () => {
        const found = await bench.setup.leftovers([...bench.ids])
        return found.length === 0 ? found : undefined
      })
      .catch(() => bench.setup.leftovers([...bench.ids]))
    assert.deepEqual(left, [])
  },
}
