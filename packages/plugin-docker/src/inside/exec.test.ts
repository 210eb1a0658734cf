import { type IncomingMessage } from 'node:http'
import { Duplex, Readable } from 'node:stream'
import type { ExecSpec } from '@muster/core'
import { expect, test } from 'vitest'
import type { ContainerInspect, Engine, EngineRequest } from '../client.ts'
import { EngineFailure } from '../errors.ts'
import { createRunners } from './exec.ts'

const id = 'w0123456789abcdefghijklmnop'
const container = { Config: { User: '', Labels: {} }, HostConfig: { CapDrop: null } } as unknown as ContainerInspect
const stat = Buffer.from(JSON.stringify({ name: 'sh', size: 1, mode: 0o755, mtime: '2026-01-01T00:00:00Z' })).toString('base64')

/** A connection that says this on standard output, and ends or breaks. */
function connection(text: string, breaks: boolean): Duplex {
  const data = Buffer.from(text)
  const head = Buffer.alloc(8)
  head[0] = 1
  head.writeUInt32BE(data.length, 4)
  const made = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() })
  made.push(Buffer.concat([head, data]))
  if (breaks) setImmediate(() => made.destroy(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })))
  else made.push(null)
  return made
}

/** How a command as `nosuch` ends at an engine whose connection says this, and which says that of the program afterwards. */
async function asNobody(said: string, { state, breaks = false }: { state?: object; breaks?: boolean }): Promise<unknown> {
  const engine = {
    stream: async () =>
      Object.assign(Readable.from([]), { headers: { 'x-docker-container-path-stat': stat } }) as unknown as IncomingMessage,
    json: async ({ method }: EngineRequest) => {
      if (method === 'POST') return { Id: 'e' }
      if (state === undefined) throw new EngineFailure('connect ECONNREFUSED', { code: 'ECONNREFUSED', sent: false })
      return state
    },
    hijack: async () => connection(said, breaks),
  } as unknown as Engine
  const { signal } = new AbortController()
  const runner = await createRunners().of(container, { engine, id, signal }, 'nosuch')
  const spec: ExecSpec = {
    id: 'x0123456789abcdefghijklmnop',
    command: ['id'],
    user: 'nosuch',
    stdin: false,
    from: { stdout: 0, stderr: 0 },
  }
  return runner.exec(spec, signal).then(
    () => 'started',
    ({ code, path, message }: Error & { code: string; path?: string }) => ({ code, path, message }),
  )
}

const nobody = 'unable to find user nosuch: no matching entries in passwd file\r\n'
const refused = { ExitCode: 126, Running: false }
const lost = { code: 'transient', path: undefined }

test('a user that the image does not have is told as one', async () => {
  expect(await asNobody(nobody, { state: refused })).toEqual({
    code: 'invalid-spec',
    path: 'user',
    message: 'the worker has no user nosuch: unable to find user nosuch: no matching entries in passwd file',
  })
})

test.each([
  ['the connection broke while the program ran', nobody, { state: { ExitCode: null, Running: true }, breaks: true }],
  ['the program ended by itself', nobody, { state: { ExitCode: 0, Running: false } }],
  ['the engine does not answer any more', nobody, { breaks: true }],
  ['another program says it', `welcome; ${nobody}`, { state: refused }],
  ['it is about another user', nobody.replace('nosuch', 'other'), { state: refused }],
])('the same words are no sign of it where %s', async (_case, said, how) => {
  expect(await asNobody(said, how)).toMatchObject(lost)
})
