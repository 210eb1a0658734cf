/** What the engine is asked for is part of the host's trace: spans of the plugin's process, and the context that the engine gets. */
import { createServer, type Server } from 'node:http'
import { join } from 'node:path'
import type { SpanBatch } from '@muster/core'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { optionsOf, type PluginProcess, startPlugin } from './testing/process.test.helper.ts'

let folder: TempFolder
let server: Server
let plugin: PluginProcess
const asked: { path: string; traceparent: string }[] = []
/** The look for what pools have left: nobody waits for it, so that it goes on when the call is answered. */
const isTidying = (url = ''): boolean =>
  url.startsWith('/v1.41/networks?') && decodeURIComponent(url).includes('muster-part=pool')
beforeEach(async () => {
  asked.length = 0
  folder = await tempFolder('trace')
  const socket = join(folder.path, 'engine.sock')
  server = createServer((request, reply) => {
    const { traceparent } = request.headers
    asked.push({ path: request.url ?? '', traceparent: String(traceparent) })
    if (isTidying(request.url)) return
    if (request.url === '/version') reply.end(JSON.stringify({ ApiVersion: '1.41', MinAPIVersion: '1.12', Version: '20.10.24' }))
    else if (request.url?.includes('/volumes')) reply.end(JSON.stringify({ Volumes: [] }))
    else if (/\/(?:containers\/json|networks)\?/.test(request.url ?? '')) reply.end('[]')
    else reply.writeHead(404).end(JSON.stringify({ message: 'No such container: canary' }))
  })
  await new Promise<void>((resolve) => server.listen(socket, resolve))
  plugin = await startPlugin({ socket }, { owner: 'o', provider: 'docker' })
})
afterEach(async () => {
  await plugin.kill()
  server.closeAllConnections()
  server.close()
  await folder.remove()
})

test(
  'each request for a call is a span below that of the call, and the engine goes on in it; what goes on after it is none of it',
  { timeout: 60_000 },
  async () => {
    const batches: SpanBatch[] = []
    const target = { id: `w${'1'.repeat(26)}` }
    const how = { graceMs: 0, force: false, reason: 'canary' }
    await plugin.worker.terminate(target, how, { ...optionsOf(), spans: (batch) => batches.push(batch) }).catch(() => undefined)
    const { spans = [], dropped } = batches[0] ?? {}
    const own = spans.at(-1)
    expect([batches.length, dropped, own]).toMatchObject([
      1,
      0,
      { name: 'plugin terminate', parent: '0000000000000001', kind: 'server' },
    ])
    const requests = spans.slice(0, -1)
    expect(requests.length).toBeGreaterThanOrEqual(2)
    for (const one of requests) expect(one).toMatchObject({ trace: own?.trace, parent: own?.span, kind: 'client' })
    expect(requests.map(({ name }) => name)).toContain('engine GET /version')
    expect(requests.find(({ failed }) => failed !== undefined)?.facts).toEqual({ 'http.response.status_code': 404 })
    await waitFor('the look for what pools have left', () => asked.some(({ path }) => isTidying(path)))
    const [tidying, forCall] = [asked.filter(({ path }) => isTidying(path)), asked.filter(({ path }) => !isTidying(path))]
    expect(tidying.map(({ traceparent }) => traceparent)).toEqual(['undefined'])
    expect(forCall.map(({ traceparent }) => traceparent).sort()).toEqual(
      requests.map(({ trace, span }) => `00-${trace}-${span}-01`).sort(),
    )
    expect(JSON.stringify(batches)).not.toMatch(/canary|w1111/)
  },
)
