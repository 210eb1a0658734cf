/** Requests of an operation as its document describes them, and such as somebody careless or hostile would send. */
import type { Chance } from './chance.ts'
import type { Operation, Parameter } from './document.ts'
import type { Values } from './values.ts'

export interface FuzzRequest {
  method: string
  /** Path and query as they go over the wire. */
  target: string
  headers: Record<string, string>
  body?: Buffer
  /** So many bytes of the body are sent, then the connection is cut. */
  cutAt?: number
  /** As it is: what follows is not even HTTP, perhaps. */
  raw?: string
  /** The operation that must answer; absent: no operation has this method and path, or perhaps one has. */
  operation?: Operation
}

export type Who = 'admin' | 'operator' | 'viewer' | 'wrong' | 'nobody'

export interface RequestSource {
  chance: Chance
  values: Values
  tokens: Readonly<Record<Exclude<Who, 'nobody'>, string>>
  operations: readonly Operation[]
  /** A ticket or a session of an agent, mostly one that is right. */
  proof(kind: string): string
  /** For rules that a schema cannot say. */
  mend(operation: Operation, body: unknown): unknown
}

const whos: readonly Who[] = [
  ...Array<Who>(11).fill('admin'),
  ...Array<Who>(4).fill('operator'),
  ...Array<Who>(2).fill('viewer'),
  'wrong',
  'nobody',
]
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND']
const TYPES = [
  ...['application/json', 'application/json; charset=utf-8', 'application/json; charset=utf-16', 'text/plain', 'application/xml'],
  ...[
    'application/x-tar',
    'application/octet-stream',
    'application/x-www-form-urlencoded',
    'multipart/form-data',
    '',
    '/',
    'a/b;;=',
  ],
]
const ACCEPTS = ['*/*', 'application/json', 'application/x-ndjson', 'text/event-stream', 'image/png', '', 'x', 'text/*;q=0.1']
const BROKEN_JSON = [
  '',
  '{',
  '{"a":',
  '[1,2',
  'nul',
  '{"a":1}}',
  '\0',
  '"\\u12"',
  "{'a':1}",
  '{"__proto__":{"x":1}}',
  '\ufeff{}',
  '{"a":1e9999}',
]
/** Above the API's cap for a body. */
const HUGE = Buffer.alloc(1_200_000, 0x20)

/** One of an operation: as it should be in about half of all cases. */
export function requestOf(operation: Operation, source: RequestSource): FuzzRequest {
  const { chance, values, tokens, operations } = source
  const who = chance.pick(whos)
  const request = wellFormed(operation, source)
  // Who is right for this operation is right in as many cases; the others are as wrong as any.
  const right = operation.bearer !== 'token' && who !== 'nobody' && who !== 'wrong' && who !== 'viewer'
  if (who !== 'nobody') request.headers['authorization'] = `Bearer ${right ? source.proof(operation.bearer) : tokens[who]}`
  if (chance.is(0.5)) return finish(request, operations)
  const bends = [
    bendQuery,
    bendHeaders,
    bendPath,
    bendMethod,
    ...Array<typeof bendBody>(operation.body === undefined ? 1 : 5).fill(bendBody),
  ]
  chance.pick(bends)(request, operation, { chance, values })
  if (chance.is(0.2)) chance.pick(bends)(request, operation, { chance, values })
  if (chance.is(0.04)) bendHead(request, chance)
  return finish(request, operations)
}

interface Draft {
  method: string
  path: Record<string, string>
  query: [string, string][]
  headers: Record<string, string>
  json?: unknown
  body?: Buffer
  cutAt?: number
  raw?: (line: string, head: string) => string
  template: string
  /** Its path may lead anywhere. */
  astray: boolean
  suffix: string
}

type Bend = (draft: Draft, operation: Operation, source: Pick<RequestSource, 'chance' | 'values'>) => void

