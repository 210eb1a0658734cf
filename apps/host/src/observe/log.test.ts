import { expect, test } from 'vitest'
import { createLog, type LogOptions, masked } from './log.ts'

function logOf(options: Partial<LogOptions> = {}): { lines: string[]; log: ReturnType<typeof createLog> } {
  const lines: string[] = []
  return { lines, log: createLog({ level: 'info', format: 'json', write: (line) => void lines.push(line), ...options }) }
}

test('JSON lines have level, time, message and data; lower levels are left out', () => {
  const { lines, log } = logOf()
  log.debug('no')
  log.warn({ provider: 'local', restarts: 2 }, 'restarted')
  expect(lines).toHaveLength(1)
  expect(JSON.parse(lines[0] ?? '')).toEqual({
    level: 'warn',
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    provider: 'local',
    restarts: 2,
    msg: 'restarted',
  })
})

test('a line has its level and time once, whatever data is called so', () => {
  const { lines, log } = logOf()
  log.info({ level: 'L1', time: 'noon' }, 'isolation')
  expect(lines[0]?.match(/"level":|"time":/g)).toHaveLength(2)
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ level: 'info', level_: 'L1', time_: 'noon', msg: 'isolation' })
})

test('values that may be secret are in no line, however deep, also in errors', () => {
  const { lines, log } = logOf()
  const canary = 'canary-value'
  const error = Object.assign(new Error('failed', { cause: { token: canary } }), { code: 'E1', hint: 'mend it', secret: canary })
  log.error(
    {
      err: error,
      request: {
        headers: { Authorization: canary, cookie: canary },
        body: { env: { NAME: canary }, files: [{ base64: canary }] },
      },
      grant: { value: { password: canary }, $secret: canary },
      bytes: Buffer.from(canary),
    },
    'a request failed',
  )
  expect(lines.join()).not.toContain(canary)
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    err: { type: 'Error', message: 'failed', code: 'E1', hint: 'mend it', cause: { token: '[hidden]' } },
    request: { body: { env: ['NAME'], files: '[hidden]' } },
    bytes: '[12 bytes]',
  })
})

test('deep structures are cut, odd values shown', () => {
  let deep: unknown = 'end'
  for (let i = 0; i < 20; i++) deep = { inner: deep }
  expect(JSON.stringify(masked(deep, 0))).toContain('[deep]')
  expect(masked({ n: 1n, list: [null, undefined, true] }, 0)).toEqual({ n: '1', list: [null, undefined, true] })
})

test('as text: one short line, an error with its stack below', () => {
  const { lines, log } = logOf({ format: 'text' })
  log.info({ url: 'http://127.0.0.1:1', note: 'two words' }, 'ready')
  log.error({ err: new Error('broken') }, 'a part failed')
  log.error({ err: new Error('alone') })
  expect(lines[0]).toMatch(/^[\d:]{8} info {2}ready {2}url=http:\/\/127\.0\.0\.1:1 {2}note="two words"\n$/)
  expect(lines[1]).toMatch(/^[\d:]{8} error a part failed\n {2}Error: broken\n {6}at /)
  expect(lines[2]).toMatch(/^[\d:]{8} error alone\n/)
})

const HOSTILE = 'x\u001b[2J\u009b2J\u0085\u202e\u2066\u2028\u200b\u{e0041}\r\n00:37:09 info  all is well'

test('what others wrote steers no terminal and makes no line of its own; as JSON it is read as it was', () => {
  const { lines, log } = logOf()
  log.warn({ name: HOSTILE, err: new Error(HOSTILE) }, HOSTILE)
  expect(lines).toHaveLength(1)
  expect(lines[0]).toMatch(/^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*\n$/u)
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ name: HOSTILE, err: { message: HOSTILE }, msg: HOSTILE })
})

test('as text, too: of an error each line stands further in', () => {
  const { lines, log } = logOf({ format: 'text' })
  log.warn({ name: HOSTILE, [HOSTILE]: 1, err: new Error(HOSTILE) }, HOSTILE)
  log.warn({ name: 'spaces=no\u202e' }, 'x')
  expect(lines.join('')).not.toMatch(/[^\P{Cc}\n]|[\p{Cf}\p{Zl}\p{Zp}]/u)
  expect(lines.join('').match(/^\S/gmu)).toHaveLength(2)
})
