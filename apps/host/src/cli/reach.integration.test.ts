/** Into a worker that lives, from the command line: files, ports; and decisions as they are made. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { waitFor } from '@muster/test/systems/wait'
import { makeSite, patienceMs, type Site } from '../faults/daemon.test.helper.ts'
import { localVendor } from '../faults/vendors.test.helper.ts'
import { muster, startMuster } from './muster.test.helper.ts'

const timeout = 300_000
const disposals: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
})

async function openSite(): Promise<{ site: Site; worker: string; lease: string }> {
  const vendor = await localVendor()
  if (vendor.dispose !== undefined) disposals.push(vendor.dispose)
  const site = await makeSite(vendor.files(), { counted: true })
  disposals.push(() => site.dispose())
  await site.start()
  await site.ready()
  const { id: lease } = await site.client.leases.create({ pool: 'hold', ttlMs: 600_000 })
  const { worker } = await site.client.leases.wait(lease)
  disposals.push(async () => {
    await site.client.leases.release(lease)
    await waitFor('the worker to be gone', async () => (await site.client.workers.list()).items.length === 0, {
      timeoutMs: patienceMs,
    })
  })
  return { site, worker: worker?.id ?? '', lease }
}

const of = (site: Site, args: string[]): ReturnType<typeof muster> =>
  muster(['-c', site.config, ...args], { cwd: site.dir, counted: true })

test('files and folders go in and come out as they are, and what is wrong is said', { timeout }, async () => {
  const { site, worker } = await openSite()
  const folder = join(site.dir, 'tree')
  await mkdir(join(folder, 'below'), { recursive: true })
  const large = Buffer.alloc(3_000_000, 'muster')
  await writeFile(join(folder, 'large.bin'), large)
  await writeFile(join(folder, 'below/a b.txt'), 'text', { mode: 0o755 })
  expect(await of(site, ['cp', 'tree', `${worker}:in/renamed`])).toMatchObject({ code: 0 })
  expect(await of(site, ['cp', 'tree/below/a b.txt', `${worker}:in/`])).toMatchObject({ code: 0 })
  const listed = await of(site, ['exec', worker, '--', '/bin/sh', '-c', 'cd in && find . -type f | sort && "./a b.txt" || true'])
  expect(listed.stdout.text.split('\n').filter((line) => line.startsWith('./'))).toEqual([
    './a b.txt',
    './renamed/below/a b.txt',
    './renamed/large.bin',
  ])

  // As `cp`: into a folder that is there, whether that is said or not.
  const into = await of(site, ['cp', 'tree/below/a b.txt', `${worker}:in/renamed`])
  expect([into.code, into.stderr.text]).toEqual([0, expect.stringContaining(`copied to ${worker}:in/renamed/a b.txt`) as string])
  const onto = await of(site, ['cp', 'tree', `${worker}:in/renamed/a b.txt`])
  expect([onto.code, onto.stderr.text]).toEqual([1, expect.stringMatching(/^muster: .*a b\.txt/) as string])
  const kept = await of(site, ['exec', worker, '--', '/bin/sh', '-c', 'cd in/renamed && cat "a b.txt" && rm "a b.txt" && ls'])
  expect(kept.stdout.text.split('\n')).toEqual(['textbelow', 'large.bin', ''])

  const back = await of(site, ['cp', `${worker}:in/renamed`, 'out/'])
  expect([back.code, back.stderr.text]).toEqual([0, expect.stringContaining('copied to out/renamed') as string])
  expect(Buffer.compare(await readFile(join(site.dir, 'out/renamed/large.bin')), large)).toBe(0)
  await of(site, ['cp', `${worker}:in/a b.txt`, 'one.txt'])
  expect(await readFile(join(site.dir, 'one.txt'), 'utf8')).toBe('text')

  // Larger than what is looked through before anything is sent.
  const unread =
    'mkdir part && head -c 3000000 /dev/zero >part/large && echo x >part/secret && chmod 0 part/secret && cat part/secret'
  // Whose user reads everything, as root does, has nothing to be told.
  if ((await of(site, ['exec', worker, '--', '/bin/sh', '-c', unread])).code !== 0) {
    const part = await of(site, ['cp', `${worker}:part`, 'part'])
    expect([part.code, part.stderr.text]).toEqual([
      1,
      expect.stringMatching(/secret: .*Permission denied.*'part.incomplete'/s) as string,
    ])
    expect((await readFile(join(site.dir, 'part.incomplete/large'))).length).toBe(3_000_000)
  }

  const absent = await of(site, ['cp', `${worker}:in/none`, 'none'])
  expect([absent.code, absent.stderr.text]).toEqual([1, expect.stringMatching(/^muster: .*none/) as string])
  expect(await readdir(site.dir)).not.toContain('none')
  expect((await of(site, ['cp', 'nothing-here', `${worker}:x`])).stderr.text).toContain("'nothing-here' does not exist")
  expect(await of(site, ['cp', 'tree', 'tree2'])).toMatchObject({ code: 2 })
  const gone = `w${'0'.repeat(26)}`
  expect((await of(site, ['cp', 'tree', `${gone}:x`])).stderr.text).toContain(`no live worker ${gone}`)
  const told = (await site.client.why('worker', worker)).filter((one) => one.rule === 'worker-reached')
  expect(told.map((one) => one.decision)).toContain('copy files out')
  expect(told[0]?.inputs).toMatchObject({ principal: 'local', path: 'in' })
})

test('a port of the worker is a port of this machine: bytes both ways, half-closed, many at once', { timeout }, async () => {
  const { site, worker } = await openSite()
  // Answers with what it got, once the other side has ended; and tells its port by a file.
  const server = `require('net').createServer({ allowHalfOpen: true }, (s) => { let n = 0; s.on('data', (d) => (n += d.length)); s.on('end', () => s.end('got ' + n)) }).listen(0, '127.0.0.1', function () { require('fs').writeFileSync('port', String(this.address().port)) })`
  const run = await site.client.workers.exec(worker, { command: ['node', '-e', server] })
  let port = ''
  await waitFor(
    'the server in the worker',
    async () => {
      port = (await of(site, ['exec', worker, '--', 'cat', 'port'])).stdout.text
      return port !== ''
    },
    { timeoutMs: patienceMs },
  )
  const forward = startMuster(['forward', worker, `0:${port}`, '-c', site.config], { cwd: site.dir, counted: true })
  disposals.push(async () => {
    forward.kill('SIGKILL')
    await forward.exited
  })
  await waitFor('the forward to listen', async () => forward.stderr().includes('is port'), { timeoutMs: patienceMs })
  const here = Number(/127\.0\.0\.1:(\d+) is port/.exec(forward.stderr())?.[1])
  const speak = (bytes: number): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = createConnection({ port: here, host: '127.0.0.1' })
      let text = ''
      socket.on('data', (data) => (text += data.toString()))
      socket.on('error', reject)
      socket.on('close', () => resolve(text))
      socket.end(Buffer.alloc(bytes, 1))
    })
  expect(await speak(5)).toBe('got 5')
  expect(await Promise.all([1_000_000, 0, 70_000].map(speak))).toEqual(['got 1000000', 'got 0', 'got 70000'])
  forward.kill('SIGINT')
  expect(await forward.exited).toMatchObject({ code: 0 })
  await site.client.runs.cancel(run.id, { force: true })
})

test('a forward ends with its worker, and none begins to one that has ended', { timeout }, async () => {
  const { site, worker, lease } = await openSite()
  const forward = startMuster(['forward', worker, '0:80', '-c', site.config], { cwd: site.dir, counted: true })
  disposals.push(async () => {
    forward.kill('SIGKILL')
    await forward.exited
  })
  await waitFor('the forward to listen', async () => forward.stderr().includes('is port'), { timeoutMs: patienceMs })
  await site.client.leases.release(lease)
  const ended = await forward.exited
  expect([ended.code, ended.stderr.text]).toEqual([1, expect.stringContaining(`worker ${worker} has ended: `) as string])
  const late = await of(site, ['forward', worker, '0:80'])
  expect([late.code, late.stderr.text]).toEqual([1, expect.stringContaining(`worker ${worker} has ended: `) as string])
})

test('events tell what happens as it happens; completion knows the names; top looks once into a pipe', { timeout }, async () => {
  const { site, worker, lease } = await openSite()
  const events = startMuster(['events', '--from', '0', '--json', '-c', site.config], { cwd: site.dir, counted: true })
  disposals.push(async () => {
    events.kill('SIGKILL')
    await events.exited
  })
  await site.client.leases.release(lease)
  await waitFor('the end of the worker', async () => events.stdout().includes('"worker-gone"'), { timeoutMs: patienceMs })
  events.kill('SIGINT')
  const { code, stdout } = await events.exited
  const seen = stdout.text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { seq: number; worker?: string })
  expect([code, seen.map((one) => one.seq)]).toEqual([0, seen.map((_, index) => index + (seen[0]?.seq ?? 0))])
  expect(seen.some((one) => one.worker === worker)).toBe(true)

  // A shell's prompt waits for names for a moment only: on a busy machine none come the first time.
  const names = async (): Promise<string> =>
    (await muster(['__complete', '--', 'run', '--pool', 'h'], { cwd: site.dir, counted: true })).stdout.text
  expect(await waitFor('names in time', names, { until: (text) => text !== '' })).toBe('hold\n')
  expect((await muster(['__complete', '--', 'prov'], { cwd: site.dir, counted: true })).stdout.text).toBe('providers\n')
  for (const shell of ['bash', 'zsh', 'fish'])
    expect(await muster(['completion', shell], { cwd: site.dir, counted: true })).toMatchObject({ code: 0 })
  const top = await of(site, ['top'])
  expect(top.stdout.text).toMatch(/^POOL .*\ncold .*\nhold .*\n\nPROVIDER .*\np +ready/m)
})
