import { expect, test } from 'vitest'
import type { PodManifest } from '../objects.ts'
import { id, refusal, specOf } from '../testing/pure.test.helper.ts'
import { podOf } from '../translate.ts'

const laid = (template: Record<string, unknown>, more: object = {}): PodManifest =>
  podOf(specOf({ settings: { template, ...more } }), 'muster')

test('a template adds to lists by name and to objects by field', () => {
  const { metadata, spec } = laid({
    metadata: { annotations: { 'a.example/b': 'c' } },
    spec: {
      dnsPolicy: 'None',
      containers: [
        { name: 'worker', env: [{ name: 'MORE', value: '1' }] },
        { name: 'beside', image: 'x' },
      ],
      volumes: [{ name: 'extra', emptyDir: {} }],
    },
  })
  expect(metadata).toMatchObject({ name: id, annotations: { 'a.example/b': 'c', 'karpenter.sh/do-not-disrupt': 'true' } })
  expect(spec['dnsPolicy']).toBe('None')
  expect(spec.containers[0]).toMatchObject({ name: 'worker', image: 'node:26' })
  expect(spec.containers[0]?.env).toEqual([
    { name: 'HOME', value: '/tmp' },
    { name: 'MORE', value: '1' },
  ])
  expect(spec.containers[1]).toMatchObject({
    name: 'beside',
    securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
  })
  expect(spec.volumes?.map(({ name }) => name)).toContain('extra')
})

test('null takes away what is no need of ours', () => {
  expect(laid({ spec: { enableServiceLinks: null } }).spec.enableServiceLinks).toBeUndefined()
})

test.each<[string, Record<string, unknown>]>([
  ['kind', { kind: 'Job' }],
  ['metadata.name', { metadata: { name: 'x' } }],
  ['metadata.labels.muster-owner', { metadata: { labels: { 'muster-owner': 'me' } } }],
  ['metadata.annotations.muster.dev/spec', { metadata: { annotations: { 'muster.dev/spec': null } } }],
  ['spec.restartPolicy', { spec: { restartPolicy: 'Always' } }],
  ['spec.activeDeadlineSeconds', { spec: { activeDeadlineSeconds: 5 } }],
  ['spec.hostNetwork', { spec: { hostNetwork: true } }],
  ['spec.securityContext', { spec: { securityContext: { runAsUser: 0 } } }],
  ['spec.serviceAccountName', { spec: { serviceAccountName: 'admin' } }],
  ['spec.automountServiceAccountToken', { spec: { automountServiceAccountToken: true } }],
  ['spec.containers.*.image', { spec: { containers: [{ name: 'worker', image: 'other' }] } }],
  ['spec.containers.*.image', { spec: { containers: null } }],
  ['spec.containers.*.restartPolicy', { spec: { containers: [{ name: 'worker', restartPolicy: 'Always' }] } }],
  ['spec.containers.*.restartPolicyRules', { spec: { containers: [{ name: 'worker', restartPolicyRules: [] }] } }],
  ['spec.containers.*.command', { spec: { containers: [{ name: 'worker', command: ['x'] }] } }],
  ['spec.containers.*.securityContext', { spec: { containers: [{ name: 'worker', securityContext: { privileged: true } }] } }],
  [
    'spec.containers.beside.securityContext',
    { spec: { containers: [{ name: 'beside', image: 'x', securityContext: { privileged: true } }] } },
  ],
  ['spec.volumes.root.hostPath', { spec: { volumes: [{ name: 'root', hostPath: { path: '/' } }] } }],
  ['spec.volumes.muster-tmp.hostPath', { spec: { volumes: [{ name: 'muster-tmp', hostPath: { path: '/' } }] } }],
  ['spec.volumes', { spec: { volumes: [{ name: 'muster-tmp', emptyDir: { medium: 'Memory' } }] } }],
])('a template does not say %s', (path, template) => {
  expect(() => laid(template)).toThrow(expect.objectContaining(refusal('unsupported', `settings.template.${path}`)) as Error)
})

test('a pool that may do everything may say more, but not what Muster needs', () => {
  const privileged = { security: 'privileged' }
  expect(laid({ spec: { hostNetwork: true } }, privileged).spec['hostNetwork']).toBe(true)
  expect(() => laid({ spec: { restartPolicy: 'Always' } }, privileged)).toThrow('settings.template.spec.restartPolicy')
})