function wellFormed(operation: Operation, { values, chance, mend }: RequestSource): Draft {
  const drawn = (where: Parameter['in']): [string, unknown][] =>
    operation.parameters
      .filter((one) => one.in === where && (one.required === true || chance.is(0.4) || one.name === 'timeoutMs'))
      .map((one) => [one.name, values.valid(one.schema, `${where}:${operation.id}.${one.name}`)])
  const draft: Draft = {
    method: operation.method,
    template: operation.path,
    path: Object.fromEntries(drawn('path').map(([name, value]) => [name, String(value)])),
    query: drawn('query').flatMap(([name, value]) => [value].flat().map((one): [string, string] => [name, String(one)])),
    headers: Object.fromEntries(drawn('header').map(([name, value]) => [name, String(value)])),
    astray: false,
    suffix: '',
  }
  if (operation.body === undefined) return draft
  draft.headers['content-type'] = operation.body.type
  if (operation.body.type === 'application/json')
    draft.json = mend(operation, values.valid(operation.body.schema, `body:${operation.id}`))
  else draft.body = Buffer.from('x'.repeat(chance.int(2000)))
  return draft
}

const bendQuery: Bend = (draft, operation, { chance, values }) => {
  const names = operation.parameters.filter((one) => one.in === 'query').map((one) => one.name)
  const name = chance.is(0.6) && names.length > 0 ? chance.pick(names) : values.oddText()
  const bends = [
    () => draft.query.push([name, values.oddText()]),
    () => draft.query.push([name, '1'], [name, '2']),
    () =>
      (draft.suffix = chance.pick([
        '?%',
        '?a=%zz',
        '?=',
        '?&&&',
        '?a[b]=1',
        '?a=%00',
        `?${'a=1&'.repeat(2000)}`,
        '#x',
        '?__proto__=1',
      ])),
  ]
  chance.pick(bends)()
}

const bendHeaders: Bend = (draft, operation, { chance, values }) => {
  const names = operation.parameters.filter((one) => one.in === 'header').map((one) => one.name)
  const bends = [
    () => (draft.headers['accept'] = chance.pick(ACCEPTS)),
    () => (draft.headers['last-event-id'] = values.oddText()),
    () =>
      (draft.headers['authorization'] = chance.pick([
        '',
        'Bearer',
        'Basic YTpi',
        'Bearer \u00e9',
        `Bearer ${'x'.repeat(300)}`,
        'bearer x',
      ])),
    () => (draft.headers['origin'] = chance.pick(['null', 'http://evil.example', 'x'])),
    () => (draft.headers['host'] = chance.pick(['evil.example', '', '127.0.0.1:1', '[::1]', 'a b', '127.0.0.1@evil.example'])),
    () => (draft.headers['expect'] = 'the unexpected'),
    () => (draft.headers['content-encoding'] = 'gzip'),
    () => (draft.headers['range'] = 'bytes=0-1'),
    () => (draft.headers['x-long'] = 'x'.repeat(chance.pick([1000, 17_000]))),
    () => (draft.headers[names.length > 0 ? chance.pick(names) : 'idempotency-key'] = values.oddText()),
  ]
  chance.pick(bends)()
}

const bendPath: Bend = (draft, _operation, { chance, values }) => {
  const names = Object.keys(draft.path)
  if (names.length > 0 && chance.is(0.8)) {
    const name = chance.pick(names)
    draft.path[name] = values.oddText()
    // Nothing between two slashes is another path; all else is a strange name.
    draft.astray = draft.path[name] === ''
    return
  }
  draft.astray = true
  draft.suffix = chance.pick(['/', '//', '/x', ';a=b', '%2f', '%', '%00', '/..', '/../../healthz', '\\'])
}

const bendMethod: Bend = (draft, _operation, { chance }) => {
  draft.method = chance.pick(METHODS)
}

