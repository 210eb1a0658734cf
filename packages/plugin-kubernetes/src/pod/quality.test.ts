/** Which quality of service a worker's Pod gets, by the cluster's own rule: what the README says of it. */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { LaunchSpec } from '@muster/core'
import { expect, test } from 'vitest'
import { amountOf } from '../quantity.ts'
import { fields, specOf } from '../testing/pure.test.helper.ts'
import { checkSpec, podOf } from '../translate.ts'

const readme = fileURLToPath(new URL('../../README.md', import.meta.url))

/** https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/: init containers and sidecars count as the others do. */
function qualityOf(over: Partial<LaunchSpec>): string {
  checkSpec(specOf(over), fields)
  const { containers, initContainers = [] } = podOf(specOf(over), 'ci', gated(over)).spec
  const counted = ['cpu', 'memory'] as const
  const all = [...initContainers, ...containers].map(({ resources: { requests = {}, limits = {} } = {} }) => {
    // What has a limit and asks for nothing asks for that.
    const wants = { ...limits, ...requests }
    return {
      none: counted.every((name) => amountOf(wants[name] ?? '0') === 0),
      whole: counted.every((name) => limits[name] !== undefined && amountOf(limits[name]) === amountOf(wants[name] ?? '0')),
    }
  })
  return all.every(({ none }) => none) ? 'BestEffort' : all.every(({ whole }) => whole) ? 'Guaranteed' : 'Burstable'
}

const gated = ({ network }: Partial<LaunchSpec>): Parameters<typeof podOf>[2] =>
  network === undefined ? {} : { gate: { image: 'gate', seconds: 60 } }

const resources = { cpu: 2, memoryBytes: 2 ** 32 }
const services = [{ name: 'db', image: 'db' }]
const init = [{ name: 'seed', image: 'seed', command: ['go'] }]
const files = [{ path: 'a', base64: 'YQ==' }]

/** What a pool says, and specs that say so; all of one row get the same. */
const rows: readonly [string, ...Partial<LaunchSpec>[]][] = [
  ['`resources` with `cpu` and `memory`', { resources }, { resources: { ...resources, diskBytes: 2 ** 30, gpus: 1 } }],
  ['the same, with `files` or a closed network', { resources, files, network: { egress: 'none' } }],
  [
    'the same, with services that have `cpu` and `memoryBytes` in `settings.services`',
    { resources, services, settings: { services: { db: { cpu: 1, memoryBytes: 2 ** 28 } } } },
  ],
  [
    'the same, with a service that lacks one of them',
    { resources, services },
    { resources, services, settings: { services: { db: { cpu: 1 } } } },
  ],
  ['the same, with `settings.init`', { resources, settings: { init } }],
  [
    'the same, with another `cpu` or `memoryBytes` in `settings.limits`',
    { resources, settings: { limits: { cpu: 'none' } } },
    { resources, settings: { limits: { memoryBytes: 2 ** 33 } } },
  ],
  ['`resources` with one of `cpu` and `memory`', { resources: { cpu: 2 } }, { resources: { memoryBytes: 2 ** 32 } }],
  [
    'neither of them',
    {},
    { resources: { diskBytes: 2 ** 30, gpus: 1 } },
    { settings: { init, extended: { 'a.test/b': 1 } }, files, services },
  ],
]

test('the README says which specs get which quality of service', async () => {
  const classes = rows.map(([what, ...specs]) => {
    const [first = '', ...others] = new Set(specs.map(qualityOf))
    expect([what, others]).toEqual([what, []])
    return `| ${what} | ${first} |`
  })
  const text = await readFile(readme, 'utf8')
  const [before, rest = ''] = text.split(/(?<=<!-- quality: [^\n]*-->\n)/)
  const after = rest.slice(rest.indexOf('<!-- end of quality -->'))
  const table = ['| a pool that says | is |', '| --- | --- |', ...classes].join('\n')
  await expect(`${before}\n${table}\n\n${after}`).toMatchFileSnapshot(readme)
})
