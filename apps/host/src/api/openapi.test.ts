import { pino } from 'pino'
import { expect, test } from 'vitest'
import { buildApp } from './app.ts'
import type { AppDeps } from './deps.ts'
import { unobserved } from './observing.ts'
import { openApiOf } from './openapi.ts'
import { streams } from './streams.ts'

const committed = new URL('../../../../docs/reference/openapi.json', import.meta.url).pathname

test('the committed document is that of the routes (write it anew: `pnpm vitest run apps/host/src/api/openapi.test.ts -u`)', async () => {
  // Routes are described, not called: what they would call is not needed.
  const rooms = { engine: {}, runs: {}, idempotency: {}, access: { host: '127.0.0.1', isLocal: () => false } }
  const app = await buildApp({
    ...rooms,
    streams: streams(),
    observer: unobserved,
    version: '',
    log: pino({ level: 'silent' }),
  } as unknown as AppDeps)
  const text = `${JSON.stringify(openApiOf(app), null, 2)}\n`
  await app.close()
  await expect(text).toMatchFileSnapshot(committed)
})
