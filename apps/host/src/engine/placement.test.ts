import type { WorkerCapabilities } from '@muster/core'
import { describe, expect, test } from 'vitest'
import type { LeaseRequest, PoolConfig, WorkerTemplate } from './model.ts'
import { type Candidate, choose, misfit, type PoolOffer, refuse, unknownPool } from './placement.ts'
import { type Demand, demandOf } from './spec.ts'
import { poolConfig } from './testing/harness.ts'
import { fullCapabilities } from './testing/capabilities.ts'

const digest = (text: string): string => text

function wants(template: WorkerTemplate, mode: Demand['mode'] = 'hold'): Demand {
  return { template, mode, shape: 's', size: 'z', ...(mode === 'command' ? { command: { argv: ['true'] } } : {}) }
}
const can = (given: Partial<WorkerCapabilities> = {}): WorkerCapabilities => ({ ...fullCapabilities, ...given })
function without(part: keyof WorkerCapabilities): WorkerCapabilities {
  const { [part]: _dropped, ...rest } = fullCapabilities
  return rest as WorkerCapabilities
}

describe('what a provider cannot do', () => {
  const big = Buffer.alloc(200 * 1024).toString('base64')
  const cases: [string, Demand, WorkerCapabilities, string | undefined][] = [
    ['fits', wants({ image: 'node:26', env: { A: '1' } }), can(), undefined],
    ['has another way of working', wants({}), can({ work: ['command'] }), 'work'],
    ['holds, but without exec', wants({}), without('exec'), 'work'],
    ['runs an agent', wants({}, 'agent'), can({ work: ['agent'] }), undefined],
    ['runs no agent', wants({}, 'agent'), can(), 'work'],
    ['needs an image', wants({}), can({ image: 'required' }), 'image'],
    ['a profile is as good as an image', wants({ profile: 'm' }), can({ image: 'required', fields: ['profile'] }), undefined],
    ['knows no images', wants({ image: 'x' }), can({ image: 'none' }), 'image'],
    ['lacks a field', wants({ resources: { gpus: 1 } }), can(), 'resources.gpus'],
    ['lacks a kind of mount', wants({ mounts: [{ target: '/x', source: { kind: 'tmpfs' } }] }), can(), 'mounts.tmpfs'],
    ['takes less env', wants({ env: { A: 'x'.repeat(100) } }), can({ envBytes: 100 }), 'env'],
    ['takes just that much env', wants({ env: { A: 'x'.repeat(99) } }), can({ envBytes: 100 }), undefined],
    ['inline files are bounded', wants({ files: [{ path: 'a', base64: big }] }), can(), 'files'],
    ['a lifetime is the host’s matter', wants({}), can({ lifetime: 'host' }), undefined],
  ]
  test.each(cases)('%s', (_name, ...[demand, capabilities, field]) => {
    expect(misfit(demand, capabilities)?.field).toBe(field)
  })

  test('values that may be secret are not shown', () => {
    expect(misfit(wants({ env: { TOKEN: 'secret' } }), can({ fields: [] }))).toEqual({
      field: 'env',
      asked: 'given',
      has: 'not supported',
    })
    expect(misfit(wants({ resources: { gpus: 2 } }), can())).toEqual({
      field: 'resources.gpus',
      asked: '2',
      has: 'not supported',
    })
  })
})

