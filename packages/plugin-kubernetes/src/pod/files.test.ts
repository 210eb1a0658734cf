import { expect, test } from 'vitest'
import { secretOf } from './files.ts'
import { fields, id, refusal, specOf } from '../testing/pure.test.helper.ts'
import { checkSpec, podOf } from '../translate.ts'

const file = (path: string, mode?: number): { path: string; base64: string; mode?: number } => ({
  path,
  base64: 'YQ==',
  ...(mode === undefined ? {} : { mode }),
})

test('files in folders of the worker are copied there; others are mounted one by one', () => {
  const spec = specOf({
    files: [file('in/side'), file('/etc/a.conf', 0o644), file('/tmp/$(HOME)')],
    services: [{ name: 'db', image: 'db' }],
  })
  const { containers, initContainers = [], volumes } = podOf(spec, 'n').spec
  expect(initContainers.map(({ name }) => name)).toEqual(['files', 's-db'])
  const [copies] = initContainers
  expect(copies?.image).toBe(spec.image)
  expect(copies?.securityContext).toEqual(containers[0]?.securityContext)
  expect(copies?.command?.slice(4)).toEqual([
    ...['600', 'f0', '/workspace/in/side', '644', 'f1', '/.muster-placed/f1'],
    ...['600', 'f2', '/tmp/$$(HOME)'],
  ])
  expect(volumes).toContainEqual({ name: 'muster-files', secret: { secretName: id, defaultMode: 0o444 } })
  const mounts = containers[0]?.volumeMounts ?? []
  expect(mounts.filter(({ name }) => name !== 'muster-placed').map(({ mountPath }) => mountPath)).not.toContain('/.muster-files')
  expect(mounts.filter(({ name }) => name === 'muster-placed')).toEqual([
    { name: 'muster-placed', mountPath: '/etc/a.conf', subPath: 'f1' },
  ])
})

test('a worker without files has nothing of it', () => {
  const { initContainers, volumes } = podOf(specOf(), 'n').spec
  expect(initContainers).toBeUndefined()
  expect(JSON.stringify(volumes)).not.toMatch(/muster-files|muster-placed/)
  expect(secretOf(specOf(), { metadata: { name: id, namespace: 'n', uid: 'u' }, spec: { containers: [] } })).toBeUndefined()
})

test('their contents are a Secret that goes with the Pod', () => {
  const secret = secretOf(specOf({ files: [file('a'), file('b')] }), {
    metadata: { name: id, namespace: 'n', uid: 'u' },
    spec: { containers: [] },
  })
  expect(secret).toMatchObject({
    metadata: { name: id, namespace: 'n', ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: id, uid: 'u' }] },
    immutable: true,
    data: { f0: 'YQ==', f1: 'YQ==' },
  })
})

const cache = { target: '/cache', source: { kind: 'volume', name: 'cache' }, readOnly: true } as const

test.each<[string, Parameters<typeof specOf>[0], [string, string]]>([
  ['a folder', { files: [file('a/')] }, ['invalid-spec', 'files.0.path']],
  ['the working directory itself', { files: [file('.')] }, ['invalid-spec', 'files.0.path']],
  ['what is mounted', { files: [file('/cache')], mounts: [{ ...cache, readOnly: false }] }, ['invalid-spec', 'files.0.path']],
  ['a colon', { files: [file('a:b')] }, ['invalid-spec', 'files.0.path']],
  ['our own folder', { files: [file('/.muster/run/x')] }, ['invalid-spec', 'files.0.path']],
  ['one file twice', { files: [file('a'), file('./b/../a')] }, ['invalid-spec', 'files.1.path']],
  ['a file below a file', { files: [file('a/b'), file('a')] }, ['invalid-spec', 'files.0.path']],
  ['a read-only mount', { files: [file('/cache/a')], mounts: [cache] }, ['unsupported', 'files']],
  ['too much', { files: [{ path: 'a', base64: 'a'.repeat(2 ** 21) }] }, ['invalid-spec', 'files']],
])('%s is refused', (_what, over, [code, path]) => {
  expect(() => checkSpec(specOf(over), fields)).toThrow(expect.objectContaining(refusal(code, path)) as Error)
})
