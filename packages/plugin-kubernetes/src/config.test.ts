import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { pluginManifestSchema } from '@muster/core'
import { load } from 'js-yaml'
import { expect, test } from 'vitest'
import * as z from 'zod'
import manifest from '../muster-plugin.json' with { type: 'json' }
import packed from '../package.json' with { type: 'json' }
import { configSchema, parseConfig } from './config.ts'
import { plugin } from './index.ts'
import { jobRights } from './client.ts'
import { roleOf, tenantRoleOf } from './pools/rbac.ts'
import { settingsSchema } from './settings.ts'
import { envBytes } from './translate.ts'

const usual = {
  namespace: 'muster',
  as: 'pod',
  rate: { rate: 50, burst: 100 },
  copies: { bytes: 64 * 2 ** 30, entries: 1_000_000 },
}

test.each([
  [{ kubeconfig: '/a' }, { ...usual, source: { from: 'file', path: '/a' } }],
  [
    { kubeconfig: '/a', context: 'b' },
    { ...usual, source: { from: 'file', path: '/a', context: 'b' } },
  ],
  [
    { inCluster: true, namespace: 'ci', as: 'job' },
    { ...usual, namespace: 'ci', as: 'job', source: { from: 'pod' } },
  ],
  [
    { inCluster: true, copies: { size: '2MiB' } },
    { ...usual, copies: { ...usual.copies, bytes: 2 * 2 ** 20 }, source: { from: 'pod' } },
  ],
  [
    { inCluster: true, tenant: { quota: { pods: 3 }, make: true } },
    { ...usual, tenant: { quota: { pods: 3 }, make: true }, source: { from: 'pod' } },
  ],
  [
    { inCluster: true, rate: { burst: 5 } },
    { ...usual, rate: { rate: 50, burst: 5 }, source: { from: 'pod' } },
  ],
  [
    { inCluster: true, gate: { image: 'a' }, resolvers: ['10.0.0.10', 'fd00::/64'] },
    {
      ...usual,
      source: { from: 'pod' },
      network: { gate: { image: 'a', seconds: 60 }, resolvers: ['10.0.0.10/32', 'fd00::/64'] },
    },
  ],
  [
    { inCluster: true, gate: { image: 'a', address: '10.0.0.1:443', seconds: 5 } },
    {
      ...usual,
      source: { from: 'pod' },
      network: { gate: { image: 'a', address: { host: '10.0.0.1', port: 443 }, seconds: 5 } },
    },
  ],
])('%j is %j', (input, checked) => {
  expect(parseConfig(input)).toEqual({ network: {}, ...checked })
})

test.each([
  [{}, 'config'],
  ['/a', 'config'],
  [{ kubeconfig: 'a' }, 'config.kubeconfig'],
  [{ kubeconfig: '/a', inCluster: true }, 'config.kubeconfig'],
  [{ context: 'a', inCluster: true }, 'config.context'],
  [{ inCluster: true, namespace: 'A' }, 'config.namespace'],
  [{ inCluster: true, rate: { perSecond: 0 } }, 'config.rate.perSecond'],
  [{ inCluster: true, copies: { size: '1GB' } }, 'config.copies.size'],
  [{ inCluster: true, token: 'x' }, 'config'],
  [{ inCluster: true, tenant: {} }, 'config.tenant.quota'],
  [{ inCluster: true, tenant: { quota: { pods: 1 }, remove: true } }, 'config.tenant.remove'],
  // A name would need a resolver, and not finding it would look like a refusal.
  [{ inCluster: true, gate: { image: 'a', address: 'api.example:443' } }, 'config.gate.address'],
  [{ inCluster: true, resolvers: ['kube-dns'] }, 'config.resolvers.0'],
])('%j is refused at %s', (input, path) => {
  expect(() => parseConfig(input)).toThrow(expect.objectContaining({ code: 'invalid-spec', effect: 'none', path }) as Error)
})

test('the manifest is valid, says what the package says, and its schemas are those that are parsed with', () => {
  expect(pluginManifestSchema.safeParse(manifest).error).toBeUndefined()
  expect(manifest).toMatchObject({ name: packed.name, version: packed.version, capabilities: { envBytes } })
  expect(manifest.config).toEqual(z.toJSONSchema(configSchema))
  expect(manifest.settings).toEqual(z.toJSONSchema(settingsSchema))
})

