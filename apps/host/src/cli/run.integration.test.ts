/** `muster run` as a user sees it, alike on local processes and in containers. */
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Run } from '@muster/client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findDocker } from '@muster/test/systems/docker'
import { ensureImage } from '@muster/test/systems/images'
import { suiteWith } from '@muster/test/systems/presence'
import { requireSystem } from '@muster/test/require'
import { waitFor } from '@muster/test/systems/wait'
import { makeSite, patienceMs, type Site } from '../faults/daemon.test.helper.ts'
import { dockerVendor, localVendor, type OpenVendor } from '../faults/vendors.test.helper.ts'
import { muster, type MusterExit, type MusterOptions, type MusterProcess, startMuster } from './muster.test.helper.ts'

const timeout = 300_000

/** Lines of ours: those by which a code is told from the command's own. */
const ours = (exit: MusterExit): string[] => exit.stderr.text.split('\n').filter((line) => line.startsWith('muster: '))
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

function behaves(openVendor: OpenVendor): void {
  let site: Site
  let dispose: (() => Promise<unknown>) | undefined
  beforeAll(async () => {
    const vendor = await openVendor()
    dispose = vendor.dispose
    site = await makeSite(vendor.files())
    await site.start()
    await site.ready()
  }, timeout)
  afterAll(async () => {
    // What a failed test has left is still told, and the daemon does not outlive it.
    try {
      await noneLeft()
    } finally {
      await site.dispose()
      await dispose?.()
    }
  }, timeout)

  const args = (pool: string, command: readonly string[], options: readonly string[] = []): string[] => [
    'run',
    '-c',
    site.config,
    '--pool',
    pool,
    ...options,
    '--',
    ...command,
  ]
  /** Without lines about waiting: how long a start takes is not what these tests are about. */
  const run = (
    pool: string,
    command: readonly string[],
    more: Partial<MusterOptions> & { options?: string[] } = {},
  ): Promise<MusterExit> => muster(args(pool, command, more.options ?? ['-q']), { cwd: site.dir, ...more })
  const start = (command: readonly string[], options: string[] = [], more: Partial<MusterOptions> = {}): MusterProcess =>
    startMuster(args('hold', command, options), { cwd: site.dir, ...more })
  const shell = (script: string): string[] => ['sh', '-c', script]
  const noneLeft = (): Promise<unknown> =>
    waitFor('no worker to be left', async () => (await site.client.workers.list()).items.map((one) => one.id), {
      until: (ids) => ids.length === 0,
      timeoutMs: patienceMs,
    })
  const newest = async (): Promise<string> => (await site.client.runs.list({ ended: 'true', limit: 1 })).items[0]?.id ?? ''

  describe.each(['cold', 'hold'])('on a worker of the kind %s', (pool) => {
    test('exit codes are those of the command, also ours when the command uses them', { timeout }, async () => {
      for (const code of [0, 3, 124, 125, 130, 137]) {
        const exit = await run(pool, shell(`echo out; echo err >&2; exit ${code}`))
        expect(exit).toMatchObject({ code, signal: null, stdout: { text: 'out\n' } })
        expect(exit.stderr.text).toContain('err\n')
        expect(ours(exit)).toEqual([])
      }
    })

    test('a signal that ends the command is 128 and its number', { timeout }, async () => {
      for (const [signal, code] of [
        ['TERM', 143],
        ['KILL', 137],
      ] as const) {
        const exit = await run(pool, shell(`kill -${signal} $$; sleep 100`))
        expect([exit.code, ours(exit)]).toEqual([code, []])
      }
    })

    test('100 MB come through whole', { timeout }, async () => {
      const exit = await run(pool, shell('head -c 100000000 /dev/zero'))
      expect(exit.code).toBe(0)
      expect(exit.stdout).toMatchObject({ bytes: 100_000_000, sha256: sha256(Buffer.alloc(100_000_000)) })
    })

    test('lines of 1 MB come through whole, stdout and stderr apart', { timeout }, async () => {
      const line = "head -c 1000000 /dev/zero | tr '\\0'"
      // A short line at the end: Docker 20.10 drops the newline of the very last line of a log when that is longer than 16 KiB.
      const lines = `for i in 1 2 3; do ${line} o; echo; ${line} e >&2; echo >&2; done; echo end; echo end >&2`
      const exit = await run(pool, shell(lines))
      expect(exit.code).toBe(0)
      expect(exit.stdout.sha256).toBe(sha256(Buffer.from(`${`${'o'.repeat(1_000_000)}\n`.repeat(3)}end\n`)))
      expect(exit.stderr.sha256).toBe(sha256(Buffer.from(`${`${'e'.repeat(1_000_000)}\n`.repeat(3)}end\n`)))
    })

    test('variables are those asked for; values come from here when only named', { timeout }, async () => {
      const exit = await run(pool, shell('echo "$A-$B-$NOT_SET"'), {
        options: ['-q', '-e', 'A=1 2', '-e', 'B', '-e', 'NOT_SET'],
        env: { B: 'from here' },
      })
      expect(exit).toMatchObject({ code: 0, stdout: { text: '1 2-from here-\n' } })
    })

    test('a time-out is 124, and said', { timeout }, async () => {
      const exit = await run(pool, shell('echo begun; sleep 100'), { options: ['--timeout', '1s'] })
      expect(exit).toMatchObject({ code: 124, stdout: { text: 'begun\n' } })
      expect(ours(exit).join()).toContain('timed out')
    })

    test('a program that is not there is 127', { timeout }, async () => {
      expect((await run(pool, ['/no/such/program'])).code).toBe(127)
    })
  })

  test('standard input goes in, any bytes, and comes out; nothing else is written', { timeout }, async () => {
    const input = randomBytes(5_000_000)
    const exit = await run('hold', shell('cat > f; cat f; cat f >&2'), { input, options: ['-q'] })
    expect(exit.code).toBe(0)
    for (const stream of [exit.stdout, exit.stderr]) expect(stream).toMatchObject({ bytes: input.length, sha256: sha256(input) })
  })

  test('the working folder is the one asked for', { timeout }, async () => {
    expect((await run('hold', ['pwd'], { options: ['-w', '/tmp'] })).stdout.text).toBe('/tmp\n')
  })

  test('a standard input that never ends does not hold a command that has ended', { timeout }, async () => {
    expect((await run('hold', shell('exit 4'), { input: 'open' })).code).toBe(4)
    expect((await run('hold', ['cat'], { input: Buffer.from('never read'), options: ['--no-stdin'] })).stdout.bytes).toBe(0)
  })

  test('Ctrl-C cancels, is 130, and leaves nothing; SIGTERM alike', { timeout }, async () => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const going = start(shell('echo begun; sleep 1000'))
      await waitFor('its output', () => going.stdout().includes('begun'), { timeoutMs: patienceMs })
      going.kill(signal)
      const exit = await going.exited
      expect(exit).toMatchObject({ code: 130, signal: null, stdout: { text: 'begun\n' } })
      expect(ours(exit).join()).toContain('cancelled')
      expect(await site.client.runs.get(await newest())).toMatchObject({ state: 'ended', outcome: 'cancelled' })
      await noneLeft()
    }
  })

  test('Ctrl-C before there is a worker cancels too', { timeout }, async () => {
    const dir = join(site.dir, 'large')
    mkdirSync(dir)
    writeFileSync(join(dir, 'file'), '')
    // Sparse, so that it costs no disk and still takes a while to send.
    truncateSync(join(dir, 'file'), 4 * 2 ** 30)
    const before = await newest()
    const going = start(['true'], ['--upload', dir])
    const id = await waitFor('the run', newest, { until: (seen) => seen !== before, timeoutMs: patienceMs })
    going.kill('SIGINT')
    const exit = await going.exited
    expect([exit.code, ours(exit).join()]).toEqual([130, expect.stringContaining('cancelled')])
    expect(await site.client.runs.wait(id)).toMatchObject({ outcome: 'cancelled' })
    await noneLeft()
  })

  test('a second Ctrl-C does not wait for a command that ignores the first', { timeout }, async () => {
    const going = start(shell('trap "" TERM INT; echo begun; while :; do sleep 1; done'))
    await waitFor('its output', () => going.stdout().includes('begun'), { timeoutMs: patienceMs })
    going.kill('SIGINT')
    await waitFor('the first to be heard', () => going.stderr().includes('once more'), { timeoutMs: patienceMs })
    going.kill('SIGINT')
    expect((await going.exited).code).toBe(130)
    await noneLeft()
  })

  test('a reader that goes away ends the run quietly', { timeout }, async () => {
    const going = start(['yes'], ['-q'])
    await waitFor('its output', () => going.stdout().length > 0, { timeoutMs: patienceMs })
    going.closeOutput()
    const exit = await going.exited
    expect([exit.code, ours(exit)]).toEqual([141, []])
    await noneLeft()
  })

  test('a slow reader costs neither daemon nor client memory, and loses nothing', { timeout }, async () => {
    const going = start(shell('head -c 200000000 /dev/zero'))
    await waitFor('its output', () => going.stdout().length > 0, { timeoutMs: patienceMs })
    going.hold(true)
    const { client } = site
    const id = await newest()
    await waitFor('all output to be stored', async () => (await client.runs.logState(id)).complete, { timeoutMs: patienceMs })
    for (const pid of [going.pid, daemonPid(site)]) expect(peakMiB(pid)).toBeLessThan(400)
    going.hold(false)
    const exit = await going.exited
    expect(exit).toMatchObject({ code: 0, stdout: { bytes: 200_000_000, sha256: sha256(Buffer.alloc(200_000_000)) } })
  })

  test('running out of memory is 137, and said; an own 137 is not', { timeout }, async (context) => {
    await requireSystem(context, { name: 'cgroup', probe: () => memoryLimitsAbsent(site) })
    const exit = await run('hold', ['tail', '/dev/zero'], { options: ['--mem', '64Mi'] })
    expect(exit.code).toBe(137)
    expect(ours(exit).join()).toContain('out of memory')
  })

  test('a worker that is lost under the command is 125, and said', { timeout }, async () => {
    const going = start(shell('echo begun; sleep 1000'))
    await waitFor('its output', () => going.stdout().includes('begun'), { timeoutMs: patienceMs })
    const { worker } = await site.client.runs.get(await newest())
    await site.client.workers.terminate(worker ?? '', { force: true, reason: 'by the test' })
    const exit = await going.exited
    expect(exit.code).toBe(125)
    expect(ours(exit).join()).toMatch(/by the test|lost/)
    expect(ours(exit).join()).toContain(`muster why run`)
    await noneLeft()
  })

  test('the daemon is killed and comes back: the same run, every byte once, its exit code', { timeout }, async () => {
    // Ended in order first: a daemon that is killed tells nothing of what the tests before reached in it.
    await site.stop()
    await site.start()
    await site.ready()
    const going = start(shell('i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); sleep 0.02; done; exit 7'))
    for (const at of [20, 150]) {
      await waitFor(`line ${at}`, () => going.stdout().includes(`line ${at}\n`), { timeoutMs: patienceMs })
      await site.kill()
      await site.start()
    }
    const exit = await going.exited
    expect(exit.code).toBe(7)
    expect(exit.stdout.text).toBe(Array.from({ length: 400 }, (_, i) => `line ${i}\n`).join(''))
    await site.ready()
  })

  test('a folder goes in, outputs come out, also of a command that fails', { timeout }, async () => {
    const dir = join(site.dir, 'workspace')
    mkdirSync(join(dir, 'node_modules/x'), { recursive: true })
    writeFileSync(join(dir, 'a.txt'), 'hello')
    const exit = await run(
      'hold',
      shell('ls a.txt; test ! -e node_modules && mkdir -p dist/deep && cat a.txt > dist/deep/b.txt; exit 9'),
      {
        options: [
          '--upload',
          dir,
          '--exclude',
          'node_modules',
          '--output',
          'result=dist',
          '--output',
          'none=nowhere',
          '--output-dir',
          join(site.dir, 'out'),
        ],
      },
    )
    expect([exit.code, exit.stdout.text]).toEqual([9, 'a.txt\n'])
    expect(readFileSync(join(site.dir, 'out/result/deep/b.txt'), 'utf8')).toBe('hello')
    expect(existsSync(join(site.dir, 'out/none'))).toBe(false)
    expect(ours(exit).join('\n')).toMatch(/uploaded .* sha256 [0-9a-f]{64}/)
    expect(ours(exit).join('\n')).toMatch(/output result: \d+ bytes, sha256 [0-9a-f]{64}/)
    expect(ours(exit).join('\n')).toContain('output none: nothing came from nowhere')
  })

  test('an output takes the place of nothing that is here unless it may', { timeout }, async () => {
    const here = join(site.dir, 'mine')
    mkdirSync(here)
    writeFileSync(join(here, 'own'), 'x')
    const before = await newest()
    const options = ['-q', '--output', 'mine=made', '--output-dir', site.dir]
    const refused = await run('hold', shell('mkdir made; echo y > made/new'), { options })
    expect([refused.code, ours(refused).join()]).toEqual([
      125,
      expect.stringContaining(`would be ${here}, which is there already`),
    ])
    expect([await newest(), readFileSync(join(here, 'own'), 'utf8')]).toEqual([before, 'x'])
    const forced = await run('hold', shell('mkdir made; echo y > made/new; exit 3'), { options: [...options, '--force'] })
    expect([forced.code, readdirSync(here)]).toEqual([3, ['new']])
  })

  test('links and pipes among the output are no failure; the code is the command’s own', { timeout }, async () => {
    const script = 'mkdir venv; ln -s /usr/bin/python3 venv/python; echo x > venv/file; mkfifo venv/pipe'
    const dir = join(site.dir, 'links')
    const exit = await run('hold', shell(script), { options: ['-q', '--output', 'venv=venv', '--output-dir', dir] })
    expect([exit.code, readdirSync(join(dir, 'venv')).sort()]).toEqual([0, ['file', 'python']])
    expect(readlinkSync(join(dir, 'venv/python'))).toBe('/usr/bin/python3')
    expect(ours(exit).join()).toContain('left out venv/pipe, a pipe or a device')
  })

  test.each([
    [0, 125, 'it passed, but its output out could not be saved'],
    [7, 7, 'its output out could not be saved'],
  ])('what cannot be saved here is said; a command that exits %d gives %d', { timeout }, async (own, code, line) => {
    const dir = join(site.dir, 'no-folder')
    writeFileSync(dir, 'a file')
    const options = ['-q', '--output', 'out=made', '--output-dir', dir]
    const exit = await run('hold', shell(`echo x > made; exit ${own}`), { options })
    expect([exit.code, ours(exit).join()]).toEqual([code, expect.stringContaining(line)])
    expect(exit.stderr.text).not.toMatch(/^ {4}at /m)
  })

  test('detached: its id; followed again from the first byte; its log; why it was so', { timeout }, async () => {
    const made = await run('hold', shell('echo one; echo two >&2; exit 6'), { options: ['--detach'] })
    const id = made.stdout.text.trim()
    expect([made.code, id]).toEqual([0, expect.stringMatching(/^r[0-9a-z]{26}$/)])
    const ask = (...words: string[]): Promise<MusterExit> => muster([...words, '-c', site.config], { cwd: site.dir })
    expect(await ask('runs', 'attach', id)).toMatchObject({ code: 6, stdout: { text: 'one\n' } })
    const log = await ask('logs', id)
    expect([log.code, log.stdout.text, log.stderr.text]).toEqual([0, 'one\n', 'two\n'])
    const why = await ask('why', 'run', id)
    for (const rule of ['lease-queued', 'launch-for-lease', 'worker-launched', 'lease-active', 'run-ended'])
      expect(why.stdout.text).toContain(`[${rule}]`)
    const lines = (await ask('logs', id, '--json')).stdout.text.trim().split('\n')
    const [first, second] = lines.map((line) => JSON.parse(line) as { stream: string; next: number; base64: string })
    // Two pipes: which of them is read first is nobody's promise.
    const told = [first, second].map((chunk) => [chunk?.stream, Buffer.from(chunk?.base64 ?? '', 'base64').toString()])
    expect(Object.fromEntries(told)).toEqual({ stdout: 'one\n', stderr: 'two\n' })
    const rest = await ask('logs', id, '--from', String(first?.next))
    expect([rest.stdout.text, rest.stderr.text]).toEqual(first?.stream === 'stdout' ? ['', 'two\n'] : ['one\n', ''])
    expect(second?.next).toBeGreaterThan(first?.next ?? 0)
  })

  test('exec: a command beside the worker’s own, which goes on', { timeout }, async () => {
    const lease = await muster(['leases', 'create', '-c', site.config, '--pool', 'hold', '--json'], { cwd: site.dir })
    const got = JSON.parse(lease.stdout.text) as { lease: { id: string }; worker: { id: string } }
    const exec = (...command: string[]): Promise<MusterExit> =>
      muster(['exec', '-c', site.config, got.worker.id, '--', ...command], { cwd: site.dir, input: Buffer.from('in') })
    expect(await exec('sh', '-c', 'cat; echo x >&2; exit 5')).toMatchObject({
      code: 5,
      stdout: { text: 'in' },
      stderr: { text: 'x\n' },
    })
    expect(await exec('true')).toMatchObject({ code: 0 })
    expect((await site.client.workers.get(got.worker.id)).phase).toBe('leased')
    expect((await muster(['leases', 'release', '-c', site.config, got.lease.id], { cwd: site.dir })).code).toBe(0)
    await noneLeft()
  })

  test('what nobody follows for so long ends, as when its client was killed, and not before', { timeout }, async () => {
    const killed = start(['sh', '-c', 'echo on; cat'], ['-q', '--detach-timeout', '3s'], { input: 'open' })
    await waitFor('its command', () => killed.stdout() === 'on\n')
    const { id, startedAt = '' } = (await site.client.runs.list({})).items[0] ?? { id: '' }
    const now = async (): Promise<Run> => site.client.runs.get(id)
    // paced: that it lives for longer than that with a client is what this is about.
    await waitFor('longer than that', () => Date.now() - Date.parse(startedAt) > 4000)
    expect((await now()).state).toBe('running')
    killed.kill('SIGKILL')
    await waitFor('its end', async () => (await now()).state === 'ended')
    expect(await now()).toMatchObject({ outcome: 'cancelled', reason: 'no client for 3000 ms' })
    await noneLeft()
  })

  test('what no pool can ever do is refused at once, with the field', { timeout }, async () => {
    const exit = await run('hold', ['true'], { options: ['--profile', 'huge'] })
    expect(exit.code).toBe(125)
    expect(ours(exit).join('\n')).toContain('profile')
    const near = await run('hodl', ['true'])
    expect([near.code, ours(near).join('\n')]).toEqual([125, expect.stringContaining('did you mean pool hold?')])
  })
}

function daemonPid({ data }: Site): number {
  const { pid } = JSON.parse(readFileSync(join(data, 'endpoint.json'), 'utf8')) as { pid: number }
  return pid
}

/** The largest resident size so far. */
function peakMiB(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) / 1024
}

async function memoryLimitsAbsent(site: Site): Promise<string | undefined> {
  // A provider whose machine decides tells it there; others always can.
  const { facts } = await site.client.providers.get('p')
  const limits = facts['limits'] ?? 'memory'
  return limits.includes('memory') ? undefined : `limits that can be set here: ${limits}`
}

describe('local', () => {
  behaves(localVendor)
})

const docker = await findDocker()
suiteWith(docker, 'docker', ({ socket }) => {
  beforeAll(() => ensureImage(socket, 'busybox'), timeout)
  // The same lines of ours as with local workers.
  behaves(dockerVendor(socket))
})
