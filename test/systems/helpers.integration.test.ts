/** The helpers that need processes, but no system. */
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'

import { describe, expect, test } from 'vitest'

import { requireSystem, root } from '../require.ts'
import { freePort, portAnswers } from './ports.ts'
import { identityOf, isRunning, mustRun, runProcess, startProcess, stopIdentity } from './process.ts'
import { tarStream } from './tar.ts'
import { mountsBelow, tempFolder } from './temp.ts'
import { ordinaryUser } from './unprivileged.ts'
import { waitFor } from './wait.ts'

const isRoot = process.getuid?.() === 0

describe('processes', () => {
  test('input goes in, output and exit come out', async () => {
    const result = await runProcess(['sh', '-c', 'cat; echo no >&2; exit 3'], { input: 'yes' })
    expect(result).toEqual({ code: 3, signal: null, stdout: 'yes', stderr: 'no\n' })
  })

  test('a program that is not there is a failure, not an exit', async () => {
    await expect(startProcess(['no-such-program'])).rejects.toThrow('cannot start no-such-program')
  })

  test('a late one is killed', async () => {
    await expect(runProcess(['sleep', '60'], { timeoutMs: 50 })).rejects.toThrow('sleep 60 ran longer than 50 ms')
  })

  test('expectExit tells what was written', async () => {
    const running = await startProcess(['sh', '-c', 'echo reason >&2; exit 4'])
    await running.expectExit(4)
    await expect(running.expectExit(0)).rejects.toThrow(/ended with 4, not 0\. It wrote:\nreason/)
  })

  test('one that ignores SIGTERM is killed after the grace, and stopping twice answers the same', async () => {
    const running = await startProcess(['sh', '-c', "trap '' TERM; echo ready; while :; do sleep 0.05; done"])
    await waitFor('the trap to be set', () => running.stdout().includes('ready'))
    expect(await running.stop(50)).toEqual({ code: null, signal: 'SIGKILL' })
    expect(await running.stop(50)).toEqual({ code: null, signal: 'SIGKILL' })
    expect(running.running()).toBe(false)
  })

  test('an identity ends with its process and is not taken for another with the same pid', async () => {
    const running = await startProcess(['sleep', '60'])
    const identity = await identityOf(running.pid)
    if (identity === undefined) throw new Error('a running process has an identity')
    expect(await isRunning(identity)).toBe(true)
    expect(await isRunning({ ...identity, startTime: '1' })).toBe(false)
    await stopIdentity(identity)
    expect(await running.exited).toEqual({ code: null, signal: 'SIGTERM' })
    expect(await identityOf(running.pid)).toBeUndefined()
  })

  test('a detached one writes to its file', async () => {
    await using folder = await tempFolder('process')
    const logFile = join(folder.path, 'log')
    const running = await startProcess(['sh', '-c', 'echo out; echo err >&2'], { logFile, detached: true })
    await running.expectExit(0)
    expect(await readFile(logFile, 'utf8')).toBe('out\nerr\n')
    await expect(startProcess(['true'], { detached: true })).rejects.toThrow('needs a logFile')
  })
})

describe('folders', () => {
  test('gone with all in them', async () => {
    const folder = await tempFolder('folder')
    await writeFile(join(folder.path, 'file'), 'x')
    await folder.remove()
    await folder.remove()
    expect(existsSync(folder.path)).toBe(false)
  })

  test('what is mounted below is unmounted first', async (context) => {
    await requireSystem(context, root)
    const folder = await tempFolder('mount point')
    await mustRun(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder.path])
    expect(await mountsBelow(folder.path)).toEqual([folder.path])
    await folder.remove()
    expect(await mountsBelow(folder.path)).toEqual([])
    expect(existsSync(folder.path)).toBe(false)
  })
})

test('a free port can be listened on', async () => {
  const port = await freePort()
  expect(await portAnswers(port)).toBe(false)
  const server = createServer().listen(port, '127.0.0.1')
  await once(server, 'listening')
  expect(await portAnswers(port)).toBe(true)
  server.close()
})

test('tar reads what we write, and the same content gives the same bytes', async () => {
  await using folder = await tempFolder('tar')
  const source = join(folder.path, 'source')
  await writeFile(source, 'x'.repeat(700))
  const archive = (): Promise<Buffer> =>
    buffer(
      tarStream([
        { kind: 'folder', path: 'd', mode: 0o1777 },
        { kind: 'file', path: 'd/a', mode: 0o750, uid: 1000, gid: 1000, content: 'hello' },
        { kind: 'file', path: 'd/b', content: { from: source } },
        { kind: 'file', path: 'd/empty', content: '' },
        { kind: 'link', path: 'd/l', target: 'a' },
      ]),
    )
  const bytes = await archive()
  const listing = await mustRun(['tar', '--numeric-owner', '--utc', '-tvf', '-'], { input: bytes })
  expect(listing.trim().split('\n')).toEqual([
    'drwxrwxrwt 0/0               0 1970-01-01 00:00 d/',
    '-rwxr-x--- 1000/1000         5 1970-01-01 00:00 d/a',
    '-rw-r--r-- 0/0             700 1970-01-01 00:00 d/b',
    '-rw-r--r-- 0/0               0 1970-01-01 00:00 d/empty',
    'lrwxrwxrwx 0/0               0 1970-01-01 00:00 d/l -> a',
  ])
  expect(await mustRun(['tar', '-xOf', '-', 'd/b'], { input: bytes })).toBe('x'.repeat(700))
  expect((await archive()).equals(bytes)).toBe(true)
})

test("an ordinary user has its home and nothing of root's", async () => {
  await using user = await ordinaryUser()
  await using folder = await tempFolder('closed')
  const script = `id -u; id -G; grep -c . "$1/file" || true; echo mine > "$HOME/x"; cat "$HOME/x"; grep CapEff /proc/self/status`
  await writeFile(join(folder.path, 'file'), 'of the one who runs the test', { mode: 0o600 })
  const command = user.command('sh', '-c', script, 'sh', folder.path)
  const { stdout, stderr } = await runProcess(command, { env: user.env })
  const [uid, groups, ...rest] = stdout.trim().split('\n')
  expect(Number(uid)).toBe(user.uid)
  expect(rest.at(-2)).toBe('mine')
  expect(rest.at(-1)).toMatch(/CapEff:\s+0+$/)
  if (isRoot) {
    expect(groups).toBe(String(user.gid))
    expect(stderr).toContain('Permission denied')
  }
})
