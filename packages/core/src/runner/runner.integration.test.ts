import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suiteWith } from '@muster/test/systems/presence'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ExecInput } from '../provider.ts'
import { createRunner, type Runner } from './index.ts'
import {
  collect,
  command,
  localRaw,
  planBenches,
  never,
  processesOf,
  readProc,
  until,
  type Bench,
  type Collected,
} from './local.test.helper.ts'

const { root, benches, missing, make, remove } = planBenches()
for (const name of missing) suiteWith({ name, absent: 'no such program' }, `runner in ${name}`, () => undefined)

beforeAll(make)
afterAll(remove)

describe.each(benches)('runner in $name', (bench: Bench) => {
  const dir = join(root, `runs of ${bench.name}`)
  let runner: Runner
  beforeAll(() => {
    runner = createRunner(localRaw(bench).raw, { dir, shell: bench.shell })
  })

  const sh = (script: string, more: Partial<ExecInput> = {}): ExecInput => command([bench.shell, '-c', script], more)
  async function run(spec: ExecInput): Promise<Collected & { text: string; errors: string }> {
    const result = await collect(await runner.exec(spec, never))
    return { ...result, text: result.stdout.toString(), errors: result.stderr.toString() }
  }

  test.each([0, 1, 3, 126, 127, 129, 137, 143, 255])('its own exit %i is a code', async (code) => {
    const { exit } = await run(sh(`exit ${code}`))
    expect(exit).toEqual({ code, reason: `exited with ${code}`, at: expect.any(String) as string })
  })

  test('says when it ended, however late that is asked', async () => {
    const before = Date.now()
    const spec = sh('exit 0')
    const { exit } = await run(spec)
    const at = Date.parse(exit.at ?? '')
    expect(at).toBeGreaterThanOrEqual(before)
    expect(at).toBeLessThanOrEqual(Date.now() + 999)
    expect(await runner.state(spec.id, never)).toEqual({ state: 'exited', exit })
  })

  test.each(['KILL', 'TERM', 'HUP', 'INT', 'PIPE', 'ABRT', 'USR1'])('SIG%s is a signal', async (name) => {
    const { exit } = await run(sh(`kill -${name} $$; sleep 60`))
    expect(exit).toEqual({ signal: `SIG${name}`, reason: `ended by SIG${name}`, at: expect.any(String) as string })
  })

  test('keeps the streams apart, opens them anew by name, and reads end-of-file', async () => {
    const { text, errors, exit } = await run(
      sh('echo one; echo two >&2; echo three >/dev/stderr; cat; echo four >/dev/stdout; exit 7'),
    )
    expect(text).toBe('one\nfour\n')
    expect(errors).toBe('two\nthree\n')
    expect(exit.code).toBe(7)
  })

  test('keeps as much output as it may, of each stream, says that the rest is missing, and writes files of any size', async () => {
    const file = join(root, `large ${bench.name}`)
    const bounded = createRunner(localRaw(bench).raw, { dir, shell: bench.shell, logBytes: 65_536 })
    const spec = sh(`echo first >&2; yes; echo last >&2; yes | head -c 200000 >'${file}'; exit 3`)
    const { stdout, stderr, exit } = await collect(await bounded.exec(spec, never))
    expect(stdout.length).toBe(65_536)
    expect(stderr.toString()).toBe('first\nlast\n')
    expect(exit).toEqual({
      code: 3,
      reason: 'exited with 3; the end of stdout is missing, the worker keeps 65536 bytes of it',
      at: expect.any(String) as string,
    })
    expect(statSync(file).size).toBe(200_000)
    expect(await bounded.state(spec.id, never)).toEqual({
      state: 'exited',
      exit: { code: 3, reason: 'exited with 3', at: expect.any(String) as string },
    })
  })

  test('passes words, variables and the folder on byte by byte, and nothing of its own', async () => {
    const nasty = `q'"\\\n\t$HOME \`id\` *  ü€\u{1f600} !#;&|`
    const env = { PLAIN: '1', NASTY: nasty, EMPTY: '', IFS: 'x', LC_ALL: 'xx_YY', TRAIL: 'end\n\n' }
    const result = await run(command(['env', '-0'], { env, workdir: '/usr' }))
    const seen = Object.fromEntries(
      result.stdout
        .toString()
        .split('\0')
        .filter((line) => line !== '')
        .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    )
    expect(seen).toMatchObject({ ...env, INHERITED: 'yes', PATH: bench.path })
    for (const own of ['SHLVL', 'PWD', '_']) delete seen[own]
    expect(Object.keys(seen).sort()).toEqual(['HOME', 'INHERITED', 'PATH', ...Object.keys(env)].sort())
    const words = await run(command(['printf', '%s|', nasty, '', '-n', 'a b']))
    expect(words.text).toBe(`${nasty}||-n|a b|`)
    expect((await run(sh('pwd', { workdir: '/usr/bin/..' }))).text).toMatch(/^\/usr(\/bin\/\.\.)?\n$/)
  })

  test('a program is found by the PATH of its own variables', async () => {
    const bin = join(root, `bin of ${bench.name}`)
    mkdirSync(bin)
    writeFileSync(join(bin, 'mine'), `#!${bench.shell}\necho found\n`, { mode: 0o755 })
    const { text } = await run(command(['mine'], { env: { PATH: `${bin}:${bench.path}` } }))
    expect(text).toBe('found\n')
  })

  test('without the program 127, not executable 126, no such folder 126', async () => {
    const absent = await run(command(['no-such-program', 'x']))
    expect(absent.exit.code).toBe(127)
    expect(absent.errors).toContain('no-such-program: not found')
    expect((await run(command(['/no/such/program']))).exit.code).toBe(127)
    const file = join(root, `plain of ${bench.name}`)
    writeFileSync(file, 'text', { mode: 0o644 })
    const plain = await run(command([file]))
    expect(plain.exit.code).toBe(126)
    expect(plain.errors).toContain('not executable')
    expect((await run(command(['/usr']))).exit.code).toBe(126)
    const folder = await run(sh('true', { workdir: '/no/such/folder' }))
    expect(folder.exit.code).toBe(126)
    expect(folder.errors).toContain('/no/such/folder')
  })

  test('signals are not ignored in the command', async () => {
    const { text } = await run(command(['cat', '/proc/self/status']))
    expect(/^SigIgn:\s*0+$/m.test(text)).toBe(true)
    expect(/^SigBlk:\s*0+$/m.test(text)).toBe(true)
  })

  test('binary output, NULs included, is exact', async () => {
    const { stdout, stderr } = await run(sh('head -c 300000 /dev/urandom | tee /dev/stderr; printf "a\\000b"'))
    expect(stdout.length).toBe(300_003)
    expect(stdout.subarray(0, 300_000).equals(stderr)).toBe(true)
    expect(stdout.subarray(300_000)).toEqual(Buffer.from('a\0b'))
  })

  test('a daemonised child that holds the output does not hold the run', async () => {
    const spec = sh('echo before; (sleep 1000 & echo $! >&2); seq 1 20000')
    const { text, errors, exit } = await run(spec)
    expect(exit.code).toBe(0)
    expect(text).toBe(`before\n${Array.from({ length: 20_000 }, (_, i) => `${i + 1}\n`).join('')}`)
    process.kill(Number(errors))
  })

  test('a daemonised child that writes on: the run ends where the command ended', async () => {
    const spec = sh('(while :; do echo noise; done & echo $! >&2); echo last')
    const { text, errors, exit } = await run(spec)
    process.kill(Number(errors), 'SIGKILL')
    expect(exit.code).toBe(0)
    expect(text).toMatch(/^(noise\n)*last\n(noise\n)*(noi?s?e?)?$/)
  })

  test('the same id attaches and never starts twice, also from twenty at once', async () => {
    const file = join(root, `starts of ${bench.name}`)
    const spec = sh(`echo x >>'${file}'; seq 1 1000; sleep 0.2; echo end`)
    const all = await Promise.all(Array.from({ length: 20 }, () => run(spec)))
    for (const one of all) {
      expect(one.text).toBe(all[0]?.text)
      expect(one.exit).toEqual({ code: 0, reason: 'exited with 0', at: expect.any(String) as string })
    }
    expect(all[0]?.text).toMatch(/end\n$/)
    expect(statSync(file).size).toBe(2)
    const again = await run(spec)
    expect(again.text).toBe(all[0]?.text)
    const rest = await collect(await runner.exec({ ...spec, from: { stdout: 3890, stderr: 0 } }, never), {
      stdout: 3890,
      stderr: 0,
    })
    expect(rest.stdout.toString()).toBe(all[0]?.text.slice(3890))
    const whole = again.stdout.length
    const none = await collect(await runner.exec({ ...spec, from: { stdout: whole, stderr: 0 } }, never), {
      stdout: whole,
      stderr: 0,
    })
    expect(none.stdout.length).toBe(0)
    expect(none.exit.code).toBe(0)
    expect(readdirSync(dir).filter((name) => name.includes(spec.id))).toEqual([spec.id])
  })

  test('state: unknown, running, exited, and unknown again once forgotten', async () => {
    const gate = join(root, `gate of ${bench.name}`)
    const spec = sh(`while [ ! -e '${gate}' ]; do sleep 0.05; done; exit 5`)
    expect(await runner.state(spec.id, never)).toEqual({ state: 'unknown' })
    const session = await runner.exec(spec, never)
    expect(await runner.state(spec.id, never)).toEqual({ state: 'running' })
    await expect(runner.forget(spec.id, never)).rejects.toMatchObject({ code: 'conflict' })
    writeFileSync(gate, '')
    await collect(session)
    expect(await runner.state(spec.id, never)).toEqual({
      state: 'exited',
      exit: { code: 5, reason: 'exited with 5', at: expect.any(String) as string },
    })
    await runner.forget(spec.id, never)
    await runner.forget(spec.id, never)
    expect(await runner.state(spec.id, never)).toEqual({ state: 'unknown' })
    expect(readdirSync(dir).some((name) => name.includes(spec.id))).toBe(false)
  })

  test('a command that was stored before but is not known any more does not start again', async () => {
    const spec = sh('true', { from: { stdout: 5, stderr: 0 } })
    await expect(runner.exec(spec, never)).rejects.toMatchObject({ code: 'not-found', effect: 'none' })
    const known = sh('echo abc')
    await run(known)
    const session = await runner.exec({ ...known, from: { stdout: 500, stderr: 0 } }, never)
    await expect(collect(session, { stdout: 500, stderr: 0 })).rejects.toMatchObject({ code: 'conflict' })
    await expect(session.exit).rejects.toMatchObject({ code: 'conflict' })
  })

  test.each(['SIGTERM', 'SIGINT', 'SIGKILL'])('kill %s ends the command and all of its session', async (name) => {
    const spec = sh('sleep 1000 & echo $!; wait')
    const session = await runner.exec(spec, never)
    const output = session.output[Symbol.asyncIterator]()
    const first = await output.next()
    const child = Number(Buffer.from(first.value?.data ?? []).toString())
    expect(readProc(child, 'cmdline')).toContain('sleep')
    await runner.kill(spec.id, name, never)
    expect((await output.next()).done).toBe(true)
    const { reason, ...exit } = await session.exit
    expect(exit).toEqual({ signal: name, at: expect.any(String) as string })
    expect(reason).toBe(`ended by ${name}`)
    // A shell without job control makes its own background children ignore SIGINT.
    if (name === 'SIGINT') await runner.kill(spec.id, 'SIGKILL', never)
    if (name === 'SIGINT') process.kill(child, 'SIGKILL')
    await until(() => /^$|\) Z/.test(readProc(child, 'stat')))
    await runner.kill(spec.id, name, never)
    await runner.kill('neverstarted', name, never)
  })

  test('kill right after start is not lost', async () => {
    for (let round = 0; round < 5; round++) {
      const spec = sh('sleep 1000')
      const session = await runner.exec(spec, never)
      await runner.kill(spec.id, 'SIGKILL', never)
      expect((await collect(session)).exit.signal).toBe('SIGKILL')
    }
  })

  test('a follower that is killed leaves the command alone; the next one goes on', async () => {
    const spec = sh('for i in 1 2 3 4 5; do echo $i; sleep 0.1; done; exit 4')
    const local = localRaw(bench)
    const other = createRunner(local.raw, { dir, shell: bench.shell })
    const session = await other.exec(spec, never)
    const output = session.output[Symbol.asyncIterator]()
    expect(Buffer.from((await output.next()).value?.data ?? []).toString()).toBe('1\n')
    local.children[0]?.kill('SIGKILL')
    await expect(
      (async () => {
        for (;;) if ((await output.next()).done === true) return
      })(),
    ).rejects.toMatchObject({ code: 'transient', effect: 'possible' })
    await expect(session.exit).rejects.toMatchObject({ code: 'transient' })
    const rest = await collect(await runner.exec({ ...spec, from: { stdout: 2, stderr: 0 } }, never), { stdout: 2, stderr: 0 })
    expect(rest.stdout.toString()).toBe('2\n3\n4\n5\n')
    expect(rest.exit.code).toBe(4)
  })

  test('left early, the worker keeps no follower', async () => {
    const spec = sh('sleep 1000')
    const local = localRaw(bench)
    const session = await createRunner(local.raw, { dir, shell: bench.shell }).exec(spec, never)
    const output = session.output[Symbol.asyncIterator]()
    const next = output.next()
    const child = local.children[0]
    await runner.state(spec.id, never)
    const stop = new AbortController()
    const second = await createRunner(local.raw, { dir, shell: bench.shell }).exec(spec, stop.signal)
    const waiting = collect(second)
    stop.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' })
    expect(await runner.state(spec.id, never)).toEqual({ state: 'running' })
    await runner.kill(spec.id, 'SIGKILL', never)
    expect((await next).done).toBe(true)
    await until(() => local.children.every((one) => one.exitCode !== null || one.signalCode !== null))
    expect(child?.exitCode).toBe(0)
    await until(() => processesOf(join(dir, spec.id)).length === 0)
  })

  test('a supervisor that is killed: unknown, at once, with all output so far, and no second start', async () => {
    const spec = sh('echo one; sleep 1000')
    const session = await runner.exec(spec, never)
    const output = session.output[Symbol.asyncIterator]()
    expect(Buffer.from((await output.next()).value?.data ?? []).toString()).toBe('one\n')
    const pid = ownerOf(join(dir, spec.id))
    process.kill(pid, 'SIGKILL')
    expect((await output.next()).done).toBe(true)
    const exit = await session.exit
    expect(Object.keys(exit)).toEqual(['reason'])
    expect(exit.reason).toContain('unknown')
    expect(await runner.state(spec.id, never)).toEqual({ state: 'unknown' })
    const again = await run(spec)
    expect(again.text).toBe('one\n')
    expect(Object.keys(again.exit)).toEqual(['reason'])
    await runner.kill(spec.id, 'SIGKILL', never)
    await until(() => processesOf(join(dir, spec.id)).length === 0)
    await runner.forget(spec.id, never)
  })

  test('unwatched, a command that writes for ever does not keep its reader', async () => {
    const spec = sh('while :; do echo noise; done')
    const session = await runner.exec(spec, never)
    const output = session.output[Symbol.asyncIterator]()
    await output.next()
    process.kill(ownerOf(join(dir, spec.id)), 'SIGKILL')
    while ((await output.next()).done !== true);
    expect(Object.keys(await session.exit)).toEqual(['reason'])
    await runner.kill(spec.id, 'SIGKILL', never)
  })

  test('a pid that was used again is not taken for the supervisor, nor killed', async () => {
    const spec = sh('true')
    await run(spec)
    const folder = join(dir, spec.id)
    rmSync(join(folder, 'rc'))
    writeFileSync(join(folder, 'owner'), `${process.pid} 1 ${bootId()}\n`)
    writeFileSync(join(folder, 'command'), `${process.pid} 1\n`)
    expect(await runner.state(spec.id, never)).toEqual({ state: 'unknown' })
    await runner.kill(spec.id, 'SIGKILL', never)
    expect(Object.keys((await run(spec)).exit)).toEqual(['reason'])
  })

  test('secret variables are in no process list and in no file', async () => {
    const secret = 's3cret-in-no-list'
    const local = localRaw(bench)
    const spec = sh('echo ready; sleep 1000', { env: { TOKEN: secret } })
    const seen = new Set<number>()
    let looking = true
    const look = (async () => {
      while (looking) {
        for (const pid of processesOf(secret)) seen.add(pid)
        await new Promise((resolve) => setImmediate(resolve))
      }
    })()
    const session = await createRunner(local.raw, { dir, shell: bench.shell }).exec(spec, never)
    const output = session.output[Symbol.asyncIterator]()
    await output.next()
    const files = readdirSync(join(dir, spec.id)).filter((name) => statSync(join(dir, spec.id, name)).isFile())
    for (const name of files) expect(readText(join(dir, spec.id, name))).not.toContain(secret)
    const pid = ownerOf(join(dir, spec.id))
    expect(readProc(pid, 'environ')).not.toContain(secret)
    expect(statSync(dir).mode & 0o777).toBe(0o700)
    expect(statSync(join(dir, spec.id)).mode & 0o777).toBe(0o700)
    await runner.kill(spec.id, 'SIGKILL', never)
    await output.next()
    looking = false
    await look
    expect([...seen]).toEqual([])
  })

  test('works where only its folder is writable, and says so where it is not', async () => {
    const closed = join(root, `closed of ${bench.name}`)
    mkdirSync(closed)
    writeFileSync(join(closed, 'file'), '')
    const broken = createRunner(localRaw(bench).raw, { dir: join(closed, 'file', 'runs'), shell: bench.shell })
    await expect(broken.exec(sh('true'), never)).rejects.toMatchObject({ code: 'transient', effect: 'none' })
    const link = createRunner(localRaw(bench).raw, { dir: join(closed, 'file'), shell: bench.shell })
    await expect(link.exec(sh('true'), never)).rejects.toMatchObject({ message: expect.stringContaining('not a directory') })
  })

  test('1 MB lines and 100 MB of output', async () => {
    const lines = await run(sh('i=0; while [ $i -lt 3 ]; do head -c 1000000 /dev/zero | tr "\\0" x; echo; i=$((i+1)); done'))
    expect(lines.text).toBe(`${'x'.repeat(1_000_000)}\n`.repeat(3))
    const digest = createHash('sha256')
    let bytes = 0
    const session = await runner.exec(sh('yes 0123456789abcde | head -c 104857600'), never)
    for await (const { offset, data } of session.output) {
      expect(offset).toBe(bytes)
      bytes += data.length
      digest.update(data)
    }
    expect(bytes).toBe(104_857_600)
    expect(digest.digest('hex')).toBe(hash(Buffer.alloc(104_857_600, '0123456789abcde\n')))
    expect((await session.exit).code).toBe(0)
  })

  test('a reader that does not read takes nothing out of the pipes', async () => {
    const local = localRaw(bench)
    const spec = sh('yes 0123456789abcde | head -c 20000000')
    const session = await createRunner(local.raw, { dir, shell: bench.shell }).exec(spec, never)
    const output = session.output[Symbol.asyncIterator]()
    await output.next()
    await until(async () => (await runner.state(spec.id, never)).state === 'exited')
    expect(local.taken()).toBeLessThan(400_000)
    let bytes = 0
    for (let next = await output.next(); next.done !== true; next = await output.next())
      bytes = next.value.offset + next.value.data.length
    expect(bytes).toBe(20_000_000)
  })

  test('nothing is left in the process list', async () => {
    const left = (): string[] => processesOf(dir).map((pid) => `${pid} ${readProc(pid, 'cmdline')}`)
    await until(() => left().length === 0, 5000).catch(() => expect(left()).toEqual([]))
    expect(left()).toEqual([])
  })
})

function readText(file: string): string {
  return readFileSync(file, 'latin1')
}
function ownerOf(folder: string): number {
  return Number.parseInt(readText(join(folder, 'owner')))
}
function bootId(): string {
  return readText('/proc/sys/kernel/random/boot_id').trim()
}
function hash(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
