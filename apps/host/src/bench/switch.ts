/** Another version of a plugin in its place beside a plain kill and restart: how long it takes, and how long a caller waits at the most. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Host, killAndWait, openHost, versions } from '../faults/switch.test.helper.ts'
import { beside } from './plugins.ts'
import type { Figure } from './report.ts'

interface Times {
  /** From the request until it is done. */
  whole: number[]
  /** The longest time between two answers to a caller who asks again and again. */
  gap: number[]
}

export async function benchSwitch(rounds: number): Promise<Figure[]> {
  const host = await openHost()
  try {
    const [upgraded, killed]: [Times, Times] = [
      { whole: [], gap: [] },
      { whole: [], gap: [] },
    ]
    for (let n = 1; n <= rounds; n++) {
      await during(host, upgraded, () => host.upgradeTo(versions[n % versions.length] ?? ''))
      await during(host, killed, () => killAndWait(host.provider))
    }
    const what = 'kill and restart of the process'
    return [
      beside('the longest wait between two answers to a caller while another version takes over, P50 / P95', {
        ...{ own: upgraded.gap, bare: killed.gap, what, unit: 'ms' },
        aim: '',
      }),
      beside('verified, started beside, probed, asked for every live worker, switched: all of it, P50 / P95', {
        ...{ own: upgraded.whole, bare: killed.whole, what, unit: 'ms' },
        aim: '',
      }),
    ]
  } finally {
    await host.close()
  }
}

async function during({ provider }: Host, into: Times, act: () => Promise<unknown>): Promise<void> {
  let over = false
  let longest = 0
  const caller = (async () => {
    for (let last = performance.now(); !over;) {
      const answered = await provider.list({ limit: 1 }).then(
        () => true,
        () => false,
      )
      const now = performance.now()
      if (answered) [longest, last] = [Math.max(longest, now - last), now]
      else await sleep(1)
    }
  })()
  const began = performance.now()
  await act()
  into.whole.push(performance.now() - began)
  // At least one answer after it.
  await provider.list({ limit: 1 })
  over = true
  await caller
  into.gap.push(longest)
}
