/** A backup that must wait for another one, as its user sees it. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { startMuster } from './muster.test.helper.ts'

const timeout = 60_000

test('it says that another one is under way for as long as that is so', { timeout }, async () => {
  await using folder = await tempFolder('backup-waits')
  await using server = createServer((request, answer) => {
    if (request.url !== '/v1/backup') return void answer.end(JSON.stringify({ owner: 'o1' }))
    const problem = { type: 'about:blank', title: 'x', status: 429, code: 'rate-limited', detail: 'another backup is under way' }
    answer.writeHead(429, { 'content-type': 'application/problem+json', 'retry-after': '1' }).end(JSON.stringify(problem))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const waiting = startMuster(['backup', 'x.tar', '--url', url], { cwd: folder.path, env: { MUSTER_TOKEN: 'x' } })
  try {
    await waitFor('what it waits for', () => waiting.stderr().includes('waits for the end of another backup'), {
      timeoutMs: timeout,
    })
    expect(waiting.stderr()).toContain('the daemon has put this off: another backup is under way')
    expect(waiting.stderr()).not.toContain('waits for the copy of the store\n')
  } finally {
    waiting.kill('SIGINT')
  }
  expect(await waiting.exited).toMatchObject({ code: 130 })
})
