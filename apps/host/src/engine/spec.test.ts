import { launchSpecSchema } from '@muster/core'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { buildSpec, canonical, demandOf, draftSpec, mergeTemplate, modeOf, openRequest, openSpec } from './spec.ts'
import { leaseRequest, poolConfig } from './testing/harness.ts'
import { fullCapabilities } from './testing/capabilities.ts'

const digest = (text: string): string => text
const parts = {
  id: `w${'0'.repeat(26)}`,
  owner: 'o-1',
  provider: 'one',
  epoch: 7,
  lifetimeMs: 1000,
  capabilities: fullCapabilities,
}

test('how a worker works: the request, else the pool, else what is given to run', () => {
  const command = { argv: ['true'] }
  expect(modeOf(poolConfig())).toBe('hold')
  expect(modeOf(poolConfig(), { requirements: {}, command })).toBe('command')
  expect(modeOf(poolConfig({ work: 'hold' }), { requirements: {}, command })).toBe('hold')
  expect(modeOf(poolConfig({ work: 'hold' }), { requirements: { mode: 'command' }, command })).toBe('command')
})

test('a request overrides the template field by field', () => {
  const base = { image: 'a', env: { A: '1', B: '1' }, resources: { cpu: 1, memoryBytes: 5 }, labels: { x: '1' } }
  expect(mergeTemplate(base, { env: { B: '2' }, resources: { cpu: 2 }, os: 'linux', mode: 'hold' })).toEqual({
    image: 'a',
    env: { A: '1', B: '2' },
    resources: { cpu: 2, memoryBytes: 5 },
    labels: { x: '1' },
    os: 'linux',
  })
  expect(mergeTemplate(base, { profile: 'm' })).not.toHaveProperty('image')
  expect(mergeTemplate({ profile: 'm' }, { image: 'b' })).toEqual({ image: 'b' })
})

test('a spec is whole, valid, and carries its tags; a lifetime only where it is honoured', () => {
  const pool = poolConfig({ worker: { image: 'a', files: [{ path: 'p', base64: 'AA==' }] } })
  const request = leaseRequest({
    command: { argv: ['sh', '-c', 'x'], files: [{ path: 'q', base64: 'AA==' }], workdir: '/w' },
    requirements: { env: { K: 'v' } },
  })
  const spec = buildSpec(pool, demandOf(pool, request, digest), parts)
  expect(launchSpecSchema.parse(spec)).toEqual(spec)
  expect(spec).toMatchObject({
    work: { mode: 'command', command: ['sh', '-c', 'x'] },
    files: [{ path: 'p' }, { path: 'q' }],
    workdir: '/w',
    tags: { 'muster-pool': 'ci', 'muster-epoch': '7', 'muster-worker': parts.id },
  })
  expect(spec).not.toHaveProperty('lifetimeMs')
  const honoured = { ...fullCapabilities, fields: ['lifetimeMs' as const] }
  expect(buildSpec(pool, demandOf(pool, request, digest), { ...parts, capabilities: honoured }).lifetimeMs).toBe(1000)
})

test('shape tells workers apart that cannot stand in for each other; size only what capacity they need', () => {
  const pool = poolConfig()
  const of = (requirements: Parameters<typeof leaseRequest>[0]) => demandOf(pool, leaseRequest(requirements), digest)
  expect(of({}).shape).toBe(demandOf(pool, undefined, digest).shape)
  expect(of({ requirements: { env: { A: '1' } } }).shape).not.toBe(of({}).shape)
  expect(of({ requirements: { env: { A: '1' } } }).size).toBe(of({}).size)
  expect(of({ requirements: { resources: { cpu: 2 } } }).size).not.toBe(of({}).size)
  expect(of({ command: { argv: ['a'] } }).shape).toBe(of({ command: { argv: ['b'] } }).shape)
})

test('what is shown and stored in the open holds no value of env and no file', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 8, maxLength: 40, unit: fc.constantFrom('s', 'e', 'c', 'r', '3', 't') }), (secret) => {
      const base64 = Buffer.from(secret).toString('base64')
      const pool = poolConfig({
        worker: {
          env: { A: secret },
          files: [{ path: 'p', base64 }],
          services: [{ name: 'db', image: 'x', env: { P: secret } }],
        },
      })
      const request = leaseRequest({
        requirements: { env: { B: secret } },
        command: { argv: ['x'], files: [{ path: 'q', base64 }] },
      })
      for (const open of [openSpec(draftSpec(demandOf(pool, request, digest))), openRequest(request)]) {
        const text = JSON.stringify(open)
        expect(text).not.toContain(secret)
        expect(text).not.toContain(base64)
      }
    }),
  )
  const agent = {
    ...draftSpec(demandOf(poolConfig(), undefined, digest)),
    work: { mode: 'agent' as const, ticket: { $secret: 'tick' }, url: 'http://127.0.0.1:9' },
  }
  expect(JSON.stringify(openSpec(agent))).not.toContain('tick')
})

test('canonical text does not depend on the order of keys', () => {
  expect(canonical({ b: 1, a: { d: [2, { y: 1, x: 2 }], c: 3 } })).toBe('{"a":{"c":3,"d":[2,{"x":2,"y":1}]},"b":1}')
})
