/** The loopback of IPv6 from end to end: the daemon on it, the command line over it, ports of a worker there. */
import { readFile } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { findIpv6 } from '@muster/test/systems/ipv6'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { makeSite, patienceMs, type Site } from '../faults/daemon.test.helper.ts'
import { localVendor, type Vendor } from '../faults/vendors.test.helper.ts'
import { muster, type MusterExit, startMuster } from './muster.test.helper.ts'

const timeout = 300_000

suiteWith(await findIpv6(), 'on ::1', () => {
  let vendor: Vendor
  let site: Site
  let env: Record<string, string>
  let url: string
  beforeAll(async () => {
    vendor = await localVendor()
    const files = vendor.files()
    site = await makeSite({ ...files, host: `${files.host ?? ''}\nmetrics: { listen: "[::1]:0" }` })
    await site.start({}, ['--listen', '[::1]:0'])
    await site.ready()
    ;({ url } = JSON.parse(await readFile(join(site.data, 'endpoint.json'), 'utf8')) as { url: string })
    env = { MUSTER_URL: url, MUSTER_TOKEN: (await readFile(join(site.data, 'admin.token'), 'utf8')).trim() }
  }, timeout)
  afterAll(async () => {
    await site.dispose()
    await vendor.dispose?.()
  }, timeout)

  const ask = (...words: string[]): Promise<MusterExit> => muster(words, { cwd: '/', env })

  test('the daemon says its address as a URL, and answers the command line there', { timeout }, async () => {
    expect(url).toMatch(/^http:\/\/\[::1\]:\d+$/)
    expect(JSON.parse((await ask('version', '--json')).stdout.text)).toMatchObject({ daemon: { version: expect.any(String) } })
    expect((await ask('providers')).stdout.text).toMatch(/^p .*ready/m)
    expect(await ask('run', '-q', '--pool', 'hold', '--', 'echo', 'over v6')).toMatchObject({
      code: 0,
      stdout: { text: 'over v6\n' },
    })
    const metrics = /"url":"(http:\/\/\[::1\]:\d+\/metrics)"/.exec(site.output())?.[1] ?? ''
    expect((await fetch(metrics)).status).toBe(200)
  })

  test('a port of a worker that listens there is a port of this machine there', { timeout }, async () => {
    const { id: lease } = await site.client.leases.create({ pool: 'hold', ttlMs: 600_000 })
    const worker = (await site.client.leases.wait(lease)).worker?.id ?? ''
    const server = `require('net').createServer((s) => s.end('from the worker')).listen(0, '::1', function () { require('fs').writeFileSync('port', String(this.address().port)) })`
    const run = await site.client.workers.exec(worker, { command: ['node', '-e', server] })
    const port = await waitFor(
      'the server in the worker',
      async () => (await ask('exec', worker, '--', 'cat', 'port')).stdout.text,
      { timeoutMs: patienceMs },
    )
    const forward = startMuster(['forward', worker, `0:${port}`, '--address', '[::1]'], { cwd: '/', env })
    try {
      await waitFor('the forward to listen', async () => forward.stderr().includes('is port'), { timeoutMs: patienceMs })
      const here = Number(/\[::1\]:(\d+) is port/.exec(forward.stderr())?.[1])
      // It speaks first: nothing is sent to it.
      expect(await text(createConnection({ port: here, host: '::1' }))).toBe('from the worker')
    } finally {
      forward.kill('SIGINT')
      await forward.exited
    }
    await site.client.runs.cancel(run.id, { force: true })
    await site.client.leases.release(lease)
    await waitFor('the worker to be gone', async () => (await site.client.workers.list()).items.length === 0, {
      timeoutMs: patienceMs,
    })
  })

  test.each([
    ['[::]:0', "'::' is not loopback, and there is no TLS"],
    ['0.0.0.0:0', "'0.0.0.0' is not loopback, and there is no TLS"],
    ['[2001:db8::7]:0', "'2001:db8::7' is not loopback, and there is no TLS"],
  ])('a daemon does not start on %s in clear', { timeout }, async (address, said) => {
    const data = join(site.dir, 'other')
    const exit = await muster(['up', '-c', site.config, '--data', data, '--listen', address], { cwd: site.dir })
    expect([exit.code, exit.stderr.text]).toEqual([1, expect.stringContaining(said)])
  })

  test('an address in the wrong form is said with the right one', { timeout }, async () => {
    const exit = await muster(['up', '--listen', '::1:7420'], { cwd: site.dir })
    expect([exit.code, exit.stderr.text]).toEqual([2, expect.stringContaining('as 127.0.0.1:7420 or [::1]:7420')])
  })
})
