/** Terminals at a server that answers as a kubelet does. */
import type { Socket } from 'node:net'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, expect, test } from 'vitest'
import { type WebSocket, WebSocketServer } from 'ws'
import { refuse, startServer } from '../api/server.test.helper.ts'
import { createCluster } from '../client.ts'
import { changes, guarded } from '../errors.ts'
import { newCall } from '../testing/pure.test.helper.ts'
import { createTerminals } from './terminal.ts'

const frame = (channel: number, text: string): Buffer => Buffer.concat([Buffer.of(channel), Buffer.from(text)])
const exited = (code: number): Buffer =>
  frame(
    3,
    JSON.stringify(
      code === 0
        ? { status: 'Success' }
        : { status: 'Failure', reason: 'NonZeroExitCode', details: { causes: [{ reason: 'ExitCode', message: String(code) }] } },
    ),
  )

const command = { id: 'x1', command: ['true'], from: { stdout: 0, stderr: 0 }, tty: { columns: 91, rows: 31 } }
type Command = Parameters<ReturnType<typeof createTerminals>['open']>[1]
const noShell = frame(
  3,
  JSON.stringify({
    status: 'Failure',
    reason: 'InternalError',
    code: 500,
    message: 'exec: "/bin/sh": stat /bin/sh: no such file or directory',
  }),
)

const upgrades = new WebSocketServer({ noServer: true, handleProtocols: () => 'v5.channel.k8s.io' })
afterAll(() => upgrades.close())

/** First the file goes in, then the shell at the terminal has said all and is gone before anybody asks it for anything. */
function kubelet(ws: WebSocket, { tty }: { tty: boolean }): void {
  ws.on('error', () => {})
  if (tty) {
    ws.send(frame(1, '42\r\nterminal\r\n'))
    ws.send(exited(3))
    ws.close(1000)
    return
  }
  // Its last line.
  ws.on('message', (data: Buffer) => {
    if (data[0] !== 0 || !/^muster-end-\w+\n$/m.test(data.subarray(1).toString())) return
    ws.send(exited(0))
    ws.close(1000)
  })
}

test('a command that is over before its terminal was given its size has said what it said', async () => {
  await using server = await startServer([refuse(404)])
  server.onUpgrade((request, socket, head) =>
    upgrades.handleUpgrade(request, socket, head, (ws) => kubelet(ws, { tty: request.url?.includes('tty=true') === true })),
  )
  const terminals = createTerminals(createCluster({ ...server, close: () => {} }, 'team'))
  const session = await terminals.open('w', command as Command, newCall())
  let text = ''
  for await (const { data } of session.output) text += Buffer.from(data).toString()
  expect([text, (await session.exit).code]).toEqual(['terminal\r\n', 3])
})

test('a command begins once its terminal is held: what is typed to begin with is neither its input nor its output', async () => {
  await using server = await startServer([refuse(404)])
  const typed: string[] = []
  server.onUpgrade((request, socket, head) =>
    upgrades.handleUpgrade(request, socket, head, (ws) => {
      if (request.url?.includes('tty=true') !== true) return kubelet(ws, { tty: false })
      ws.on('error', () => {})
      ws.send(frame(1, '42\r\n'))
      ws.on('message', (data: Buffer) => {
        if (data[0] !== 0) return
        typed.push(data.subarray(1).toString())
        if (typed.length > 1) return
        ws.send(frame(1, '\r'))
        ws.send(frame(1, '\nterminal\r\n'))
        ws.send(exited(0))
        ws.close(1000)
      })
    }),
  )
  const terminals = createTerminals(createCluster({ ...server, close: () => {} }, 'team'))
  const session = await terminals.open('w', command as Command, newCall())
  let text = ''
  for await (const { data, offset } of session.output) {
    expect(offset).toBe(text.length)
    text += Buffer.from(data).toString()
  }
  expect([text, (await session.exit).code, typed[0]]).toEqual(['terminal\r\n', 0, '\n'])
})

test('a folder that is not there is told while the shell still waits', async () => {
  await using server = await startServer([refuse(404)])
  let cut = false
  server.onUpgrade((request, socket, head) =>
    upgrades.handleUpgrade(request, socket, head, (ws) => {
      ws.on('error', () => {})
      if (request.url?.includes('muster-end') === true) return kubelet(ws, { tty: false })
      // What hangs it up.
      if (request.url?.includes('tty=true') !== true) return ws.send(exited(0), () => ws.close(1000))
      ws.on('close', () => (cut = true))
      ws.send(frame(1, 'muster: no such '))
      ws.send(frame(1, 'folder\r\n'))
    }),
  )
  const terminals = createTerminals(createCluster({ ...server, close: () => {} }, 'team'))
  const opened = terminals.open('w', { ...command, workdir: '/none' } as Command, newCall())
  await expect(opened).rejects.toMatchObject({ code: 'invalid-spec', effect: 'none', path: 'workdir' })
  await waitFor('the shell to be let go', () => cut)
})

test.each([
  { lost: 2, told: { code: 'unsupported', effect: 'none', path: 'image' } },
  { lost: 3, told: { code: 'transient', effect: 'none' } },
])('words that are lost with $lost connections: $told.code', async ({ lost, told }) => {
  await using server = await startServer([refuse(404)])
  let seen = 0
  server.onUpgrade((request, socket, head) =>
    upgrades.handleUpgrade(request, socket, head, (ws) => {
      ws.on('error', () => {})
      if (seen++ < lost) (socket as Socket).resetAndDestroy()
      else ws.send(noShell, () => ws.close(1000))
    }),
  )
  const terminals = createTerminals(createCluster({ ...server, close: () => {} }, 'team'))
  const opened = guarded(newCall(), changes('start the command'), () => terminals.open('w', command as Command, newCall()))
  await expect(opened).rejects.toMatchObject(told)
  expect(seen).toBe(3)
})
