/** Limits by cgroup: kept exactly, or refused by name where there is none. */
import { existsSync } from 'node:fs'
import { mkdir, readFile, rmdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { WorkerProvider } from '@muster/core'
import { requireSystem } from '@muster/test/require'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parseHierarchies, tryPlace } from './cgroup.ts'
import { callOf, execOf, hold, must, openRig, readExec, type Rig, runToEnd, seen, specOf, usageOf } from './rig.test.helper.ts'

const MIB = 2 ** 20
/** Grows until something stops it. */
const GREEDY = 'exec tail /dev/zero'

let rig: Rig
let provider: WorkerProvider

afterEach(async ({ task }) => {
  if (task.result?.state !== 'skip') await rig?.close()
})

describe('with a cgroup', () => {
  beforeEach(async (context) => {
    rig = await openRig()
    provider = rig.provider
    const limits = (await provider.probe(callOf())).facts?.['limits']
    const absent = limits === 'cpu, memory, pids' ? undefined : `limits that can be set here: ${limits}`
    if (absent !== undefined) await rig.close()
    await requireSystem(context, { name: 'cgroup', probe: () => absent })
  })

  test('memory: the kernel ends what is over it, and that is told from a 137 of the job', async () => {
    const resources = { memoryBytes: 32 * MIB }
    const greedy = await runToEnd(provider, specOf(GREEDY, { resources }))
    expect(greedy.exit).toMatchObject({ signal: 'SIGKILL', oomKilled: true })
    const wrapped = await runToEnd(provider, specOf(`(${GREEDY}); exit $?`, { resources }))
    expect(wrapped.exit).toMatchObject({ code: 137, oomKilled: true })
    const own = await runToEnd(provider, specOf('exit 137', { resources }))
    expect(own.exit).toMatchObject({ code: 137, reason: 'exited with 137' })
    expect(own.exit.oomKilled).toBeUndefined()
    const survived = await runToEnd(provider, specOf(`(${GREEDY}); exit 0`, { resources }))
    expect(survived.exit).toMatchObject({ code: 0, reason: 'exited with 0' })
  })

  test('memory in a held worker: the command is out of memory, the worker lives', async () => {
    const spec = specOf(hold, { resources: { memoryBytes: 32 * MIB } })
    await provider.launch(spec, callOf())
    // The kernel may end the connection into the worker too: who attaches again by the same id is told the end, and nothing begins anew.
    const greedy = execOf(GREEDY)
    const exit = await waitFor(
      'its end',
      async () => (await readExec(await must(provider.exec)({ id: spec.id }, greedy, callOf()))).exit,
    )
    expect(exit).toMatchObject({ oomKilled: true })
    const after = await readExec(await must(provider.exec)({ id: spec.id }, execOf('exit 137'), callOf()))
    expect(after.exit).toMatchObject({ code: 137 })
    expect(after.exit.oomKilled).toBeUndefined()
    expect(await seen(provider, spec.id)).toMatchObject({ phase: 'running' })
  })

  test('pids: no process more', async () => {
    const { stdout } = await runToEnd(
      provider,
      specOf('for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; cat /proc/self/status >/dev/null; echo over', {
        resources: { pids: 4 },
      }),
    )
    expect(stdout).not.toContain('over')
  })

  test('cpu: half a processor is half a processor', async () => {
    const spec = specOf(hold, { resources: { cpu: 0.2 } })
    expect(await provider.launch(spec, callOf())).toMatchObject({ granted: { cpu: 0.2 } })
    const command = execOf('i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; echo counted')
    const begin = performance.now()
    await readExec(await must(provider.exec)({ id: spec.id }, command, callOf()))
    const seconds = (performance.now() - begin) / 1000
    const { cpuSeconds } = await usageOf(provider, spec.id)
    // A period may be begun whose share is not used up; a quarter more than a fifth is no throttling.
    expect(cpuSeconds / seconds).toBeLessThan(0.25)
  })

  test('what was rounded up is said', async () => {
    const spec = specOf(hold, { resources: { memoryBytes: 32 * MIB + 1, cpu: 0.001, pids: 100 } })
    expect((await provider.launch(spec, callOf())).granted).toEqual({ memoryBytes: 32 * MIB + 4096, cpu: 0.01, pids: 100 })
    const session = await must(provider.exec)({ id: spec.id }, execOf('cat /proc/self/cgroup'), callOf())
    const paths = (await readExec(session)).stdout.split('\n').filter((line) => line.includes(spec.id))
    const memory = paths.find((line) => line.includes(':memory:'))?.split(':')[2]
    // Only version 1 says which hierarchy a controller is in.
    if (memory !== undefined)
      expect(Number(await readFile(`/sys/fs/cgroup/memory${memory}/memory.limit_in_bytes`, 'utf8'))).toBe(32 * MIB + 4096)
  })
})

test('what a trial that was killed left in a cgroup is removed by the next one, a living one is left alone', async (context) => {
  rig = await openRig({ cgroup: 'off' })
  const name = `muster-${basename(rig.dir)}`
  const asRoot = process.getuid?.() === 0
  const text = { mounts: await readFile('/proc/self/mountinfo', 'utf8'), own: await readFile('/proc/self/cgroup', 'utf8') }
  let tried = 0
  for (const hierarchy of parseHierarchies(text)) {
    const place = await tryPlace(hierarchy, { name, root: asRoot })
    if (place === undefined) continue
    tried += 1
    expect(existsSync(place.parent)).toBe(false)
    // No process has a number beyond the kernel's largest.
    const [dead, alive] = [join(place.parent, 'trial-4194305'), join(place.parent, `trial-${process.pid}`)]
    await mkdir(dead, { recursive: true })
    await mkdir(alive)
    // Beside one another, none takes what another one is at.
    const places = await Promise.all([1, 2, 3].map(() => tryPlace(hierarchy, { name, root: asRoot })))
    expect(places).toEqual([place, place, place])
    expect([existsSync(dead), existsSync(alive)]).toEqual([false, true])
    await rmdir(alive)
    await tryPlace(hierarchy, { name, root: asRoot })
    expect(existsSync(place.parent)).toBe(false)
  }
  const absent = tried === 0 ? 'no folder can be made in any hierarchy' : undefined
  await requireSystem(context, { name: 'cgroup', probe: () => absent })
})

test('without a cgroup each limit is refused by its path', async () => {
  rig = await openRig({ cgroup: 'off' })
  for (const [field, value] of Object.entries({ cpu: 1, memoryBytes: MIB, pids: 10 })) {
    await expect(rig.provider.launch(specOf(hold, { resources: { [field]: value } }), callOf())).rejects.toMatchObject({
      code: 'unsupported',
      effect: 'none',
      path: `resources.${field}`,
      hint: expect.any(String),
    })
  }
  expect(await rig.provider.probe(callOf())).toMatchObject({
    notes: expect.arrayContaining([expect.stringContaining('no limits of cpu, memory, pids')]),
  })
})
