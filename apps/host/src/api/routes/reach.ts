/** Into a worker that lives, beside its runs: files in and out, a connection to one of its ports, a terminal. */
import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import { reachOf, type Terminal } from '../../engine/reach.ts'
import { principalOf } from '../access.ts'
import type { App, AppDeps } from '../deps.ts'
import { bytes, byId, content, needs, rawBody } from '../describe.ts'
import { bodyOf } from '../incoming.ts'
import { toProblem } from '../errors.ts'
import { ApiProblem, type ProblemBody, problemBody } from '../problems.ts'
import { readTerminal, shownFrames, TERMINAL_TYPE } from '../terminal-frames.ts'
import { FRAMED_TYPE, readsFrames, TAR_TYPE, tarFrames } from '../tar-frames.ts'

/** Bytes both ways at once: the answer begins before the body has ended. */
const TCP_TYPE = 'application/vnd.muster.tcp'

const atPath = z.strictObject({
  path: z
    .string()
    .min(1)
    .max(4096)
    .regex(/^[^\0]*$/, 'holds a NUL character')
    .describe('In the worker; a relative one is below its workspace.'),
})

export function reachRoutes(app: App, { engine, streams, access, copies }: AppDeps): void {
  const reach = reachOf(engine, copies)
  for (const type of [TCP_TYPE, TERMINAL_TYPE]) app.addContentTypeParser(type, (_request, body, done) => done(null, body))

  app.put(
    '/v1/workers/:id/files',
    {
      ...needs('operator', 'not-found', 'not-ready', 'unsupported', 'conflict', 'provider-failed'),
      schema: {
        operationId: 'putFiles',
        summary: 'Unpacks a tar in a worker that lives',
        description:
          'The daemon takes in all of it first, at most 16 GiB: what is cut off before that changes nothing. After that it goes on whether or not anybody waits for its end.',
        consumes: ['application/x-tar'],
        body: rawBody,
        params: byId,
        querystring: atPath,
        response: { 204: z.null().describe('All of it is there.') },
      },
    },
    async (request, reply) => {
      if (request.headers['content-type'] !== 'application/x-tar')
        throw new ApiProblem('unsupported-media', 'files travel as a tar', { hint: 'Send it as application/x-tar.' })
      const signal = streams.signalOf(reply)
      await reach.copyIn(request.params.id, {
        path: request.query.path,
        tar: bodyOf(request.body as IncomingMessage, signal),
        principal: principalOf(request),
        signal,
      })
      return reply.code(204).send(null)
    },
  )

  app.get(
    '/v1/workers/:id/files',
    {
      ...needs('operator', 'not-found', 'not-ready', 'unsupported', 'conflict', 'provider-failed'),
      schema: {
        operationId: 'getFiles',
        summary: 'A path of a worker that lives, as a tar',
        description:
          'One entry tree, named by the last part of the path. What cannot be read to its end cuts the tar off; accepted as `application/vnd.muster.tar`, frames of a u32 BE length and so many bytes, it ends with a length of 0 and then JSON, `{ problem? }`, which says why it does not hold everything.',
        params: byId,
        querystring: atPath,
        response: { 200: content('The tar.', { [TAR_TYPE]: bytes, [FRAMED_TYPE]: bytes }) },
      },
    },
    async (request, reply) => {
      // Before the plugin is asked: what has begun there has to be read, or it is open until its deadline.
      const place = streams.take(reply)
      const signal = streams.signalOf(reply)
      let tar: AsyncIterable<Uint8Array>
      try {
        tar = await reach.copyOut(request.params.id, { path: request.query.path, principal: principalOf(request), signal })
      } catch (error) {
        place()
        throw error
      }
      if (!readsFrames(request.headers.accept)) return streams.send(reply, { type: TAR_TYPE, source: () => tar, place })
      const tell = (error: unknown): ProblemBody | undefined => {
        request.log.warn({ err: error, path: request.query.path }, 'files of a worker could not be read to their end')
        // Nobody is there to be told, or the daemon stops: another try begins anew.
        return signal.aborted ? undefined : problemBody(toProblem(error))
      }
      return streams.send(reply, { type: FRAMED_TYPE, source: () => tarFrames(tar, tell), place })
    },
  )

  app.post(
    '/v1/workers/:id/forward/:port',
    {
      ...needs('operator', 'not-found', 'not-ready', 'unsupported', 'conflict', 'provider-failed'),
      schema: {
        operationId: 'forwardPort',
        summary: 'A connection to a port inside a worker that lives',
        description:
          'The body goes to the port, and the answer comes from there, both at once: it begins before the body ends. Cut off, it cannot be resumed, as any connection.',
        consumes: [TCP_TYPE],
        body: rawBody,
        params: z.object({ id: z.string(), port: z.coerce.number().int().min(1).max(65_535) }),
        response: { 200: content('What comes from the port.', { [TCP_TYPE]: bytes }) },
      },
    },
    async (request, reply) => {
      if (request.headers['content-type'] !== TCP_TYPE)
        throw new ApiProblem('unsupported-media', 'a connection is bytes both ways', { hint: `Send ${TCP_TYPE}.` })
      const signal = streams.signalOf(reply)
      const output = await reach.forward(request.params.id, {
        port: request.params.port,
        input: bodyOf(request.body as IncomingMessage, signal),
        principal: principalOf(request),
        signal,
      })
      // When the port has ended, so has the connection, whatever still comes from the client.
      return streams.send(reply, { type: TCP_TYPE, headers: { connection: 'close' }, source: () => output })
    },
  )

  app.post(
    '/v1/workers/:id/terminal',
    {
      ...needs('operator', 'not-found', 'not-ready', 'unsupported', 'conflict', 'provider-failed'),
      schema: {
        operationId: 'openTerminal',
        summary: 'A command at a terminal, in a worker that lives',
        description:
          'Both ways at once, in frames of u8 kind, u32 BE length and so many bytes. To it: first 0 with JSON `{ command, columns, rows, stdin?, env?, workdir?, user? }`, then 1 with what is typed, 2 with JSON `{ columns, rows }` for another size, 3 at the end of the input (at most 64 KiB each, the first one 256 KiB). From it: 1 with what is shown, now and then 0 without a meaning, and at the end 2 with JSON `{ exit }` or `{ problem }`. The command ends with the connection, and after 12 hours; it is no run and has no log.',
        consumes: [TERMINAL_TYPE],
        body: rawBody,
        params: byId,
        response: { 200: content('What the terminal shows, and how the command ended.', { [TERMINAL_TYPE]: bytes }) },
      },
    },
    async (request, reply) => {
      if (request.headers['content-type'] !== TERMINAL_TYPE)
        throw new ApiProblem('unsupported-media', 'a terminal is frames both ways', { hint: `Send ${TERMINAL_TYPE}.` })
      const place = streams.take(reply)
      const signal = streams.signalOf(reply)
      const person = readTerminal(bodyOf(request.body as IncomingMessage, signal))
      let terminal: Terminal
      try {
        const { stdin = false, columns, rows, ...command } = await person.begin(access.limits.bodyMs)
        terminal = await reach.terminal(request.params.id, {
          command: { ...command, tty: { columns, rows } },
          ...(stdin ? { input: person.typed() } : {}),
          principal: principalOf(request),
          signal,
        })
        if (!stdin) void person.ignore()
      } catch (error) {
        place()
        throw error
      }
      person.onResize((size) => terminal.resize(size))
      const tell = (error: unknown): ProblemBody | undefined => (signal.aborted ? undefined : problemBody(toProblem(error)))
      const source = (): AsyncIterable<Uint8Array> => shownFrames(terminal, tell)
      return streams.send(reply, { type: TERMINAL_TYPE, headers: { connection: 'close' }, source, place })
    },
  )
}
