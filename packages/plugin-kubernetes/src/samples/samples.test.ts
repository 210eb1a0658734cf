/** Samples of many workers: who is asked, how often, and who is not any more. */
import type { Duplex } from 'node:stream'
import type { WorkerStats } from '@muster/core'
import { expect, test } from 'vitest'
import { type WebSocket, WebSocketServer } from 'ws'
import { json, seen, startServer, type TestServer } from '../api/server.test.helper.ts'
import type { AskingLimits } from './asking.ts'
import { createCluster } from '../client.ts'
import { annotationsOf, labelsOf } from '../labels.ts'
import type { Pod } from '../objects.ts'
import { newCall, specOf } from '../testing/pure.test.helper.ts'
import { recorded } from '../testing/recorded.test.helper.ts'
import { sampleWorkers } from './samples.ts'

const limits: AskingLimits = { open: 4, tried: 2, firstMs: 1, mostMs: 1, random: () => 0 }

const idOf = (n: number): string => `w${String(n).padStart(26, '0')}`

function podOf(n: number, { node = 'node', restarts = 0, version = '10' } = {}): Pod {
  const of = specOf({ id: idOf(n), tags: { ...specOf().tags, 'muster-worker': idOf(n) } })
  const [container] = recorded.runs.containerStatuses ?? []
  return {
    metadata: { name: idOf(n), uid: `uid-${n}`, resourceVersion: version, labels: labelsOf(of), annotations: annotationsOf(of) },
    spec: { containers: [], nodeName: node },
    status: {
      ...recorded.runs,
      ...(container === undefined ? {} : { containerStatuses: [{ ...container, restartCount: restarts }] }),
    },
  }
}

interface Sampling {
  server: TestServer
  samples: WorkerStats[]
  /** Workers that were asked for a connection, in their order. */
  asked: string[]
  /** Changes the watch tells of. */
  tell(pod: Pod): void
  stop(): Promise<void>
}

/** How a worker answers who wants a connection: with one, or with a socket that is refused. */
type Serve = (worker: string, answer: { accept(serve: (ws: WebSocket) => void): void; refuse(status: number): void }) => void

async function sampling(pods: readonly Pod[], serve: Serve): Promise<Sampling> {
  let watch: ((pod: Pod) => void) | undefined
  const server = await startServer([
    (request, response, url) => {
      if (url.searchParams.get('watch') !== 'true')
        return json({ metadata: { resourceVersion: '10' }, items: pods })(request, response, url)
      response.writeHead(200).flushHeaders()
      watch = (object) => response.write(`${JSON.stringify({ type: 'MODIFIED', object })}\n`)
    },
  ])
  const upgrades = new WebSocketServer({ noServer: true, handleProtocols: () => 'v5.channel.k8s.io' })
  const sockets = new Set<Duplex>()
  const asked: string[] = []
  server.onUpgrade((request, socket, head) => {
    sockets.add(socket.on('error', () => undefined))
    const worker = /pods\/([^/]+)\/exec/.exec(request.url ?? '')?.[1] ?? ''
    asked.push(worker)
    serve(worker, {
      accept: (then) => upgrades.handleUpgrade(request, socket, head, (ws) => then(ws.on('error', () => undefined))),
      refuse: (status) => socket.end(`HTTP/1.1 ${status} No\r\nContent-Length: 0\r\n\r\n`),
    })
  })
  const cluster = createCluster({ ...server, close: () => {} }, 'team')
  const over = new AbortController()
  const samples: WorkerStats[] = []
  const tags = { 'muster-owner': 'owner', 'muster-provider': 'kubernetes' }
  const reading = (async () => {
    const call = { ...newCall(), signal: over.signal }
    for await (const sample of sampleWorkers({ cluster, limits }, { tags, everyMs: 0 }, call)) samples.push(sample)
  })().catch(() => undefined)
  await seen(() => expect(watch).toBeDefined())
  return {
    server,
    samples,
    asked,
    tell: (pod) => watch?.(pod),
    async stop() {
      over.abort()
      await reading
      for (const socket of sockets) socket.destroy()
      await server[Symbol.asyncDispose]()
    },
  }
}

const status = (body: object): Buffer => Buffer.concat([Buffer.of(3), Buffer.from(JSON.stringify(body))])

/** One sample for each line that comes. */
const tells = (ws: WebSocket): void => {
  ws.on('message', (data: Buffer) => {
    if (data[0] === 0) ws.send(Buffer.concat([Buffer.of(1), Buffer.from('nanos 1000000000\nmemory 5\n.\n')]))
  })
}

test('of a node that gives no connection one worker is tried at a time, and never more of all than a number', async () => {
  const many = 12
  const open: (() => void)[] = []
  const here = await sampling(
    Array.from({ length: many }, (_, n) => podOf(n)),
    (_worker, { refuse }) => open.push(() => refuse(500)),
  )
  await seen(() => expect(open).toHaveLength(limits.tried))
  for (const refuse of open.splice(0)) refuse()
  // From here on each next one begins once the one before was refused.
  for (let n = 0; n < many; n++) {
    await seen(() => expect(open).toHaveLength(1))
    open.pop()?.()
  }
  expect(here.asked).toHaveLength(limits.tried + many)
  await here.stop()
})

test('a node that gives connections again gives them to all', async () => {
  let refusals = 3
  const here = await sampling([podOf(1), podOf(2), podOf(3)], (_worker, { accept, refuse }) =>
    refusals-- > 0 ? refuse(500) : accept(tells),
  )
  await seen(() => expect(new Set(here.samples.map(({ id }) => id)).size).toBe(3))
  await here.stop()
})

test('a worker without a shell is not asked again until its container begins anew; the others of its node are', async () => {
  const none = { status: 'Failure', message: 'exec: "/bin/sh": stat /bin/sh: no such file or directory', code: 500 }
  const here = await sampling([podOf(1), podOf(2)], (worker, { accept }) =>
    accept(worker === idOf(1) ? (ws) => ws.send(status(none), () => ws.close(1000)) : tells),
  )
  const asked = (): number => here.asked.filter((worker) => worker === idOf(1)).length
  await seen(() => expect(here.samples.length).toBeGreaterThan(20))
  here.tell(podOf(1, { version: '11' }))
  const before = here.samples.length
  await seen(() => expect(here.samples.length).toBeGreaterThan(before + 20))
  expect(asked()).toBe(1)
  here.tell(podOf(1, { version: '12', restarts: 1 }))
  await seen(() => expect(asked()).toBe(2))
  await here.stop()
})

test('more workers than connections take turns: each is heard', async () => {
  const many = 9
  const here = await sampling(
    Array.from({ length: many }, (_, n) => podOf(n, { node: `node-${n % 3}` })),
    (_worker, { accept }) => accept(tells),
  )
  await seen(() => expect(new Set(here.samples.map(({ id }) => id)).size).toBe(many))
  await here.stop()
})
