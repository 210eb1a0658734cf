import { readFileSync } from 'node:fs'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { buildApp } from './app.ts'
import type { AppDeps } from './deps.ts'
import { unobserved } from './observing.ts'
import { openApiOf } from './openapi.ts'
import { problemCodes } from './problems.ts'
import { streams } from './streams.ts'
import { tokenEnds } from './token-ends.ts'

const committed = new URL('../../../../docs/reference/openapi.json', import.meta.url).pathname

test('the committed document is that of the routes (write it anew: `pnpm vitest run apps/host/src/api/openapi.test.ts -u`)', async () => {
  // Routes are described, not called: what they would call is not needed.
  const rooms = { engine: {}, runs: {}, idempotency: {}, access: { host: '127.0.0.1', isLocal: () => false } }
  const app = await buildApp({
    ...rooms,
    streams: streams({ most: 1, kept: 0, isLocal: () => false, ends: tokenEnds(Date.now) }),
    observer: unobserved,
    version: '',
    log: pino({ level: 'silent' }),
  } as unknown as AppDeps)
  const text = `${JSON.stringify(openApiOf(app), null, 2)}\n`
  await app.close()
  await expect(text).toMatchFileSnapshot(committed)
})

test('each operation names what it may answer, and each problem is one that some operation may answer', () => {
  const { paths, components } = JSON.parse(readFileSync(committed, 'utf8')) as {
    paths: Record<string, Record<string, { responses: Record<string, { $ref?: string }> }>>
    components: { responses: Record<string, unknown> }
  }
  const operations = Object.values(paths).flatMap((methods) => Object.values(methods))
  for (const { responses } of operations) {
    const statuses = Object.keys(responses).map(Number)
    expect(statuses.filter((status) => status < 300)).toHaveLength(1)
    expect(statuses).toEqual(expect.arrayContaining([400, 403, 500]))
    expect(responses).not.toHaveProperty('default')
  }
  const used = new Set(operations.flatMap(({ responses }) => Object.values(responses).flatMap((answer) => answer.$ref ?? [])))
  expect(
    Object.keys(components.responses)
      .map((name) => `#/components/responses/${name}`)
      .sort(),
  ).toEqual([...used].sort())
  expect(Object.keys(components.responses).flatMap((name) => name.split('.'))).toEqual(expect.arrayContaining([...problemCodes]))
})
