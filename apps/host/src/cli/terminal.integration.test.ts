/** `muster exec -t` as a person has it: at a terminal of this machine, in a container. */
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findDocker } from '@muster/test/systems/docker'
import { engineJson } from '@muster/test/systems/engine'
import { ensureImage } from '@muster/test/systems/images'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeSite, patienceMs, type Site } from '../faults/daemon.test.helper.ts'
import { dockerVendor } from '../faults/vendors.test.helper.ts'
import { muster } from './muster.test.helper.ts'

const timeout = 300_000
const bin = join(import.meta.dirname, '../../bin/muster.mjs')

interface Seat {
  type(text: string): void
  shows(text: string | RegExp): Promise<unknown>
  resize(columns: number, rows: number): Promise<void>
  /** Of the command itself. */
  kill(signal: NodeJS.Signals): void
  /** What stands below the command's output once it has ended: its code, and whether the terminal is as it was. */
  left(): Promise<string>
}

suiteWith(await findDocker(), 'a terminal in a container', ({ socket }) => {
  let site: Site
  let worker: string
  let lease: string
  beforeAll(async () => {
    await ensureImage(socket, 'busybox')
    const vendor = await dockerVendor(socket)()
    site = await makeSite(vendor.files(), { counted: true })
    await site.start()
    await site.ready()
    lease = (await site.client.leases.create({ pool: 'hold', ttlMs: 600_000 })).id
    worker = (await site.client.leases.wait(lease)).worker?.id ?? ''
  }, timeout)
  afterAll(async () => {
    await site.client.leases.release(lease)
    await waitFor('the worker to be gone', async () => (await site.client.workers.list()).items.length === 0, {
      timeoutMs: patienceMs,
    })
    await site.dispose()
  }, timeout)

  const processes = async (): Promise<string[]> => {
    const { Processes } = await engineJson<{ Processes: string[][] }>(socket, { path: `/containers/muster-${worker}/top` })
    return Processes.map((fields) => fields.at(-1) ?? '')
  }

  /** `script` of util-linux makes the terminal that the command is run at. */
  function sit(name: string, command: string): Seat {
    const file = (what: string): string => join(site.dir, `${name}.${what}`)
    writeFileSync(
      file('inner'),
      `echo $$ >${file('pid')}\nexec "${process.execPath}" "${bin}" exec -c "${site.config}" -it "${worker}" -- ${command}\n`,
    )
    writeFileSync(
      file('outer'),
      `stty rows 31 cols 97; stty -g >${file('before')}; tty >${file('tty')}
sh ${file('inner')}
code=$?; stty -g >${file('after')}
cmp -s ${file('before')} ${file('after')} && echo "left: $code, as it was" || echo "left: $code, another"
`,
    )
    const env = { ...process.env, MUSTER_SOURCE: '1', NO_COLOR: '1', SHELL: '/bin/sh' }
    const child = spawn('script', ['-qfec', `sh ${file('outer')}`, '/dev/null'], {
      cwd: site.dir,
      env,
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    let text = ''
    child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()))
    const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
    return {
      type: (some) => void child.stdin.write(some),
      shows: (some) =>
        waitFor(
          `the terminal to show ${some.toString()}`,
          () => (typeof some === 'string' ? text.includes(some) : some.test(text)),
          {
            timeoutMs: patienceMs,
          },
        ),
      async resize(columns, rows) {
        const line = readFileSync(file('tty'), 'utf8').trim()
        const stty = spawn('stty', ['-F', line, 'cols', String(columns), 'rows', String(rows)], { stdio: 'ignore' })
        expect(await new Promise((resolve) => stty.once('close', resolve))).toBe(0)
      },
      kill: (signal) => void process.kill(Number(readFileSync(file('pid'), 'utf8')), signal),
      async left() {
        await ended
        return /left: .*/.exec(text)?.[0].trim() ?? text
      },
    }
  }

  test('keys, sizes and Ctrl-C go there; its code comes back, and the terminal is as it was', { timeout }, async () => {
    const seat = sit('keys', 'sh')
    await seat.shows('# ')
    seat.type('stty size; echo $((6*7)) | tee seen\r')
    await seat.shows(/31 97\r\n42\r\n/)
    await seat.resize(132, 43)
    // The other size comes a moment after the keys that were typed before it.
    seat.type('until [ "$(stty size)" = "43 132" ]; do sleep 0.05; done; echo now $(stty size)\r')
    await seat.shows('now 43 132\r\n')
    seat.type('echo be""gun; sleep 1000000\r')
    await seat.shows('begun\r\n')
    seat.type('\u0003')
    seat.type('echo af""ter\r')
    await seat.shows('after\r\n')
    seat.type('exit 5\r')
    expect(await seat.left()).toBe('left: 5, as it was')
  })

  test('Ctrl-D ends it; a signal ends it there too, and gives the terminal back', { timeout }, async () => {
    const seat = sit('eof', 'sh -c \'echo rea""dy; cat; echo over\'')
    await seat.shows('ready\r\n')
    seat.type('\u0004')
    expect(await seat.left()).toBe('left: 0, as it was')
    const killed = sit('killed', 'sh -c \'echo rea""dy; sleep 7654321\'')
    await killed.shows('ready\r\n')
    expect(await processes()).toContain('sleep 7654321')
    killed.kill('SIGTERM')
    expect(await killed.left()).toBe('left: 130, as it was')
    await waitFor('its end in the worker', processes, { until: (seen) => !seen.includes('sleep 7654321') })
  })

  test('without -i it has a terminal and no input; with -i there must be one here; a time ends it', { timeout }, async () => {
    const exec = (options: string[], ...command: string[]): ReturnType<typeof muster> =>
      muster(['exec', '-c', site.config, ...options, worker, '--', ...command], { cwd: site.dir, counted: true })
    const sized = await exec(
      ['-t', '-e', 'A=b', '-w', '/tmp', '-u', '1000'],
      'sh',
      '-c',
      'stty size; echo $A $PWD $(id -u); cat; exit 3',
    )
    expect([sized.code, sized.stdout.text]).toEqual([3, '24 80\r\nb /tmp 1000\r\n'])
    const none = await exec(['-it'], 'sh')
    expect([none.code, none.stderr.text]).toEqual([2, expect.stringContaining('is no terminal') as string])
    const late = await exec(['-t', '--timeout', '1s'], 'sleep', '1000000')
    expect([late.code, late.stderr.text]).toEqual([124, 'muster: timed out\n'])
    const absent = await exec(['-t'], 'no-such-program')
    expect([absent.code, absent.stdout.text]).toEqual([127, expect.stringContaining('not found') as string])
  })
})
