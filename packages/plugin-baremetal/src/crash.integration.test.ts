/** The plugin's process is killed at every step of a launch and at many moments of launch and terminate. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
// paced: the kills have to meet launch and terminate at different moments.
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { LaunchSpec } from '@muster/core'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { callOf, execOf, gone, hold, must, openRig, ownerTags, readExec, type Rig, seen, specOf } from './rig.test.helper.ts'
import type { Orders } from './victim.test.helper.ts'

const victim = fileURLToPath(new URL('./victim.test.helper.ts', import.meta.url))

let rig: Rig

beforeEach(async () => {
  rig = await openRig()
})

afterEach(async () => {
  await rig.close()
})

/** A process with the orders, which has its place ready and now begins. */
async function begin(orders: Omit<Orders, 'options'>): Promise<ChildProcess> {
  const { config, ledger, context } = rig.options
  const all: Orders = { ...orders, options: { config, ...(ledger === undefined ? {} : { ledger }), dataDir: context.dataDir } }
  const child = spawn(process.execPath, ['--conditions=@muster/source', victim, JSON.stringify(all)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { PATH: process.env['PATH'] },
  })
  await once(must(child.stdout ?? undefined), 'data')
  return child
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

/** Counts how often its command was started. */
async function counted(): Promise<{ spec: LaunchSpec; starts(): Promise<number> }> {
  const path = join(rig.dir, 'starts')
  await writeFile(path, '')
  await chmod(path, 0o666)
  return {
    spec: specOf(`echo >> ${path}; exec sleep 1000`),
    starts: async () => (await readFile(path, 'utf8')).length,
  }
}

/** Paths that bear a worker's id below the data folder and in the ledger of users. */
async function draftsAndUsers(id: string): Promise<string[]> {
  const { ledger, context } = rig.options
  const roots = [context.dataDir, rig.options.config.root, ledger].filter((path) => path !== undefined)
  const found = await Promise.all(roots.map((path) => readdir(path, { recursive: true })))
  return found.flat().filter((path) => basename(path).startsWith(`${id}.`))
}

/** What must hold after any death during a launch: the repeat makes it one worker, started once, and terminate removes all. */
async function expectOne(spec: LaunchSpec, starts: () => Promise<number>): Promise<void> {
  const provider = rig.again()
  const { workers } = await provider.list({ tags: ownerTags, limit: 10 }, callOf())
  expect(workers.length).toBeLessThanOrEqual(1)
  await provider.launch(spec, callOf())
  expect((await provider.list({ tags: ownerTags, limit: 10 }, callOf())).workers).toMatchObject([
    { id: spec.id, phase: 'running' },
  ])
  await waitFor('the command', starts)
  await gone(provider, spec.id)
  expect(await starts()).toBe(1)
}

describe('killed in a launch', () => {
  test.each(['made', 'written'])('at the step "%s", the next list leaves nothing of it', async (dieAt) => {
    const { spec } = await counted()
    // This one was there before, so that it sweeps nothing by starting.
    const provider = rig.again()
    await provider.list({ tags: ownerTags, limit: 10 }, callOf())
    const before = await draftsAndUsers(spec.id)
    await end(await begin({ launch: spec, dieAt }))
    expect([before.length, (await draftsAndUsers(spec.id)).length > 0]).toEqual([0, true])
    expect((await provider.list({ tags: ownerTags, limit: 10 }, callOf())).workers).toEqual([])
    expect(await draftsAndUsers(spec.id)).toEqual([])
  })

  test.each(['made', 'written', 'published', 'starting', 'started'])('at the step "%s"', async (dieAt) => {
    const { spec, starts } = await counted()
    const child = await begin({ launch: spec, dieAt })
    await end(child)
    expect(child.signalCode).toBe('SIGKILL')
    await expectOne(spec, starts)
  })

  test.each(Array.from({ length: 12 }, (_, index) => index * 2))('%i ms after its begin', async (ms) => {
    const { spec, starts } = await counted()
    const child = await begin({ launch: spec })
    // paced: the moment of death is what is varied
    await delay(ms)
    child.kill('SIGKILL')
    await end(child)
    await expectOne(spec, starts)
  })

  test('and never repeated: terminate removes what there is', async () => {
    for (const dieAt of ['made', 'written', 'published', 'starting', 'started']) {
      const spec = specOf(hold)
      await end(await begin({ launch: spec, dieAt }))
      const provider = rig.again()
      const { workers } = await provider.list({ tags: ownerTags, limit: 10 }, callOf())
      expect(workers.map(({ id }) => id)).toEqual(['made', 'written'].includes(dieAt) ? [] : [spec.id])
      await gone(provider, spec.id)
    }
  })
})

describe('killed in a terminate', () => {
  test.each(Array.from({ length: 12 }, (_, index) => index * 5))(
    '%i ms after its begin: it ends all the same, or at the next',
    async (ms) => {
      const spec = specOf('sleep 1000 & sleep 1000')
      await rig.provider.launch(spec, callOf())
      const child = await begin({ terminate: { id: spec.id, graceMs: 0 } })
      // paced: the moment of death is what is varied
      await delay(ms)
      child.kill('SIGKILL')
      await end(child)
      const worker = await seen(rig.provider, spec.id)
      if (worker?.phase === 'stopping') await waitFor('its end', async () => (await seen(rig.provider, spec.id)) === undefined)
      await gone(rig.provider, spec.id)
      expect(await seen(rig.provider, spec.id)).toBeUndefined()
    },
  )

  test('in a long grace: nobody has to ask again', async () => {
    const spec = specOf("trap '' TERM; echo up; while :; do sleep 0.05; done")
    await rig.provider.launch(spec, callOf())
    const child = await begin({ terminate: { id: spec.id, graceMs: 1000 } })
    await waitFor('the stop', () => seen(rig.provider, spec.id), { until: (worker) => worker?.phase === 'stopping' })
    child.kill('SIGKILL')
    await end(child)
    await waitFor('its end', async () => (await seen(rig.provider, spec.id)) === undefined)
  })
})

test('a force that takes over from a grace lets neither of the two fail', { timeout: 120_000 }, async () => {
  const provider = rig.again()
  for (let n = 0; n < 15; n++) {
    const spec = specOf(`trap '' TERM; while :; do sleep 0.1; done`)
    await provider.launch(spec, callOf())
    const gentle = provider.terminate({ id: spec.id }, { graceMs: 600_000, force: false, reason: 'test' }, callOf())
    // paced: the force has to meet the gentle one at different moments.
    await delay(n * 8)
    const force = provider.terminate({ id: spec.id }, { graceMs: 0, force: true, reason: 'test' }, callOf())
    for (const { state } of await Promise.all([gentle, force])) expect(['gone', 'terminating']).toContain(state)
    await gone(provider, spec.id)
  }
})

test('a stop that is killed while it moves the worker away leaves nothing behind the one that took over', async () => {
  const { provider, dir, root } = rig
  const { id } = specOf(hold)
  await provider.launch(specOf(hold, { id }), callOf())
  const script = must((await readdir(root)).find((name) => /^worker-.*\.sh$/.test(name)))
  // The first one's `mv` waits for a word of the second, and that one reads on when the worker is away.
  const move = `: >${dir}/moving; until [ -e ${dir}/go ]; do sleep 0.01; done`
  const look = `case $1 in */supervisor) : >${dir}/go; while [ -d ${root}/workers/${id} ]; do sleep 0.01; done ;; esac`
  const stop = async (name: string, own: Record<string, string>): Promise<ChildProcess> => {
    await mkdir(join(dir, name))
    for (const [tool, before] of Object.entries(own))
      await writeFile(join(dir, name, tool), `#!/bin/sh\n${before}\nPATH=/usr/bin:/bin exec ${tool} "$@"\n`, { mode: 0o755 })
    return spawn('/bin/sh', [join(root, script), 'stop', join(root, 'workers', id), '0'], {
      env: { PATH: `${join(dir, name)}:/usr/sbin:/usr/bin:/sbin:/bin`, LC_ALL: 'C' },
      stdio: 'ignore',
    })
  }
  const first = await stop('first', { mv: move })
  await waitFor('the first one to be about to move it', () => existsSync(join(dir, 'moving')))
  const second = await stop('second', { readlink: look })
  await Promise.all([end(first), end(second)])
  expect(first.signalCode).toBe('SIGKILL')
  expect(await readdir(join(root, 'workers'))).toEqual([])
  expect([await readdir(join(root, 'trash')), await readdir(join(root, 'changes'))]).toEqual([[], []])
})

test('killed right after acceptance: the worker runs on and its exit is right', async () => {
  const spec = specOf('sleep 0.3; echo done; exit 6')
  await end(await begin({ launch: spec, dieAt: 'started' }))
  const provider = rig.again()
  await waitFor('its exit', () => seen(provider, spec.id), { until: (worker) => worker?.phase === 'exited' })
  expect(await seen(provider, spec.id)).toMatchObject({ exit: { code: 6 } })
})

test('the group of the plugin is killed: workers and their commands do not belong to it', async () => {
  const spec = specOf(hold)
  const child = await begin({ launch: spec })
  await end(child)
  const command = execOf('echo $$; read line; exit 3', { stdin: true })
  const session = await must(rig.provider.exec)({ id: spec.id }, command, callOf())
  for await (const { data } of session.output) if (data.length > 0) break
  expect(await must(rig.again().execState)({ id: spec.id }, command.id, callOf())).toEqual({ state: 'running' })
  const input = (async function* () {
    yield Buffer.from('go\n')
  })()
  expect((await readExec(await must(rig.again().exec)({ id: spec.id }, { ...command, input }, callOf()))).exit).toMatchObject({
    code: 3,
  })
})

test('two processes that launch the same id at once make one worker', async () => {
  const { spec, starts } = await counted()
  const children = await Promise.all([begin({ launch: spec }), begin({ launch: spec })])
  await Promise.all(children.map(end))
  expect(children.map((child) => child.exitCode)).toEqual([0, 0])
  await expectOne(spec, starts)
})
