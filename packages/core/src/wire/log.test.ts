import { describe, expect, it } from 'vitest'
import { createLog } from './log.ts'
import { createRedactor, type Redactor } from './redact.ts'

function lines(): { lines: string[]; redactor: Redactor; write(line: string): void } {
  const kept: string[] = []
  return { lines: kept, redactor: createRedactor(), write: (line) => kept.push(line) }
}

describe('log of a plugin process', () => {
  it('is one JSON object a line', () => {
    const target = lines()
    const log = createLog(target, { provider: 'docker' })
    log.info('started\nnow', { count: 1n, error: new TypeError('bad', { cause: 'x' }) })
    log.debug('plain')
    log.error('worse')
    expect(target.lines.map((line) => (JSON.parse(line) as { level: string }).level)).toEqual(['info', 'debug', 'error'])
    expect(target.lines.every((line) => line.endsWith('\n') && line.indexOf('\n') === line.length - 1)).toBe(true)
    expect(JSON.parse(target.lines[0] ?? '')).toMatchObject({
      message: 'started\nnow',
      provider: 'docker',
      data: { count: '1', error: { name: 'TypeError', message: 'bad' } },
    })
  })

  it('never holds a known secret, however it is spelt', () => {
    const target = lines()
    const secret = 'p"ä\nss?~w/rd+1'
    target.redactor.add(secret)
    const log = createLog(target, {})
    log.warn(`it is ${secret}`, {
      basic: Buffer.from(secret).toString('base64'),
      token: Buffer.from(secret).toString('base64url'),
      url: `https://host/?p=${encodeURIComponent(secret)}`,
      error: new Error(`refused ${secret}`),
      wrapped: { $secret: 'unknown to the redactor' },
    })
    const text = target.lines.join('')
    for (const form of [
      secret,
      JSON.stringify(secret).slice(1, -1),
      Buffer.from(secret).toString('base64').replace(/=+$/, ''),
      Buffer.from(secret).toString('base64url'),
      encodeURIComponent(secret),
    ])
      expect(text).not.toContain(form)
    expect(text).not.toContain('unknown to the redactor')
    expect(text.match(/\[secret\]/g)?.length).toBeGreaterThanOrEqual(6)
  })

  it('writes a line for data that cannot be written, and a short one for data that is too long', () => {
    const target = lines()
    const log = createLog(target, {})
    const cycle: Record<string, unknown> = {}
    cycle['self'] = cycle
    log.info('cycle', cycle)
    log.info('long', { text: 'x'.repeat(100_000) })
    const [first, second] = target.lines.map((line) => JSON.parse(line) as Record<string, unknown>)
    expect(first?.['unwritable']).toMatch(/circular/)
    expect(second).toMatchObject({ message: 'long', cut: true })
    target.redactor.add('canary-at-the-cut')
    log.info(`${'x'.repeat(4090)}canary-at-the-cut${'y'.repeat(20_000)}`)
    expect(target.lines[2]).not.toContain('canary')
    expect(JSON.parse(target.lines[2] ?? '')).toMatchObject({ cut: true })
  })
})

describe('redactor', () => {
  it('finds every wrapped secret of a value', () => {
    const redactor = createRedactor()
    redactor.addFrom({
      list: [{ $secret: 'first-one' }],
      deep: { ticket: { $secret: 'second-one' } },
      bytes: Buffer.from('x'),
      nothing: null,
    })
    expect(redactor.clean('first-one second-one third-one')).toBe('[secret] [secret] third-one')
  })

  it('leaves short values alone and forgets the oldest', () => {
    const redactor = createRedactor()
    redactor.add('abc')
    for (let one = 0; one < 600; one++) redactor.add(`secret-number-${one}-`)
    expect(redactor.clean('abc secret-number-0- secret-number-599-')).toBe('abc secret-number-0- [secret]')
  })
})

it('secrets are found in values of any length', () => {
  const redactor = createRedactor()
  redactor.addFrom({ command: Array.from({ length: 200_000 }, () => 'x'), env: { A: { $secret: 'a secret value' } } })
  expect(redactor.clean('it is a secret value')).toBe('it is [secret]')
})
