/** Sends what the fuzzer made, over connections that are kept, and reads no more of an answer than is needed to judge it. */
import { Agent, type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import type { FuzzRequest } from './requests.ts'

export interface FuzzAnswer {
  status: number
  type: string | undefined
  retryAfter: string | undefined
  text: string
  /** A stream: cut off by the client after its first piece. */
  stream: boolean
}

export interface Wire extends Disposable {
  /** Undefined: cut off before an answer came, by either side. Throws when the server keeps silent. */
  send(wanted: FuzzRequest): Promise<FuzzAnswer | undefined>
}

const STREAMS = [
  'text/event-stream',
  'application/x-ndjson',
  'application/vnd.muster.log',
  'application/vnd.muster.tcp',
  'application/vnd.muster.terminal',
  'application/x-tar',
]
/**
 * A long poll that was not asked to be short, and standard input of a command that does not read, wait: nobody waits for them
 * here much longer than for other answers.
 */
const PATIENCE_MS = 200
const PATIENCE_ANSWERS = 10
const waiting = new Set(['waitRun', 'waitLease', 'writeStdin'])
/** What is read of a stream before the client goes. */
const STREAM_PIECES = 3
const STREAM_MS = 20
/** Everything else answers at once, also on a machine that is very busy. */
const SILENCE_MS = 60_000

export function openWire(port: number, connections: number): Wire {
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  /** What an answer takes just now. */
  let paceMs = 0
  async function timed(wanted: FuzzRequest): Promise<FuzzAnswer | undefined> {
    if (waiting.has(wanted.operation?.id ?? 'waitRun'))
      return sendHttp({ agent, port }, wanted, { patient: true, ms: PATIENCE_MS + PATIENCE_ANSWERS * paceMs })
    const begun = performance.now()
    const answer = await sendHttp({ agent, port }, wanted, { patient: false, ms: SILENCE_MS })
    paceMs += (performance.now() - begun - paceMs) / 10
    return answer
  }
  return {
    send: (wanted) => (wanted.raw === undefined ? timed(wanted) : sendRaw(port, wanted.raw)),
    [Symbol.dispose]: () => agent.destroy(),
  }
}

function sendHttp(
  to: { agent: Agent; port: number },
  wanted: FuzzRequest,
  { patient, ms }: { patient: boolean; ms: number },
): Promise<FuzzAnswer | undefined> {
  const { method, target, body, cutAt } = wanted
  const headers = { ...wanted.headers, ...(body === undefined ? {} : { 'content-length': String(body.length) }) }
  return new Promise((resolve, reject) => {
    const asked = request({ ...to, host: '127.0.0.1', method, path: target, headers })
    const timer = setTimeout(() => {
      if (patient) resolve(undefined)
      else reject(new Error(`no answer to ${method} ${target}`))
      asked.destroy()
    }, ms)
    asked.once('response', (answer) => {
      void readAnswer(answer).then((read) => {
        clearTimeout(timer)
        resolve(read)
      })
    })
    // Cut by the server, which does not read on what it has refused; or by this side.
    asked.once('error', () => {
      clearTimeout(timer)
      resolve(undefined)
    })
    if (cutAt === undefined) asked.end(body)
    else asked.write((body ?? Buffer.alloc(0)).subarray(0, Math.max(1, cutAt)), () => asked.destroy())
  })
}

async function readAnswer(answer: IncomingMessage): Promise<FuzzAnswer | undefined> {
  const type = answer.headers['content-type']
  const stream = STREAMS.some((one) => type?.startsWith(one) === true)
  const chunks: Buffer[] = []
  const timer = stream ? setTimeout(() => answer.destroy(), STREAM_MS) : undefined
  try {
    for await (const chunk of answer) {
      chunks.push(chunk as Buffer)
      if (stream && chunks.length === STREAM_PIECES) break
    }
  } catch {
    // Cut off, and a stream most likely by this side.
    if (!stream) return undefined
  } finally {
    clearTimeout(timer)
  }
  const text = Buffer.concat(chunks).toString()
  return { status: answer.statusCode ?? 0, type, retryAfter: answer.headers['retry-after'], text, stream }
}

/** What came of a body in chunks, whole or not (RFC 9112, 7.1). */
function unchunked(body: string): string {
  let text = ''
  for (let rest = body; ;) {
    const [line = '', ...after] = rest.split('\r\n')
    const size = Number.parseInt(line, 16)
    if (!(size > 0) || after.length === 0) return text
    const inner = after.join('\r\n')
    text += inner.slice(0, size)
    rest = inner.slice(size + 2)
  }
}

function sendRaw(port: number, text: string): Promise<FuzzAnswer | undefined> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    let read = ''
    const done = (): void => {
      clearTimeout(timer)
      socket.destroy()
      const [head = '', ...rest] = read.split('\r\n\r\n')
      const status = /^HTTP\/1\.1 (\d{3})/.exec(head)?.[1]
      const header = (name: string): string | undefined => new RegExp(`^${name}: (.*)$`, 'im').exec(head)?.[1]?.trim()
      const type = header('content-type')
      // One connection may have carried several requests: the first answer is judged.
      const body = Buffer.from(rest.join('\r\n\r\n'))
        .subarray(0, Number(header('content-length') ?? Infinity))
        .toString()
      const stream = header('transfer-encoding') !== undefined
      const text = stream ? unchunked(body) : body
      resolve(
        status === undefined ? undefined : { status: Number(status), type, retryAfter: header('retry-after'), text, stream },
      )
    }
    const timer = setTimeout(done, PATIENCE_MS)
    socket.on('data', (chunk) => {
      read += chunk.toString()
      if (read.includes('\r\n\r\n')) setImmediate(done)
    })
    socket.once('error', done)
    socket.once('close', done)
    socket.write(text, 'latin1')
  })
}
