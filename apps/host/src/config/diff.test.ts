import { describe, expect, test } from 'vitest'
import { diffConfig, type Written } from './diff.ts'

const written = (file: object, plugins: Written['plugins'] = {}): Written => ({ file, plugins })
const base = {
  host: { listen: '127.0.0.1:7420', reconcile: '30s' },
  providers: { local: { plugin: 'baremetal', config: { transport: 'local', token: 'config-canary' } } },
  pools: { ci: { placement: ['local'], worker: { env: { TOKEN: 'env-canary' } }, scale: { max: 8 } } },
}

function diff(change: (file: typeof base) => object): ReturnType<typeof diffConfig> {
  return diffConfig(written(base), written(change(structuredClone(base))))
}

describe('the difference of two configurations', () => {
  test('is empty for the same, in whatever order it is written', () => {
    expect(diff(({ host, ...rest }) => ({ ...rest, host }))).toEqual([])
  })

  test('names the key as written, both values, and what happens', () => {
    expect(diff((file) => ({ ...file, pools: { ci: { ...file.pools.ci, scale: { max: 20 } } } }))).toEqual([
      { path: 'pools.ci.scale.max', kind: 'changed', before: '8', after: '20', effect: 'at once' },
    ])
  })

  test('does not say at once where it takes its time', () => {
    const changes = diff((file) => ({
      ...file,
      pools: { ci: { ...file.pools.ci, queue: '2m', keepFailed: '5m', uses: 2 } },
      retention: { runs: '7d' },
    }))
    expect(changes.map(({ path, effect }) => `${path}: ${effect}`)).toEqual([
      'pools.ci.queue: for what is asked for from now on',
      'pools.ci.keepFailed: for what is asked for from now on',
      'pools.ci.uses: at once',
      'retention.runs: within an hour, when old records are looked through',
    ])
  })

  test('shows pools and providers that come and go as one', () => {
    const changes = diff((file) => ({
      ...file,
      providers: { other: file.providers.local },
      pools: { big: file.pools.ci },
    }))
    expect(changes.map(({ path, kind, effect }) => `${kind} ${path}: ${effect}`)).toEqual([
      'removed providers.local: no new workers; it ends once its last worker is gone',
      'added providers.other: a process is started for it',
      'removed pools.ci: leases go on to their end; what waits fails, and idle workers end',
      'added pools.big: a new pool',
    ])
  })

  test('shows no value that may be secret, not even in a section that comes or goes', () => {
    const changes = diff((file) => ({
      ...file,
      providers: {
        local: { ...file.providers.local, config: { transport: 'local', token: 'other-canary' } },
        more: file.providers.local,
      },
      pools: {
        ci: {
          ...file.pools.ci,
          worker: {
            env: { TOKEN: 'third-canary' },
            settings: 'fourth-canary',
            services: [{ name: 'db', image: 'db', env: { PASSWORD: 'fifth-canary' } }],
          },
        },
      },
    }))
    expect(changes.map(({ path }) => path)).toEqual([
      'providers.local.config.token',
      'providers.more',
      'pools.ci.worker.env.TOKEN',
      'pools.ci.worker.settings',
      'pools.ci.worker.services',
    ])
    expect(JSON.stringify(changes)).not.toContain('canary')
  })

  test('shows no value that may be secret of a worker that is new in a pool, or goes away', () => {
    const plain = { ...base, pools: { ci: { placement: ['local'], scale: { max: 8 } } } }
    const secret = { image: 'node:26', env: { TOKEN: 'env-canary' }, settings: { key: 'settings-canary' } }
    const pools = { ci: { ...plain.pools.ci, worker: secret } }
    const both = [
      diffConfig(written(plain), written({ ...plain, pools })),
      diffConfig(written({ ...plain, pools }), written(plain)),
    ]
    expect(both.map((changes) => changes.map(({ path, kind }) => `${kind} ${path}`))).toEqual(
      ['added', 'removed'].map((kind) => ['image', 'env.TOKEN', 'settings.key'].map((key) => `${kind} pools.ci.worker.${key}`)),
    )
    expect(JSON.stringify(both)).not.toContain('canary')
  })

  test('shows no header of a collector, and no password of an address', () => {
    const otlp = { url: 'https://me:url-canary@collector.example', headers: { Authorization: 'Bearer header-canary' } }
    const changes = diff((file) => ({
      ...file,
      host: { ...file.host, telemetry: { otlp } },
      providers: { local: { ...file.providers.local, url: 'http://me:other-canary@host.example/' } },
    }))
    expect(changes.map(({ path }) => path)).toEqual([
      'host.telemetry.otlp.url',
      'host.telemetry.otlp.headers.Authorization',
      'providers.local.url',
    ])
    expect(JSON.stringify(changes)).not.toContain('canary')
    expect(changes[2]?.after).toBe('http://***@host.example/')
  })

  test('says what cannot change while the daemon runs; a key that is new to it too', () => {
    const changes = diff((file) => ({ ...file, host: { ...file.host, listen: '127.0.0.1:1', reconcile: '1m', data: 'x' } }))
    expect(changes.filter((one) => one.restart).map(({ path }) => path)).toEqual(['host.listen', 'host.data'])
  })

  test('sees another version of a plugin, and other files of the same version', () => {
    const plugin = { version: '1.0.0', digest: 'a' }
    const after = { one: { version: '2.0.0', digest: 'b' }, two: { ...plugin, digest: 'c' }, three: plugin }
    expect(diffConfig(written(base, { one: plugin, two: plugin, four: plugin }), written(base, after))).toMatchObject([
      { path: 'plugins.one', kind: 'changed', before: '1.0.0', after: '2.0.0' },
      { path: 'plugins.two', kind: 'changed', before: '1.0.0', after: '1.0.0 (other files)' },
      { path: 'plugins.four', kind: 'removed', before: '1.0.0' },
      { path: 'plugins.three', kind: 'added', after: '1.0.0' },
    ])
  })
})
