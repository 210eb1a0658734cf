/** Output that has no room: every command says so and fails, however soon behind it ends. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type TempFolder, tempFolder } from '@muster/test/systems/temp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const bin = join(import.meta.dirname, '../../bin/muster.mjs')
const compose = 'services:\n  db:\n    image: postgres:17\n'
const answers: Readonly<Record<string, object>> = {
  '/v1/tokens': { token: 'mst_x', details: { id: 't1', name: 'x', role: 'viewer', createdAt: '2026-01-01T00:00:00Z' } },
}
const server = createServer(({ url = '' }, response) => {
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify(answers[url] ?? { items: [] }))
})
let temp: TempFolder

beforeAll(async () => {
  temp = await tempFolder('output')
  await writeFile(join(temp.path, 'compose.yaml'), compose)
  await once(server.listen(0, '127.0.0.1'), 'listening')
})
afterAll(async () => {
  server.close()
  server.closeAllConnections()
  await temp.remove()
})

/** Its exit code and stderr; `into` is where the shell leads its output. */
async function muster(words: string, into: string): Promise<{ code: number; stderr: string }> {
  const { port } = server.address() as AddressInfo
  const env = {
    ...{ ...process.env, MUSTER_SOURCE: '1', NODE_V8_COVERAGE: undefined },
    ...{ MUSTER_URL: `http://127.0.0.1:${port}`, MUSTER_TOKEN: 'mst_x' },
  }
  const script = `"${process.execPath}" "${bin}" ${words} ${into}`
  try {
    const { stderr } = await promisify(execFile)('/bin/bash', ['-c', script], { cwd: temp.path, env })
    return { code: 0, stderr }
  } catch (error) {
    const { code, stderr } = error as { code: number; stderr: string }
    return { code, stderr }
  }
}

describe.each([
  'tokens create --name x --role viewer --json',
  'storage --json',
  'runs --json',
  'workers --json',
  'pools --json',
  'leases --json',
  'compose compose.yaml',
  'completion bash',
  '__complete ru',
  '--help',
])('muster %s', (words) => {
  test('on a full disk fails and says so', async () => {
    const { code, stderr } = await muster(words, '>/dev/full')
    expect(stderr).toMatch(/^muster: the output cannot be written: .*ENOSPC.*\n$/)
    expect(code).toBe(1)
  })
})

test('a reader that has gone ends it quietly', async () => {
  expect(await muster('compose compose.yaml', '| true; exit ${PIPESTATUS[0]}')).toEqual({ code: 141, stderr: '' })
})

test.each(['/nope', '.'])('muster compose %s, which is no file that can be read, says so', async (file) => {
  const { code, stderr } = await muster(`compose ${file}`, '')
  const [reason, hint, ...rest] = stderr.trimEnd().split('\n')
  expect(reason).toMatch(/^muster: (?:\/nope is not there|\. cannot be read: EISDIR.*)$/)
  expect([hint, rest]).toEqual(['muster: Name a Compose file that this user may read.', []])
  expect(code).toBe(1)
})
