import { readdir, readFile, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { type RunningProcess, startProcess } from '@muster/test/systems/process'
import { removeLocalPlace } from '@muster/test/systems/muster'
import { tempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { musterBin } from './lib/paths.mjs'

async function start(folder: string, ...args: string[]): Promise<RunningProcess> {
  const script = join(import.meta.dirname, 'start.mjs')
  return startProcess([process.execPath, '--conditions=@muster/source', script, '--folder', folder, ...args], {
    env: { ...process.env, MUSTER_SOURCE: '1', CI: 'true' },
  })
}

/** A folder for `npm start`, and what local workers have outside of it. */
async function startFolder(): Promise<{ path: string } & AsyncDisposable> {
  const { path, remove } = await tempFolder('start')
  return {
    path,
    async [Symbol.asyncDispose]() {
      await remove()
      await removeLocalPlace(join(path, '.muster'))
    },
  }
}

/** Processes that work in a folder or name it. */
async function processesOf(folder: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const lines = await Promise.all(
    pids.map(async (pid) => {
      const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '')
      const command = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ')
      return `${cwd} ${command}`
    }),
  )
  return lines.filter((line) => line.includes(folder))
}

const slow = 170_000

test(
  '--once runs the pipeline, ends with its code, and leaves nothing',
  async () => {
    await using temp = await startFolder()
    const first = await start(temp.path, '--once')
    await first.expectExit(0)
    expect(first.stdout()).toContain('durations: 7 jobs passed in ')
    expect(first.stdout()).toContain('\nleft: nothing\n')
    expect(first.stderr()).toContain('the daemon is stopped, its workers are gone: nothing is left')
    expect(await processesOf(temp.path)).toEqual([])
    // The data is for its user alone; the plugins are packed, and locked to their bytes.
    const registry = JSON.parse(await readFile(join(temp.path, 'plugins.json'), 'utf8')) as {
      plugins: Record<string, { source: object }>
    }
    for (const alias of ['baremetal', 'docker'])
      expect(registry.plugins[alias]?.source).toEqual({
        tarball: expect.stringMatching(/^\.muster\/packages\/.*\.tgz$/),
      })
    const lock = JSON.parse(await readFile(join(temp.path, 'plugins.lock.json'), 'utf8')) as typeof registry
    for (const alias of ['baremetal', 'docker'])
      expect(lock.plugins[alias]).toMatchObject({
        sha512: expect.stringMatching(/^sha512-/),
        waiver: { reason: expect.any(String) },
      })
    // A second start has less to do, and writes nothing of what is the user's.
    const before = await readFile(join(temp.path, 'muster.yaml'), 'utf8')
    const second = await start(temp.path, '--once')
    await second.expectExit(0)
    expect(second.stderr()).not.toContain('packing')
    expect(await readFile(join(temp.path, 'muster.yaml'), 'utf8')).toBe(before)
  },
  slow,
)

test(
  'stays up, is found by a second start, and ends with Ctrl-C',
  async () => {
    await using temp = await startFolder()
    await using first = await start(temp.path)
    await waitFor('the daemon to stay up', () => first.stderr().includes('Ctrl-C stops the daemon'), { timeoutMs: slow })
    expect(first.stderr()).toMatch(/the daemon serves http:\/\/127\.0\.0\.1:\d+ and \S*\/muster-[\w-]+\.sock/)
    expect(first.stderr()).toMatch(/its token is in .*admin\.token/)
    expect(first.stderr()).toContain('npx --no-install muster workers')
    const second = await start(temp.path, '--once')
    await second.expectExit(0)
    expect(second.stderr()).toContain('a daemon of this folder runs already')
    expect(first.running()).toBe(true)
    first.kill('SIGINT')
    await first.expectExit(0)
    expect(await processesOf(temp.path)).toEqual([])
    // The pool was drained for the end, and works again with the next start.
    await using third = await start(temp.path)
    await waitFor('the third start', () => third.stderr().includes('Ctrl-C stops the daemon'), { timeoutMs: slow })
    const pools = await startProcess([process.execPath, musterBin, 'pools', '-c', join(temp.path, 'muster.yaml')], {
      env: { ...process.env, MUSTER_SOURCE: '1' },
    })
    await pools.expectExit(0)
    expect(pools.stdout()).toMatch(/\nlocal +active /)
    third.kill('SIGINT')
    await third.expectExit(0)
  },
  slow,
)

test(
  'Ctrl-C in the middle of the pipeline ends everything with 130',
  async () => {
    await using temp = await startFolder()
    const run = await start(temp.path)
    await waitFor('a job to run', () => run.stderr().includes(' runs on '), { timeoutMs: slow })
    run.kill('SIGINT')
    await run.expectExit(130)
    expect(await processesOf(temp.path)).toEqual([])
  },
  slow,
)

test('names what is wrong with its call', async () => {
  const run = await start('/tmp', '--twice')
  await run.expectExit(2)
  expect(run.stderr()).toContain('usage: npm start')
})
