import type { WorkerStats } from '@muster/core'
import { expect, test } from 'vitest'
import type { ContainerStats } from '../client.ts'
import { createDue } from './samples.ts'
import { statsOf } from '../translate.ts'

const id = 'w0123456789abcdefghijklmnop'

test('stats leave out what the kernel could give back at once, on either cgroup version', () => {
  const sample = (stats: object, more: object = {}): ContainerStats =>
    ({
      read: '2026-01-31T09:30:00.5Z',
      pids_stats: { current: 4 },
      cpu_stats: { cpu_usage: { total_usage: 2_500_000_000 } },
      memory_stats: { usage: 1000, stats, ...more },
    }) as unknown as ContainerStats
  const common = { id, at: '2026-01-31T09:30:00.500Z', cpuSeconds: 2.5, pids: 4 }
  expect(statsOf(id, sample({ total_inactive_file: 300, inactive_file: 1 }, { max_usage: 2000 }))).toEqual({
    ...common,
    memoryBytes: 700,
    memoryPeakBytes: 2000,
  })
  expect(statsOf(id, sample({ inactive_file: 400 }))).toEqual({ ...common, memoryBytes: 600, memoryPeakBytes: 1000 })
  const moved = {
    networks: { eth0: { rx_bytes: 1, tx_bytes: 2 }, eth1: { rx_bytes: 10, tx_bytes: 20 } },
    blkio_stats: {
      // Version 1 writes the words large, version 2 small, and there are more of them.
      io_service_bytes_recursive: [
        { op: 'Read', value: 3 },
        { op: 'write', value: 4 },
        { op: 'Write', value: 5 },
        { op: 'Total', value: 12 },
      ],
    },
  }
  expect(statsOf(id, { ...sample({}), ...moved } as unknown as ContainerStats)).toMatchObject({
    network: { receivedBytes: 11, sentBytes: 22 },
    disk: { readBytes: 3, writtenBytes: 9 },
  })
  // Version 1 under a kernel that does not count says zeros: that nothing was read or written is not known. Version 2 counts.
  const zeros = {
    blkio_stats: {
      io_service_bytes_recursive: [
        { op: 'Read', value: 0 },
        { op: 'Write', value: 0 },
      ],
    },
  }
  const idle = (version: object): unknown => ({ ...sample({}, version), ...zeros })
  expect(statsOf(id, idle({ max_usage: 2000 }) as ContainerStats)).not.toHaveProperty('disk')
  expect(statsOf(id, idle({}) as ContainerStats)).toMatchObject({ disk: { readBytes: 0, writtenBytes: 0 } })
})

test('a container that has ended has no stats', () => {
  const ended = { read: '0001-01-01T00:00:00Z', memory_stats: {}, cpu_stats: { cpu_usage: { total_usage: 0 } } }
  expect(statsOf(id, ended as unknown as ContainerStats)).toBeUndefined()
})

test('where nobody counts memory, or not yet, the rest is told', () => {
  const sample = {
    read: '2026-01-31T09:30:00Z',
    memory_stats: {},
    cpu_stats: { cpu_usage: { total_usage: 3e9 } },
    pids_stats: { current: 2 },
  }
  const { at, ...stats } = statsOf(id, sample as unknown as ContainerStats)!
  expect(at).toBe('2026-01-31T09:30:00.000Z')
  expect(stats).toEqual({ id, cpuSeconds: 3, memoryBytes: 0, pids: 2 })
})

test('a worker is told of when its time has come, its last sample at its end, and a slow taker finds one', async () => {
  let now = 0
  const due = createDue(2000, () => now)
  const at = (seconds: number): WorkerStats => ({
    id,
    at: new Date(seconds * 1000).toISOString(),
    cpuSeconds: 0,
    memoryBytes: seconds,
  })
  const given: number[] = []
  const take = async (): Promise<void> => void given.push((await due.next()).memoryBytes)
  for (const second of [0, 1, 2]) {
    now = second * 1000
    due.add(at(second))
    if (second === 0) await take()
  }
  await take()
  due.add(at(3))
  due.end(id)
  await take()
  due.add(at(4))
  due.add(at(9))
  now = 20_000
  due.add(at(20))
  await take()
  expect(given).toEqual([0, 2, 3, 20])
  due.fail(new Error('away'))
  await expect(due.next()).rejects.toThrow('away')
})
