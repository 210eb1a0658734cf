/** A harness of one pool that holds, for a test file: each test opens its own, which is closed after it and has nothing to report. */
import { afterEach, expect } from 'vitest'
import { type Harness, type HarnessOptions, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'

export interface Holding {
  open(options?: Partial<HarnessOptions>): Promise<void>
  /** A lease that has its worker. */
  leased(given?: Parameters<typeof leaseRequest>[0]): Promise<{ lease: string; worker: string }>
}

/** `opened` is told of each. */
export function holding(opened: (harness: Harness) => void): Holding {
  const all: Harness[] = []
  afterEach(async () => {
    for (const h of all.splice(0)) {
      expect(h.reports).toEqual([])
      await h.close()
    }
  })
  return {
    async open(options = {}) {
      const h = await openHarness({ pools: [poolConfig({ work: 'hold' })], providers: [{ name: 'one' }], ...options })
      all.push(h)
      opened(h)
    },
    async leased(given = {}) {
      const h = all.at(-1)
      if (h === undefined) throw new Error('no harness is open')
      const { id } = await h.engine.leases.request(leaseRequest(given))
      await h.pass(100)
      return { lease: id, worker: h.engine.leases.get(id)?.worker_id ?? '' }
    },
  }
}