const bendBody: Bend = (draft, operation, { chance, values }) => {
  const type = (): unknown => (draft.headers['content-type'] = chance.pick(TYPES))
  const bytes = (body: Buffer): unknown => (draft.body = body)
  const cut = (): unknown => {
    draft.body ??= Buffer.from(JSON.stringify(draft.json ?? {}))
    draft.cutAt = chance.int(draft.body.length + 1)
    return (draft.body = Buffer.concat([draft.body, Buffer.from('   ')]))
  }
  const bends: (() => unknown)[] = [
    () => bytes(Buffer.from(chance.pick(BROKEN_JSON))),
    type,
    () => delete draft.headers['content-type'],
    () => (chance.is(0.4) ? bytes(HUGE) : cut()),
    cut,
    () => bytes(Buffer.from([0xff, 0xfe, 0x00, 0x80])),
  ]
  if (operation.body?.type === 'application/json')
    for (let i = 0; i < 12; i++) bends.push(() => (draft.json = values.bent(draft.json)))
  chance.pick(bends)()
}

/** Heads that no HTTP library would send. */
function bendHead(draft: Draft, chance: Chance): void {
  draft.raw = chance.pick([
    (line, head) => `${line} HTTP/1.1\r\n${head}x: y\r\n : z\r\n\r\n`,
    (line, head) => `${line} HTTP/1.1\r\n${head}x: a\0b\r\n\r\n`,
    (line) => `${line} HTTP/1.1\r\n\r\n`,
    (line, head) => `${line} HTTP/9.9\r\n${head}\r\n`,
    (line, head) => `${line}\r\n${head}\r\n`,
    (line, head) => `${line} HTTP/1.1\r\n${head}content-length: x\r\n\r\n`,
    (line, head) => `${line} HTTP/1.1\r\n${head}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    (line, head) => `${line} HTTP/1.1\r\n${head}transfer-encoding: chunked\r\n\r\nzz\r\n`,
    (line, head) => `${line} HTTP/1.1\r\n${head}upgrade: websocket\r\nconnection: upgrade\r\n\r\n`,
    (line, head) => `${line} HTTP/1.1\r\n${head}host: other\r\n\r\n`,
    (line, head) => `${line} HTTP/1.0\r\n${head}\r\n`,
    () => '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    () => 'CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example\r\n\r\n',
    () => 'GET http://evil.example/ HTTP/1.1\r\nhost: evil.example\r\n\r\n',
  ] as ((line: string, head: string) => string)[])
}

/** What a URL or a header cannot hold is percent-encoded, or left out. */
function finish(draft: Draft, operations: readonly Operation[]): FuzzRequest {
  const method = draft.method === 'HEAD' ? 'GET' : draft.method
  const operation = draft.astray ? undefined : operations.find((one) => one.path === draft.template && one.method === method)
  const filled = draft.template.replaceAll(/\{(\w+)\}/g, (_, name: string) => encoded(draft.path[name] ?? ''))
  const query = draft.query.map(([name, value]) => `${encoded(name)}=${encoded(value)}`).join('&')
  const target = `${filled}${query === '' ? '' : `?${query}`}${draft.suffix}`.replaceAll(/[^\x21-\x7e]/g, '%ef%bf%bd')
  const headers = Object.fromEntries(
    Object.entries(draft.headers).map(([name, value]) => [name, value.replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, '?')]),
  )
  const body = draft.body ?? (draft.json === undefined ? undefined : Buffer.from(JSON.stringify(draft.json) ?? ''))
  const lines = Object.entries({ host: '127.0.0.1', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
  return {
    method: draft.method,
    target,
    headers,
    ...(operation === undefined ? {} : { operation }),
    ...(body === undefined || ['GET', 'HEAD', 'TRACE'].includes(draft.method) ? {} : { body }),
    ...(draft.cutAt === undefined ? {} : { cutAt: draft.cutAt }),
    ...(draft.raw === undefined ? {} : { raw: draft.raw(`${draft.method} ${target}`, lines.join('')) }),
  }
}

function encoded(text: string): string {
  return encodeURIComponent(text.toWellFormed())
}