test('the provider has the methods that the manifest declares, and no others', async () => {
  const log = { debug() {}, info() {}, warn() {}, error() {} }
  const context = { provider: 'kubernetes', owner: 'owner', dataDir: '/nonexistent', log, now: Date.now }
  const provider = await plugin.create({ inCluster: true }, context)
  const { capabilities } = plugin.manifest
  expect(capabilities).toMatchObject({ watch: true, exec: { tty: true }, logs: {}, preparePool: true, quote: false })
  expect(capabilities).toMatchObject({
    copy: { in: true, out: true, afterExit: false },
    forward: true,
    stats: true,
    headroom: true,
  })
  expect(capabilities).not.toHaveProperty('suspend')
  expect(Object.keys(provider)).toEqual([
    ...[
      'probe',
      'preparePool',
      'unpreparePool',
      'launch',
      'terminate',
      'list',
      'inspect',
      'watch',
      'logs',
      'exec',
      'execState',
      'execKill',
      'execResize',
    ],
    ...['copyIn', 'copyOut', 'forward', 'mark', 'stats', 'headroom'],
  ])
})

test('what the guide says of Jobs is a configuration', async () => {
  const text = await readFile(fileURLToPath(new URL('../../../examples/kubernetes/jobs.yaml', import.meta.url)), 'utf8')
  const { providers } = load(text) as { providers: { cluster: { config: unknown } } }
  expect(parseConfig(providers.cluster.config)).toMatchObject({ as: 'job', namespace: 'ci' })
})

test('where workers are Jobs the Role has those of Jobs too', () => {
  const jobs = { apiGroups: ['batch'], resources: ['jobs'], verbs: ['create', 'delete', 'get', 'list', 'watch'] }
  const { rules } = roleOf('ci', jobRights)
  expect(rules.filter(({ resources }) => resources[0] !== 'jobs')).toEqual(roleOf('ci').rules)
  expect(rules).toContainEqual(jobs)
})

test('the Role has the rights of the calls that are made, and no others', () => {
  expect(roleOf('ci')).toEqual({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'Role',
    metadata: { name: 'muster', namespace: 'ci' },
    rules: [
      { apiGroups: [''], resources: ['events'], verbs: ['list'] },
      { apiGroups: [''], resources: ['pods'], verbs: ['create', 'delete', 'get', 'list', 'patch', 'watch'] },
      { apiGroups: [''], resources: ['pods/exec'], verbs: ['create', 'get'] },
      { apiGroups: [''], resources: ['pods/log'], verbs: ['get'] },
      { apiGroups: [''], resources: ['pods/portforward'], verbs: ['create', 'get'] },
      { apiGroups: [''], resources: ['resourcequotas'], verbs: ['list'] },
      { apiGroups: [''], resources: ['secrets'], verbs: ['create'] },
      { apiGroups: [''], resources: ['services'], verbs: ['create', 'delete', 'get', 'list', 'patch'] },
      {
        apiGroups: ['networking.k8s.io'],
        resources: ['networkpolicies'],
        verbs: ['create', 'delete', 'get', 'list', 'patch'],
      },
      { apiGroups: ['policy'], resources: ['poddisruptionbudgets'], verbs: ['create', 'delete', 'get', 'list', 'patch'] },
    ],
  })
})

test('a tenant’s namespace needs more: to be looked at, to be made, to be taken away', () => {
  const quota = { pods: 1 }
  const has = (config: Parameters<typeof tenantRoleOf>[1]): string[] => {
    const { kind, metadata, rules } = tenantRoleOf('ci', config)
    const of = (name: string): string => rules.find(({ resources }) => resources.includes(name))?.verbs.join(' ') ?? ''
    return [kind, metadata.namespace ?? '', of('namespaces'), of('resourcequotas'), of('limitranges')]
  }
  expect(has(undefined)).toEqual(['Role', 'ci', '', 'list', ''])
  expect(has({ quota })).toEqual(['Role', 'ci', 'get', 'list', ''])
  expect(has({ quota, make: true })).toEqual(['ClusterRole', '', 'create get patch', 'create list patch', 'create patch'])
  expect(has({ quota, make: true, remove: true })[2]).toBe('create get patch delete')
})