describe('the choice', () => {
  const NOW = 1000
  const one = (given: Partial<Candidate> = {}): Candidate => ({
    name: 'one',
    capabilities: can(),
    state: 'ready',
    backlog: 0,
    backlogLimit: 2,
    ...given,
  })
  const two = one({ name: 'two' })
  const cases: [string, Candidate[], string | undefined, { until?: number; never?: boolean }][] = [
    ['the first in order', [one(), two], 'one', {}],
    ['not one that runs no more', [{ name: 'gone', state: 'stopped', backlog: 0, backlogLimit: 1 }, two], 'two', {}],
    ['not a degraded one', [one({ state: 'degraded' }), two], 'two', {}],
    ['not one without capacity', [one({ exhausted: { until: NOW + 1 } }), two], 'two', {}],
    ['capacity comes back', [one({ exhausted: { until: NOW } })], 'one', {}],
    ['not one that is held', [one({ heldUntil: NOW + 5 }), two], 'two', {}],
    ['not one that is avoided', [one({ avoid: { until: NOW + 5 } }), two], 'two', {}],
    ['not one at its limit', [one({ backlog: 2 }), two], 'two', {}],
    [
      'the earliest time is told',
      [one({ exhausted: { until: NOW + 9 } }), one({ heldUntil: NOW + 4 })],
      undefined,
      { until: NOW + 4, never: false },
    ],
    [
      'never means that all say so',
      [one({ unsupported: { what: 'image' } }), one({ capabilities: can({ work: ['command'] }) })],
      undefined,
      { never: true },
    ],
    [
      'a starting provider may come',
      [one({ unsupported: { what: 'image' } }), one({ state: 'starting' })],
      undefined,
      { never: false },
    ],
    [
      'what is refused for now is waited for',
      [one({ unsupported: { what: 'image', until: NOW + 5, forNow: true } })],
      undefined,
      { never: false, until: NOW + 5 },
    ],
    [
      'what is refused for good is asked for again, but not waited for',
      [one({ unsupported: { what: 'image', until: NOW + 5 } })],
      undefined,
      { never: true, until: NOW + 5 },
    ],
    ['a refusal ends at its time', [one({ unsupported: { what: 'image', until: NOW } })], 'one', {}],
  ]
  test.each(cases)('%s', (_name, ...[candidates, provider, more]) => {
    const choice = choose(wants({}), candidates, NOW)
    expect(choice.provider).toBe(provider)
    expect(choice).toMatchObject(more)
    expect(choice.turned).toHaveLength(
      provider === undefined ? candidates.length : candidates.findIndex((each) => each.name === provider),
    )
  })
})

describe('a refusal', () => {
  const offer = (pool: PoolConfig, request: Partial<LeaseRequest>, capabilities: WorkerCapabilities | undefined): PoolOffer => ({
    pool,
    demand: demandOf(pool, { requirements: {}, ...request }, digest),
    providers: [{ name: 'one', ...(capabilities === undefined ? {} : { capabilities }) }],
  })
  const image = { requirements: { image: 'node:26' } }
  const local = poolConfig({ name: 'local' })
  const ci = poolConfig({ name: 'ci' })

  test('none where a provider can serve it', () => {
    expect(refuse(offer(ci, image, can()), [])).toBeUndefined()
  })
  test('names the field, and the pool that could', () => {
    expect(refuse(offer(local, image, can({ image: 'none' })), [offer(ci, image, can())])).toEqual({
      code: 'cannot-be-served',
      message: 'no worker of pool local can be this: image is node:26, the pool has no images',
      hint: 'Pool ci could serve it.',
      nearest: { pool: 'ci', field: 'image', asked: 'node:26', has: 'no images' },
    })
  })
  test('names its own pool when no other could', () => {
    expect(refuse(offer(local, image, can({ image: 'none' })), [offer(ci, image, can({ image: 'none' }))])).toMatchObject({
      hint: 'Ask without image, or give a pool a provider that has it.',
      nearest: { pool: 'local', field: 'image' },
    })
  })
  const refused: [string, PoolConfig, Partial<LeaseRequest>, WorkerCapabilities | undefined, string][] = [
    ['a pool without room', poolConfig({ scale: { max: 0 } }), {}, can(), 'scale.max'],
    ['a pool that works another way', poolConfig({ work: 'command' }), { requirements: { mode: 'hold' } }, can(), 'work'],
    ['a command that is not given', poolConfig({ work: 'command' }), {}, can(), 'command'],
    ['a provider that does not run', poolConfig(), {}, undefined, 'placement'],
  ]
  test.each(refused)('%s', (_name, ...[pool, request, capabilities, field]) => {
    expect(refuse(offer(pool, request, capabilities), [])?.nearest?.field).toBe(field)
  })
  test('an unknown pool gets the nearest name', () => {
    expect(unknownPool('lokal', ['ci', 'local'])).toMatchObject({
      code: 'unknown-pool',
      nearest: { pool: 'local', asked: 'lokal' },
    })
    expect(unknownPool('x', []).nearest).toBeUndefined()
  })
})
