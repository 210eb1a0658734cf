/** Which way of working a run takes, and the lease it asks for. */
import { expect, test } from 'vitest'
import type { Engine } from '../api.ts'
import type { LeaseRequest, PoolConfig, RunRequest } from '../model.ts'
import { fullCapabilities } from '../testing/capabilities.ts'
import { poolConfig } from '../testing/harness.ts'
import { leaseRequestOf } from './lease-request.ts'

type Can = Partial<typeof fullCapabilities>

const plain: RunRequest = { pool: 'ci', command: ['make', 'all'], requirements: {}, stdin: false, inputs: [], outputs: [] }
const input = { name: 'a', path: 'a' }

function engineWith(config: PoolConfig | undefined, can: Record<string, Can> = { one: {} }): Engine {
  return {
    pools: { get: () => (config === undefined ? undefined : { config }) },
    providerOf: ({ provider }: { provider: string }) =>
      can[provider] === undefined ? undefined : { capabilities: { ...fullCapabilities, ...can[provider] } },
  } as unknown as Engine
}

function asked(request: Partial<RunRequest>, engine = engineWith(poolConfig())): LeaseRequest {
  return leaseRequestOf({ engine }, { id: 'r1', pool: 'ci', principal: 'ann', request: { ...plain, ...request } })
}

const modeOf = (request: Partial<RunRequest>, engine?: Engine): unknown => asked(request, engine).requirements.mode

test('a worker of its own is the command, with all that the command needs', () => {
  const files = [{ path: 'f', base64: '' }]
  expect(asked({})).toEqual({
    pool: 'ci',
    principal: 'ann',
    ttlMs: 86_400_000,
    ofRun: 'r1',
    requirements: { mode: 'command' },
    command: { argv: ['make', 'all'] },
  })
  expect(
    asked({
      requirements: { image: 'i', env: { A: '1', B: '1' } },
      env: { B: '2' },
      files,
      workdir: '/w',
      queueTimeoutMs: 7,
      traceparent: 't',
    }),
  ).toMatchObject({
    requirements: { image: 'i', mode: 'command', env: { A: '1', B: '2' } },
    command: { argv: ['make', 'all'], files, workdir: '/w' },
    queueTimeoutMs: 7,
    traceparent: 't',
  })
})

test('a worker that holds gets nothing of the command: that goes by exec', () => {
  expect(asked({ stdin: true, env: { B: '2' }, files: [], workdir: '/w', requirements: { env: { A: '1' } } })).toEqual({
    pool: 'ci',
    principal: 'ann',
    ttlMs: 86_400_000,
    ofRun: 'r1',
    requirements: { mode: 'hold', env: { A: '1' } },
  })
})

test.each<[string, Partial<RunRequest>]>([
  ['standard input', { stdin: true }],
  ['inputs', { inputs: [input] }],
  ['outputs', { outputs: [input] }],
  ['a worker that is kept', { keepFailedMs: 1 }],
])('%s needs a worker that holds, though its pool makes commands', (_what, request) => {
  expect(modeOf(request)).toBe('hold')
  expect(modeOf(request, engineWith(poolConfig({ work: 'command' })))).toBe('hold')
})

test.each<[string, Parameters<typeof poolConfig>[0], unknown]>([
  ['a pool of agents', { work: 'agent' }, 'agent'],
  ['a pool that holds', { work: 'hold' }, 'hold'],
  ['a pool of commands, warm or not', { work: 'command', uses: 2, scale: { warm: 1, min: 1 } }, 'command'],
  ['a pool with warm workers', { scale: { warm: 1 } }, 'hold'],
  ['a pool with a least number', { scale: { min: 1 } }, 'hold'],
  ['a pool that uses workers again', { uses: 2 }, 'hold'],
  ['a cold pool', {}, 'command'],
])('%s decides', (_what, config, mode) => {
  expect(modeOf({ keepFailedMs: 0 }, engineWith(poolConfig(config)))).toBe(mode)
})

test('what is asked for goes before all, and a pool that is gone holds', () => {
  expect(modeOf({ requirements: { mode: 'command' }, stdin: true }, engineWith(poolConfig({ work: 'agent' })))).toBe('command')
  expect(modeOf({}, engineWith(undefined))).toBe('hold')
})

test('every provider of the pool must be able to do it with what the command needs', () => {
  const two = poolConfig({ placement: ['one', 'two'] })
  const needs: Partial<RunRequest> = { env: {}, files: [], workdir: '/w' }
  const mode = (of: Can, request: Partial<RunRequest> = {}): unknown => modeOf(request, engineWith(two, { one: {}, two: of }))
  expect([mode({}), mode({}, needs)]).toEqual(['command', 'command'])
  expect([mode({ work: ['hold'] }), mode({ exitCode: false })]).toEqual(['hold', 'hold'])
  for (const part of ['env', 'files', 'workdir'] as const) {
    const fields = fullCapabilities.fields.filter((one) => one !== part)
    expect([mode({ fields }), mode({ fields }, needs)]).toEqual(['command', 'hold'])
  }
  expect(modeOf({}, engineWith(two, { one: {} }))).toBe('hold')
})
