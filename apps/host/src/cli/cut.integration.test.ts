/** `muster apply` whose daemon ends in the middle. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { expect, test } from 'vitest'
import { waitFor } from '@muster/test/systems/wait'
import { startMuster } from './muster.test.helper.ts'

test(
  'says at once that the connection ended, what is known, and the next command; and goes on',
  { timeout: 60_000 },
  async () => {
    let may = false
    const server = createServer((request, response) => {
      request.resume()
      if (!may) return void response.destroy()
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ applied: true, changes: [] }))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const going = startMuster(['apply', '--url', url], { cwd: tmpdir(), env: { MUSTER_TOKEN: 'mst_x' } })
    try {
      await waitFor('the next command to be named', () => going.stderr().includes('muster apply --dry-run\n'))
      expect(going.stderr()).toContain(
        `muster: the connection to ${url} ended before the answer: socket hang up; whether it was applied is not known, and a daemon that starts reads the files as they are\n`,
      )
      may = true
      expect(await going.exited).toMatchObject({ code: 0 })
      expect(going.stderr().match(/ended before the answer/g)).toHaveLength(1)
    } finally {
      going.kill('SIGKILL')
      server.close()
      server.closeAllConnections()
    }
  },
)
