import { expect, test } from 'vitest'
import { usageOf } from './usage.ts'

const at = '2026-01-31T09:30:00.000Z'
const sample = { id: 'w00000000000000000000000001', at }

const net = [
  'net Inter-|   Receive                                                |  Transmit',
  'net  face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed',
  'net     lo:    9999      13    0    0    0     0          0         0     9999      13    0    0    0     0       0          0',
  'net   eth0:    1000      13    0    0    0     0          0         0      200      11    0    0    0     0       0          0',
  'net   eth1:1       13    0    0    0     0          0         0      2      11    0    0    0     0       0          0',
]

test.each<[string, string[], object]>([
  [
    'version 2',
    [
      ...['cpu usage_usec 1500000', 'cpu user_usec 1000000', 'memory 1000000', 'peak 2000000'],
      ...['inactive anon 1', 'inactive inactive_file 400000', 'pids 7'],
      ...['io 8:0 rbytes=4096 wbytes=8192 rios=1 wios=2', 'io 8:16 rbytes=1 wbytes=2 rios=1 wios=1', ...net],
    ],
    {
      ...{ cpuSeconds: 1.5, memoryBytes: 600_000, memoryPeakBytes: 2_000_000, pids: 7 },
      ...{ network: { receivedBytes: 1001, sentBytes: 202 }, disk: { readBytes: 4097, writtenBytes: 8194 } },
    },
  ],
  [
    'version 1',
    [
      ...['nanos 2500000000', 'memory 1000000', 'peak 500000', 'inactive inactive_file 1', 'inactive total_inactive_file 400000'],
      ...['blkio 8:0 Read 10', 'blkio 8:0 Write 20', 'blkio 8:0 Total 30', 'blkio 8:16 Read 1', 'blkio Total 31'],
    ],
    { cpuSeconds: 2.5, memoryBytes: 600_000, memoryPeakBytes: 600_000, disk: { readBytes: 11, writtenBytes: 20 } },
  ],
  ['a kernel that says little', ['nanos 1000000000', 'memory 5'], { cpuSeconds: 1, memoryBytes: 5 }],
])('%s is read', (_what, lines, usage) => {
  expect(usageOf(lines, sample)).toEqual({ ...sample, ...usage })
})

test.each([
  ['nothing', []],
  ['no memory', ['nanos 1']],
  ['no figure of a kernel', ['nanos 99999999999999999999999', 'memory 1']],
])('%s is no sample', (_what, lines) => {
  expect(usageOf(lines, sample)).toBeUndefined()
})
