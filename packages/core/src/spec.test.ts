import { expect, test } from 'vitest'
import * as z from 'zod'
import { fieldsOf, type LaunchSpec, launchSpecSchema, specFields } from './spec.ts'

const tags = {
  'muster-owner': 'o',
  'muster-provider': 'p',
  'muster-pool': 'q',
  'muster-worker': 'w',
  'muster-epoch': '1',
} as const
const bare: LaunchSpec = { id: `w${'a'.repeat(26)}`, tags, work: { mode: 'command', command: ['true'] } }
const whole = {
  ...bare,
  work: { mode: 'command', command: ['true'], inputs: [], outputs: [] },
  image: 'i',
  profile: 'p',
  env: {},
  workdir: '/',
  files: [],
  resources: { cpu: 1, memoryBytes: 1, diskBytes: 1, pids: 1, gpus: 1 },
  os: 'linux',
  arch: 'amd64',
  mounts: [
    { target: '/a', source: { kind: 'bind', path: '/a' } },
    { target: '/b', source: { kind: 'volume', name: 'b' } },
    { target: '/c', source: { kind: 'tmpfs' } },
  ],
  network: { egress: 'none', allow: [], ports: [] },
  security: {
    user: 'u',
    readOnlyRoot: true,
    noNewPrivileges: true,
    privileged: true,
    capabilitiesAdd: [],
    capabilitiesDrop: [],
  },
  lifetimeMs: 1,
  readiness: { check: { kind: 'tcp', port: 1 }, intervalMs: 1, timeoutMs: 1, failures: 1 },
  services: [],
  labels: {},
  credentials: [],
  settings: {},
} as unknown as LaunchSpec

test('a spec has the fields that stand in it', () => {
  expect(fieldsOf(bare)).toEqual([])
  const egress = ['network.egress.restricted', 'network.egress.full']
  expect(fieldsOf(whole).toSorted()).toEqual(specFields.filter((one) => !egress.includes(one)).toSorted())
  expect(fieldsOf({ ...bare, work: { mode: 'hold', inputs: [], outputs: [] } as unknown as LaunchSpec['work'] })).toEqual([])
  expect(fieldsOf({ ...bare, network: { egress: 'full' } })).toEqual(['network.egress.full'])
})

test('whatever a spec may have is a field that a provider declares or refuses', () => {
  const { properties = {} } = z.toJSONSchema(launchSpecSchema) as {
    properties?: Record<string, { properties?: object; anyOf?: object[] }>
  }
  // Who it is, and its way of working, which capabilities have: but what goes in and comes out of a command is a field.
  const { id: _id, tags: _tags, work: _work, ...optional } = properties
  // Where one key has several meanings, each is a field; the parts of the others are.
  const paths = Object.entries(optional).flatMap(([key, schema]) =>
    schema.properties === undefined || key === 'readiness'
      ? [key]
      : Object.keys(schema.properties).map((part) => `${key}.${part}`),
  )
  expect(paths.length).toBeGreaterThan(20)
  const missing = paths.filter((path) => !specFields.some((field) => field === path || field.startsWith(`${path}.`)))
  expect(missing).toEqual([])
})
