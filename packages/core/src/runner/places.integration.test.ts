import { spawnSync } from 'node:child_process'
import { requireSystem } from '@muster/test/require'
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createRunner } from './index.ts'
import { collect, command, localRaw, planBenches, never, processesOf, until, type Bench } from './local.test.helper.ts'

const { root, benches, make, remove } = planBenches()
beforeAll(make)
afterAll(remove)

/** nobody, as Debian numbers it. */
const NOBODY = 65_534
const needsRoot = { name: 'root', probe: () => (process.getuid?.() === 0 ? undefined : 'these tests run as an ordinary user') }
const sh = (bench: Bench, script: string): ReturnType<typeof command> => command([bench.shell, '-c', script])

describe.each(benches)('places of the runner in $name', (bench) => {
  const dir = join(root, `place ${bench.name}`)
  beforeAll(() => {
    mkdirSync(dir)
  })

  test('a read-only root where only its folder is writable', async (context) => {
    await requireSystem(context, needsRoot)
    const runs = join(dir, 'writable')
    mkdirSync(runs, { mode: 0o700 })
    const seal = `mount --make-rprivate / && mount --bind '${runs}' '${runs}' && mount -o remount,bind,ro / && exec "$@"`
    const wrap = [
      '/usr/bin/unshare',
      '-m',
      '/bin/sh',
      '-c',
      `PATH=/usr/bin:/bin:/sbin; ${seal}`,
      'seal',
      '/usr/bin/env',
      `PATH=${bench.path}`,
    ]
    const runner = createRunner(localRaw(bench, { wrap }).raw, { dir: runs, shell: bench.shell })
    const probe = join(dir, 'probe')
    const { stdout, exit } = await collect(await runner.exec(sh(bench, `(true >'${probe}') 2>/dev/null || echo closed`), never))
    expect(stdout.toString()).toBe('closed\n')
    expect(exit.code).toBe(0)
    expect(existsSync(probe)).toBe(false)
  })

  test('an ordinary user, with its own folder', async (context) => {
    await requireSystem(context, needsRoot)
    const home = join(dir, 'home')
    mkdirSync(home)
    chownSync(home, NOBODY, NOBODY)
    const runner = createRunner(localRaw(bench, { uid: NOBODY }).raw, { dir: join(home, 'a', 'runs'), shell: bench.shell })
    const spec = sh(bench, 'id -u; kill -TERM $$')
    const { stdout, exit } = await collect(await runner.exec(spec, never))
    expect(stdout.toString()).toBe(`${NOBODY}\n`)
    expect(exit.signal).toBe('SIGTERM')
    expect(statSync(join(home, 'a', 'runs')).mode & 0o777).toBe(0o700)
    await runner.forget(spec.id, never)
    const foreign = createRunner(localRaw(bench, { uid: NOBODY }).raw, { dir, shell: bench.shell })
    await expect(foreign.exec(spec, never)).rejects.toMatchObject({ code: 'transient', effect: 'none' })
  })

  test('a shared folder: each user its own runs, root sees and ends them all', async (context) => {
    await requireSystem(context, needsRoot)
    const options = { dir: join(dir, 'shared'), shell: bench.shell, shared: true }
    const asRoot = createRunner(localRaw(bench).raw, options)
    const asUser = createRunner(localRaw(bench, { uid: NOBODY }).raw, { ...options, user: 'nobody' })
    await collect(await asRoot.exec(sh(bench, 'true'), never))
    const spec = { ...sh(bench, 'echo mine; sleep 1000'), user: 'nobody' }
    await expect(asRoot.exec(spec, never)).rejects.toMatchObject({ code: 'unsupported', path: 'user' })
    const session = await asUser.exec(spec, never)
    expect(statSync(join(options.dir, spec.id))).toMatchObject({ uid: NOBODY })
    expect(statSync(join(options.dir, spec.id)).mode & 0o777).toBe(0o700)
    expect(await asRoot.state(spec.id, never)).toEqual({ state: 'running' })
    await asRoot.kill(spec.id, 'SIGKILL', never)
    const { stdout, exit } = await collect(session)
    expect(stdout.toString()).toBe('mine\n')
    expect(exit.signal).toBe('SIGKILL')
    await asRoot.forget(spec.id, never)
    expect(readdirSync(options.dir)).not.toContain(spec.id)
  })

  test('a folder that somebody else prepared is refused', async () => {
    const link = join(dir, 'link')
    symlinkSync(dir, link)
    await expect(
      createRunner(localRaw(bench).raw, { dir: link, shell: bench.shell }).exec(sh(bench, 'true'), never),
    ).rejects.toMatchObject({
      code: 'transient',
      effect: 'none',
    })
  })

  test('a worker that cannot keep the output: what there is, and the exit says that the end is missing', async () => {
    // A file limit ends the process that writes the output, as a full disk does.
    const wrap = ['/bin/sh', '-c', 'ulimit -f 200; exec "$@"', 'limit']
    const runner = createRunner(localRaw(bench, { wrap }).raw, { dir: join(dir, 'small'), shell: bench.shell })
    const spec = sh(bench, 'yes 0123456789abcde')
    const { stdout, exit } = await collect(await runner.exec(spec, never))
    expect(stdout.length).toBe(102_400)
    expect(exit.signal).toBe('SIGPIPE')
    expect(exit.reason).toContain('the end of stdout is missing')
    await until(() => processesOf(spec.id).length === 0)
  })

  test('a full disk cuts the output and nothing else: the exit is the true one', async (context) => {
    await requireSystem(context, needsRoot)
    const small = join(dir, 'full')
    mkdirSync(small)
    const mounted = spawnSync('/bin/mount', ['-t', 'tmpfs', '-o', 'size=256k,mode=700', 'muster-test', small])
    await requireSystem(context, { name: 'mount', probe: () => (mounted.status === 0 ? undefined : mounted.stderr.toString()) })
    try {
      const runner = createRunner(localRaw(bench).raw, { dir: join(small, 'runs'), shell: bench.shell })
      const spec = sh(bench, 'yes 0123456789abcde | head -c 1000000 >&2; echo after; exit 5')
      const { stderr, exit } = await collect(await runner.exec(spec, never))
      expect(stderr.length).toBeGreaterThan(100_000)
      expect(stderr.length).toBeLessThan(262_144)
      expect(exit).toMatchObject({ code: 5, reason: expect.stringContaining('the end of stderr is missing') })
      // In words that are the same each time: a host tells each once.
      const refused = {
        code: 'transient',
        effect: 'none',
        message: expect.stringMatching(/ in .*\/runs: No space left on device$/),
      }
      await expect(runner.exec(sh(bench, 'true'), never)).rejects.toMatchObject(refused)
      await until(() => processesOf(small).length === 0)
    } finally {
      spawnSync('/bin/umount', [small])
    }
  })

  test('a worker without a needed program, without a shell, with another program for a shell', async () => {
    const bin = join(dir, 'bin')
    mkdirSync(bin)
    const poor = createRunner(localRaw({ path: bin }).raw, { dir: join(dir, 'poor'), shell: bench.shell })
    // A shell with programs of its own needs no PATH.
    if (bench.name !== 'busybox')
      await expect(poor.exec(sh(bench, 'true'), never)).rejects.toMatchObject({ code: 'unsupported', effect: 'none' })
    const none = createRunner(localRaw(bench, { wrap: ['/usr/bin/env'] }).raw, { dir: join(dir, 'none'), shell: join(bin, 'sh') })
    await expect(none.exec(sh(bench, 'true'), never)).rejects.toMatchObject({ code: 'unsupported', effect: 'none' })
    await expect(none.state('x', never)).rejects.toMatchObject({ code: 'unsupported' })
    writeFileSync(join(bin, 'sh'), '#!/bin/sh\necho motd: welcome\nsleep 0.1\n', { mode: 0o755 })
    const welcome = { code: 'transient', message: expect.stringContaining('the protocol: motd: welcome') }
    await expect(none.exec(sh(bench, 'true'), never)).rejects.toMatchObject(welcome)
  })

  test('the memory killer is told from SIGKILL', async (context) => {
    const group = memoryGroup()
    await requireSystem(context, { name: 'cgroup', probe: () => (typeof group === 'string' ? group : undefined) })
    if (typeof group === 'string') return
    try {
      const wrap = ['/bin/sh', '-c', `echo $$ >'${group.path}/cgroup.procs'; exec "$@"`, 'limit']
      const runner = createRunner(localRaw(bench, { wrap }).raw, { dir: join(dir, 'memory'), shell: bench.shell })
      const hungry = 'head -c 200000000 /dev/zero | tail -c 150000000 >/dev/null'
      const at = expect.any(String) as string
      const own = await collect(await runner.exec(sh(bench, 'exit 137'), never))
      expect(own.exit).toEqual({ code: 137, reason: 'exited with 137', at })
      const killed = await collect(await runner.exec(sh(bench, 'kill -KILL $$'), never))
      expect(killed.exit).toEqual({ signal: 'SIGKILL', reason: 'ended by SIGKILL', at })
      const victim = await collect(await runner.exec(sh(bench, hungry), never))
      expect(victim.exit).toEqual({ code: 137, oomKilled: true, reason: 'out of memory', at })
      const survived = await collect(await runner.exec(sh(bench, `${hungry}; exit 4`), never))
      expect(survived.exit).toMatchObject({ code: 4, reason: expect.stringContaining('out of memory') })
      expect(survived.exit.oomKilled).toBeUndefined()
      // The killer may take the supervisor as well: it is named, but what became of the command is not guessed.
      const both = await collect(await runner.exec(sh(bench, `${hungry}; kill -KILL $PPID`), never))
      expect(both.exit).toEqual({
        reason: expect.stringMatching(/^unknown: .* watched the command .* memory killer struck 1 times/),
      })
      const alone = await collect(await runner.exec(sh(bench, 'kill -KILL $PPID'), never))
      expect(alone.exit).toEqual({ reason: expect.stringMatching(/^unknown: .* watched the command in the worker was killed$/) })
    } finally {
      await until(() => readFileSync(join(group.path, 'cgroup.procs'), 'utf8') === '')
      rmdirSync(group.path)
    }
  })
})

/** A memory cgroup of 64 MiB, or why there is none. */
function memoryGroup(): { path: string } | string {
  const v1 = '/sys/fs/cgroup/memory'
  const base = existsSync(v1) ? v1 : '/sys/fs/cgroup'
  const path = join(base, `muster-runner-${process.pid}-${Date.now()}`)
  try {
    mkdirSync(path)
    const files = existsSync(v1) ? ['memory.limit_in_bytes'] : ['memory.max', 'memory.swap.max']
    files.forEach((file, index) => writeFileSync(join(path, file), index === 0 ? '67108864' : '0'))
    return { path }
  } catch (error) {
    if (existsSync(path)) rmdirSync(path)
    return `no memory cgroup can be made here (${(error as NodeJS.ErrnoException).code})`
  }
}
