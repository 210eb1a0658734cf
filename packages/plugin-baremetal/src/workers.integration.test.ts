/** The life of workers, in each way in which a machine lets them be kept together. */
import { chmod, mkdir, mkdtemp, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { WorkerProvider } from '@muster/core'
import { requireSystem } from '@muster/test/require'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { BaremetalConfig } from './config.ts'
import { findCommand } from './files.ts'
import {
  callOf,
  execOf,
  exited,
  gone,
  hold,
  must,
  newId,
  openRig,
  ownerTags,
  pidsNamed,
  readExec,
  readLogs,
  type Rig,
  runToEnd,
  seen,
  specOf,
  usageOf,
} from './rig.test.helper.ts'
import type { SiteOptions } from './site.ts'
import { plainPath } from './tools.ts'

const isRoot = process.getuid?.() === 0

interface Way {
  way: string
  config: Partial<BaremetalConfig>
  site?: SiteOptions
  /** Program that is given the name `sh`, instead of the machine's own. */
  shell?: string
  root?: true
  cgroup?: true
}

const ways: Way[] = [
  { way: 'a user of its own, cgroups v2 and v1', config: {}, root: true, cgroup: true },
  { way: 'a user of its own, no cgroup', config: { cgroup: 'off' }, root: true },
  { way: 'the same user, cgroups v2 and v1', config: { users: 'off' }, cgroup: true },
  { way: 'the same user, cgroups v1', config: { users: 'off' }, site: { cgroupVersions: [1] }, cgroup: true },
  { way: 'the same user, no cgroup', config: { users: 'off', cgroup: 'off' } },
  { way: 'a user of its own, bash', config: {}, shell: 'bash', root: true },
  { way: 'the same user, no cgroup, busybox', config: { users: 'off', cgroup: 'off' }, shell: 'busybox' },
]

const links = await mkdtemp(join(tmpdir(), 'muster-shells-of-workers-'))
await chmod(links, 0o755)
afterAll(() => rm(links, { recursive: true, force: true }))

/** A link `sh` to a shell of that name, reachable for all users; undefined when there is none. */
async function shellNamed(name: string): Promise<string | undefined> {
  const program = await findCommand(name, plainPath)
  if (program === undefined) return undefined
  const link = join(links, name, 'sh')
  await mkdir(join(links, name), { recursive: true, mode: 0o755 })
  await symlink(program, link).catch(() => undefined)
  return link
}

describe.each(ways)('workers with $way', ({ config, site, shell, root, cgroup }) => {
  let rig: Rig
  let provider: WorkerProvider

  beforeEach(async (context) => {
    await requireSystem(context, { name: 'root', probe: () => (root && !isRoot ? 'this user is not root' : undefined) })
    const link = shell === undefined ? undefined : await shellNamed(shell)
    if (shell !== undefined)
      await requireSystem(context, { name: shell, probe: () => (link === undefined ? `${shell} is not installed` : undefined) })
    rig = await openRig(config, { ...site, ...(link === undefined ? {} : { shell: link }) })
    provider = rig.provider
    const { facts } = await provider.probe(callOf())
    const absent = cgroup === true && facts?.['cgroup'] === 'none' ? 'no cgroup can be made here' : undefined
    if (absent !== undefined) await rig.close()
    await requireSystem(context, { name: 'cgroup', probe: () => absent })
  })

  afterEach(async ({ task }) => {
    if (task.result?.state !== 'skip') await rig?.close()
  })

  test.each([
    ['exit 0', { code: 0 }],
    ['exit 3', { code: 3 }],
    ['exit 137', { code: 137 }],
    ['exit 143', { code: 143 }],
    ['kill -s KILL $$', { signal: 'SIGKILL' }],
    ['kill -s TERM $$', { signal: 'SIGTERM' }],
    ['kill -s INT $$', { signal: 'SIGINT' }],
    ['kill -s SEGV $$', { signal: 'SIGSEGV' }],
  ])('a command that does %s ends as what it was', async (script, expected) => {
    const { stdout, stderr, exit } = await runToEnd(provider, specOf(`echo out; echo err >/dev/stderr; ${script}`))
    expect({ stdout, stderr }).toEqual({ stdout: 'out\n', stderr: 'err\n' })
    expect(exit).toMatchObject(expected)
    expect(exit.oomKilled).toBeUndefined()
    if ('signal' in expected) expect(exit.code).toBeUndefined()
  })

  test('an exited worker stays with its exit, its files and its output until it is terminated', async () => {
    const spec = specOf('echo here > file; echo said; exit 5')
    await runToEnd(provider, spec)
    expect(await seen(provider, spec.id)).toMatchObject({ phase: 'exited', exit: { code: 5 }, ready: false })
    const again = rig.again()
    expect(await readLogs(must(again.logs)({ id: spec.id }, { follow: false }, callOf()))).toMatchObject({ stdout: 'said\n' })
    const parts: Uint8Array[] = []
    for await (const part of must(again.copyOut)({ id: spec.id }, 'file', callOf())) parts.push(part)
    expect(Buffer.concat(parts).includes('here\n')).toBe(true)
    await gone(provider, spec.id)
    expect(await seen(provider, spec.id)).toBeUndefined()
  })

  test('launching again is the same worker, another spec a conflict', async () => {
    const spec = specOf(hold)
    const [first, second] = [await provider.launch(spec, callOf()), await rig.again().launch(spec, callOf())]
    expect(second).toEqual(first)
    await expect(provider.launch({ ...spec, env: { OTHER: '1' } }, callOf())).rejects.toMatchObject({
      code: 'conflict',
      effect: 'none',
    })
    expect((await provider.list({ tags: ownerTags, limit: 10 }, callOf())).workers).toHaveLength(1)
  })

  test('twenty launches at once start one command once', async () => {
    const other = rig.again()
    const spec = specOf(`echo started >> ${join(rig.dir, 'count')}; sleep 1000`)
    await writeFile(join(rig.dir, 'count'), '', { mode: 0o666 })
    await chmod(join(rig.dir, 'count'), 0o666)
    await Promise.all(Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? provider : other).launch(spec, callOf())))
    const text = await waitFor('the command', () => readText(join(rig.dir, 'count')))
    await gone(provider, spec.id)
    expect([text, await readText(join(rig.dir, 'count'))]).toEqual(['started\n', 'started\n'])
  })

  test('a command run in a held worker is attached to by another process of the plugin', async () => {
    const spec = specOf(hold, { env: { GREETING: "it's\na line" } })
    await provider.launch(spec, callOf())
    const command = execOf('printf "%s" "$GREETING"; read line; echo "got $line"; exit 9', { stdin: true })
    const first = await must(provider.exec)({ id: spec.id }, command, callOf())
    expect(await must(provider.execState)({ id: spec.id }, command.id, callOf())).toEqual({ state: 'running' })
    for await (const { data } of first.output) if (Buffer.from(data).includes('line')) break
    await expect(first.exit).rejects.toMatchObject({ code: 'cancelled' })
    const again = { ...command, input: lines('hello\n') }
    const second = await readExec(await must(rig.again().exec)({ id: spec.id }, again, callOf()))
    expect(second).toMatchObject({ stdout: "it's\na linegot hello\n", exit: { code: 9 } })
    expect(await must(provider.execState)({ id: spec.id }, command.id, callOf())).toMatchObject({
      state: 'exited',
      exit: { code: 9 },
    })
  })

  test.each(['SIGTERM', 'SIGINT', 'SIGKILL'] as const)('a command is ended by %s', async (signal) => {
    const spec = specOf(hold)
    await provider.launch(spec, callOf())
    const command = execOf('echo up; exec sleep 1000')
    const session = await must(provider.exec)({ id: spec.id }, command, callOf())
    await must(provider.execKill)({ id: spec.id }, { id: command.id, signal }, callOf())
    expect((await readExec(session)).exit).toMatchObject({ signal })
    await must(provider.execKill)({ id: spec.id }, { id: command.id, signal }, callOf())
  })

  test('children that cut themselves loose are gone with a held worker', async () => {
    const spec = specOf(hold)
    await provider.launch(spec, callOf())
    const name = newId()
    const stray = `sh -c 'sleep 1000; :' ${name} >/dev/null 2>&1 </dev/null &`
    const script = [stray, `setsid ${stray}`, `env -i setsid ${stray}`, `(setsid ${stray})`].join('\n')
    await readExec(await must(provider.exec)({ id: spec.id }, execOf(script), callOf()))
    await waitFor('four children', () => pidsNamed(name), { until: (pids) => pids.length === 4 })
    await gone(provider, spec.id)
    expect(await pidsNamed(name)).toEqual([])
  })

  test('children that a command leaves behind end with it, and its exit does not wait for them', async () => {
    const name = newId()
    const stray = `sh -c 'sleep 1000; :' ${name} &`
    const spec = specOf(`${stray} setsid ${stray} env -i setsid ${stray} echo done; exit 4`)
    const { stdout, exit } = await runToEnd(provider, spec)
    expect({ stdout, exit }).toMatchObject({ stdout: 'done\n', exit: { code: 4 } })
    expect(await pidsNamed(name)).toEqual([])
  })

  test('terminate asks first: the command has its grace', async () => {
    const spec = specOf(`trap 'echo bye > ${join(rig.dir, 'bye')}; exit 0' TERM; echo up; while :; do sleep 0.05; done`)
    await writeFile(join(rig.dir, 'bye'), '')
    await chmod(join(rig.dir, 'bye'), 0o666)
    await provider.launch(spec, callOf())
    await waitFor('the trap', () => firstLine(provider, spec.id))
    // Far longer than it needs: an end before that is the command's own. A busy machine answers before it came.
    await provider.terminate({ id: spec.id }, { graceMs: 600_000, force: false, reason: 'test' }, callOf())
    await waitFor('its end', async () => (await seen(provider, spec.id)) === undefined)
    expect(await readText(join(rig.dir, 'bye'))).toBe('bye\n')
  })

  test('a command that ignores the request is killed after its grace, without anybody asking again', async () => {
    const spec = specOf("trap '' TERM; echo up; while :; do sleep 0.05; done")
    await provider.launch(spec, callOf())
    await waitFor('the trap', () => firstLine(provider, spec.id))
    const answer = await provider.terminate({ id: spec.id }, { graceMs: 3000, force: false, reason: 'test' }, callOf())
    expect(answer).toMatchObject({ state: 'terminating' })
    expect(await seen(provider, spec.id)).toMatchObject({ phase: 'stopping' })
    await expect(provider.launch(spec, callOf())).rejects.toMatchObject({ code: 'conflict' })
    await waitFor('its end', async () => (await seen(provider, spec.id)) === undefined)
  })

  test('force cuts a running grace short', async () => {
    const spec = specOf("trap '' TERM; echo up; while :; do sleep 0.05; done")
    await provider.launch(spec, callOf())
    await waitFor('the trap', () => firstLine(provider, spec.id))
    await provider.terminate({ id: spec.id }, { graceMs: 600_000, force: false, reason: 'test' }, callOf())
    await provider.terminate({ id: spec.id }, { graceMs: 600_000, force: true, reason: 'test' }, callOf())
    await waitFor('its end', async () => (await seen(provider, spec.id)) === undefined)
  })

  test('terminate is gone for an unknown worker, and again', async () => {
    const spec = specOf(hold)
    const how = { graceMs: 0, force: false, reason: 'test' }
    expect(await provider.terminate({ id: spec.id }, how, callOf())).toEqual({ state: 'gone' })
    await provider.launch(spec, callOf())
    await Promise.all([1, 2, 3].map(() => provider.terminate({ id: spec.id }, how, callOf())))
    await gone(provider, spec.id)
    expect(await provider.terminate({ id: spec.id }, how, callOf())).toEqual({ state: 'gone' })
  })

  test('terminate while launching leaves nothing', async () => {
    const ids = Array.from({ length: 6 }, () => newId())
    await Promise.all(
      ids.map(async (id, index) => {
        const launched = provider
          .launch(specOf(index % 2 === 0 ? hold : 'sleep 1000', { id }), callOf())
          .catch((error: unknown) => error)
        await gone(provider, id)
        await launched
        await gone(provider, id)
      }),
    )
    expect(
      await provider.inspect(
        ids.map((id) => ({ id })),
        callOf(),
      ),
    ).toEqual([])
  })

  test('a suspended worker stands still and goes on', async () => {
    const spec = specOf('i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done')
    await provider.launch(spec, callOf())
    await waitFor('output', () => firstLine(provider, spec.id))
    await must(provider.suspend)({ id: spec.id }, { keeps: 'memory' }, callOf())
    await must(provider.suspend)({ id: spec.id }, { keeps: 'memory' }, callOf())
    expect(await seen(provider, spec.id)).toMatchObject({ phase: 'suspended', ready: false })
    await expect(must(provider.exec)({ id: spec.id }, execOf('true'), callOf())).rejects.toMatchObject({ code: 'conflict' })
    const output = async (): Promise<string> =>
      (await readLogs(must(provider.logs)({ id: spec.id }, { follow: false }, callOf()))).stdout
    let before = ''
    // Standing still can only be seen over time: of one that runs on, 15 lines come between two looks, and no two are alike.
    const still = async (): Promise<boolean> => before === (before = await output())
    await waitFor('it to stand still', still, { everyMs: 300 })
    await must(provider.resume)({ id: spec.id }, callOf())
    expect(await seen(provider, spec.id)).toMatchObject({ phase: 'running' })
    await waitFor('more output', async () => (await output()) > before)
  })

  test('a suspended worker can be terminated', async () => {
    const spec = specOf(hold)
    await provider.launch(spec, callOf())
    const stop = new AbortController()
    const session = await must(provider.exec)({ id: spec.id }, execOf('exec sleep 1000'), callOf({ signal: stop.signal }))
    await must(provider.suspend)({ id: spec.id }, { keeps: 'memory' }, callOf())
    await gone(provider, spec.id, 200)
    expect(await seen(provider, spec.id)).toBeUndefined()
    stop.abort()
    await readExec(session).catch(() => undefined)
  })

  test('a worker whose supervisor was killed is lost, is not started again, and leaves nothing', async () => {
    const spec = specOf('sleep 1000')
    await provider.launch(spec, callOf())
    const pid = Number((await readlink(join(rig.root, 'workers', spec.id, 'supervisor'))).split('.')[0])
    process.kill(pid, 'SIGKILL')
    await waitFor('the loss', () => seen(provider, spec.id), { until: (worker) => worker?.phase === 'lost' })
    await provider.launch(spec, callOf())
    expect(await seen(provider, spec.id)).toMatchObject({ phase: 'lost', exit: { reason: expect.stringContaining('unknown') } })
  })

  test('usage is measured', async () => {
    const spec = specOf(hold)
    await provider.launch(spec, callOf())
    const session = await must(provider.exec)(
      { id: spec.id },
      execOf('i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo counted; exec sleep 1000'),
      callOf(),
    )
    for await (const { data } of session.output) if (Buffer.from(data).includes('counted')) break
    const stats = await usageOf(provider, spec.id)
    expect(stats.cpuSeconds).toBeGreaterThan(0)
    expect(stats.memoryBytes).toBeGreaterThan(100_000)
    expect(stats.pids).toBeGreaterThanOrEqual(2)
  })

  test('watch tells of starts and exits', async () => {
    const stop = new AbortController()
    const phases = new Map<string, Set<string>>()
    const watching = (async () => {
      for await (const { id, phase } of must(provider.watch)({ tags: ownerTags, limit: 10 }, callOf({ signal: stop.signal })))
        phases.set(id, (phases.get(id) ?? new Set()).add(phase))
    })().catch((error: unknown) => error)
    await provider.list({ tags: ownerTags, limit: 1 }, callOf())
    const spec = specOf('sleep 0.2; exit 1')
    await provider.launch(spec, callOf())
    await exited(provider, spec.id)
    await waitFor('both phases', () => phases.get(spec.id)?.has('exited'))
    stop.abort()
    expect(await watching).toBeInstanceOf(Error)
  })
})

async function* lines(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text)
}

async function readText(path: string): Promise<string> {
  return await readFile(path, 'utf8')
}

async function firstLine(provider: WorkerProvider, id: string): Promise<boolean> {
  return (await readLogs(must(provider.logs)({ id }, { follow: false }, callOf()))).stdout.includes('\n')
}
