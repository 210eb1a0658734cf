/** Workers that are ended to be started again, on a real engine: what stays, what goes, and who sees it. */
import type { LaunchSpec, WorkerObservation } from '@muster/core'
import { findDocker } from '@muster/test/systems/docker'
import { engineJson } from '@muster/test/systems/engine'
import { ensureImage } from '@muster/test/systems/images'
import { inventoryOf } from '@muster/test/systems/inventory'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { begunAgain } from './again.ts'
import { createEngine, type Engine } from '../client.ts'
import { createContainers, observeMany, observeRows } from './containers.ts'
import { listRows } from './rows.ts'
import { callOf, createHarness, execId, type Harness } from '../testing/harness.test.helper.ts'
import { rulesOf } from '../rules.ts'

const disk = { keeps: 'disk' } as const

suiteWith(await findDocker(), 'a worker that is suspended to disk on a real engine', (docker) => {
  let harness: Harness
  beforeAll(async () => {
    const firewall = { image: await ensureImage(docker.socket, 'firewall') }
    harness = await createHarness(docker.socket, { rules: rulesOf({ firewall }, docker.socket) })
  })
  afterAll(() => harness.clean())

  const launched = async (parts: Partial<LaunchSpec> = {}): Promise<LaunchSpec> => {
    const spec = harness.hold(parts)
    await harness.provider.launch(spec, callOf())
    return spec
  }
  const sh = async (id: string, script: string): Promise<string> => (await harness.exec(id, ['sh', '-c', script])).stdout
  const suspended = { phase: 'suspended', ready: false }

  test('has its files and volumes, and no process; what ran has ended as nobody knows how; it is seen by all, and goes on', async () => {
    const mounts = [
      { target: '/v', source: { kind: 'volume' as const, name: 'v' } },
      { target: '/t', source: { kind: 'tmpfs' as const } },
    ]
    const spec = await launched({ mounts, resources: { cpu: 0.01, memoryBytes: 32 * 1024 * 1024 } })
    const { id, tags } = spec
    await sh(id, 'echo a >/a; echo b >/v/b; echo c >/t/c')
    const stubborn = { id: execId(), command: ['sh', '-c', 'trap "" TERM; echo stubborn; while :; do sleep 1; done'] }
    const session = await harness.provider.exec({ id }, { ...stubborn, stdin: false, from: { stdout: 0, stderr: 0 } }, callOf())
    for await (const _chunk of session.output) break
    session.exit.catch(() => {})
    const free = async (): Promise<number> => (await harness.provider.headroom(callOf())).memoryBytes?.free ?? 0
    const before = await free()
    const told: WorkerObservation[] = []
    const watching = new AbortController()
    const watch = (async () => {
      for await (const seen of harness.another().watch({ tags, limit: 500 }, callOf({ signal: watching.signal }))) told.push(seen)
    })().catch(() => {})
    await waitFor('the watch', () => told.some((seen) => seen.id === id))

    await harness.provider.suspend({ id }, disk, callOf())
    await harness.provider.suspend({ id }, disk, callOf())
    const seen = await harness.observe(id)
    expect(seen).toMatchObject(suspended)
    expect(seen?.exit).toBeUndefined()
    expect((await free()) - before).toBeGreaterThanOrEqual(32 * 1024 * 1024)
    await waitFor('the watch to tell', () => told.some((one) => one.id === id && one.phase === 'suspended'))
    watching.abort()
    await watch
    await expect(harness.exec(id, ['true'])).rejects.toMatchObject({ code: 'conflict', effect: 'none' })
    const { workers } = await harness.another().list({ tags, limit: 500 }, callOf())
    expect(workers.find((worker) => worker.id === id)).toMatchObject(suspended)
    // The same launch, asked for once more, is answered, and wakes nobody.
    await harness.another().launch(spec, callOf())
    expect(await harness.phase(id)).toBe('suspended')

    await harness.another().resume({ id }, callOf())
    await harness.provider.resume({ id }, callOf())
    expect(await harness.observe(id)).toMatchObject({ phase: 'running', ready: true })
    expect(await sh(id, 'cat /a /v/b; ls /t; ps | grep -c "[s]tubborn"')).toBe('a\nb\n0\n')
    expect(await harness.provider.execState({ id }, stubborn.id, callOf())).toEqual({ state: 'unknown' })
    await harness.gone(id, 0)
  })

  test('behind its gate is bound by its rules again, with its services beside it', async () => {
    const service = { name: 'beside', image: await ensureImage(docker.socket, 'busybox') }
    const command = ['sh', '-c', 'while :; do echo here | nc -l -p 7000; done']
    const { id } = await launched({ network: { egress: 'restricted' }, services: [{ ...service, command }] })
    await harness.provider.suspend({ id }, disk, callOf())
    await harness.provider.resume({ id }, callOf())
    expect(await sh(id, 'until nc -w 5 beside 7000 </dev/null | grep here; do sleep 0.05; done')).toBe('here\n')
    expect(await sh(id, 'nc -w 5 192.0.2.1 9 </dev/null 2>&1 | grep -o refused')).toBe('refused\n')
    await harness.gone(id, 0)
  })

  test("keeps its pool's network, though all others of the pool have gone; its end takes all", async () => {
    const settings = { network: { scope: 'pool' as const } }
    const [{ id }, other] = await Promise.all([launched({ settings }), launched({ settings })])
    await harness.provider.suspend({ id }, disk, callOf())
    await harness.gone(other.id, 0)
    const networks = async (): Promise<string[]> =>
      (await inventoryOf(docker.socket, [`muster-owner=${harness.owner}`])).filter((line) => line.startsWith('network'))
    // The end of a third one comes after the look that the second one's end began.
    await harness.gone((await launched({ settings })).id, 0)
    expect(await networks()).toHaveLength(1)
    await harness.provider.resume({ id }, callOf())
    expect(await harness.phase(id)).toBe('running')
    await harness.provider.suspend({ id }, disk, callOf())
    await harness.gone(id, 600_000)
    await waitFor("the end of the pool's network", networks, { until: (lines) => lines.length === 0 })
  })

  test('is asked of its marks no more once they are known, and its log goes on to its end', async () => {
    const { id } = await launched()
    await sh(id, 'echo one >/proc/1/fd/1')
    await harness.provider.suspend({ id }, disk, callOf())
    await harness.provider.resume({ id }, callOf())
    const engine = createEngine({ socketPath: docker.socket })
    const asked: string[] = []
    const counting: Engine = { ...engine, json: (request) => (asked.push(request.method), engine.json(request)) }
    counting.stream = (request) => (asked.push(request.method), engine.stream(request))
    let now = 0
    const owner = { 'muster-owner': harness.owner, 'muster-provider': 'docker' }
    const containers = createContainers(
      counting,
      owner,
      begunAgain(() => now),
    )
    const look = async (): Promise<string[]> => {
      asked.length = 0
      const how = { stopping: () => false, signal: callOf().signal }
      const rows = (await listRows(counting, owner, how.signal)).filter((row) => row.id === id)
      const observations = [...(await observeRows(rows, containers, how)), ...(await observeMany([id], containers, how))]
      expect(observations.map(({ phase }) => phase)).toEqual(['running', 'running'])
      return asked
    }
    expect(await look()).toContain('HEAD')
    now = 60_000
    await look()
    expect(await look()).toEqual(['GET', 'GET'])
    engine.close()
    await sh(id, 'echo two >/proc/1/fd/1')
    const lines: string[] = []
    const log = (async () => {
      // The shell that holds it says something of its own at its end.
      for await (const { stream, data } of harness.another().logs({ id }, { follow: true }, callOf()))
        if (stream === 'stdout') lines.push(Buffer.from(data).toString())
    })()
    log.catch(() => {})
    await waitFor('both lines', () => lines.join(''), { until: (text) => text === 'one\ntwo\n' })
    await sh(id, 'echo three >/proc/1/fd/1')
    await engineJson(docker.socket, { method: 'POST', path: `/containers/muster-${id}/kill` })
    await log
    expect(lines.join('')).toBe('one\ntwo\nthree\n')
    await harness.gone(id, 0)
  })

  test('is one at once after its launch: nobody is told to end before it can hear what is wanted', async () => {
    // A shell that takes its time at first, as on a machine under load.
    const slow = '#!/bin/busybox sh\n[ -e /begun ] || { : >/begun; sleep 1; }\nexec /bin/busybox sh "$@"\n'
    const files = [{ path: '/bin/sh', base64: Buffer.from(slow).toString('base64'), mode: 0o755 }]
    const { id } = await launched({ files })
    await harness.provider.suspend({ id }, disk, callOf())
    expect(await harness.observe(id)).toMatchObject(suspended)
    await harness.provider.resume({ id }, callOf())
    await harness.provider.suspend({ id }, disk, callOf())
    expect(await harness.observe(id)).toMatchObject(suspended)
    await harness.gone(id, 0)
  })

  test('is not started by a resumption that comes while it is being removed', async () => {
    const { id } = await launched()
    await harness.provider.suspend({ id }, disk, callOf())
    const engine = createEngine({ socketPath: docker.socket })
    const removing = Promise.withResolvers<void>()
    const goOn = Promise.withResolvers<void>()
    const asked: string[] = []
    const provider = harness.another({
      ...engine,
      async json(request) {
        if (request.method !== 'GET') asked.push(`${request.method} ${request.path.split('/').slice(3).join('/')}`)
        if (request.method === 'DELETE') {
          removing.resolve()
          await goOn.promise
        }
        return engine.json(request)
      },
    })
    const terminated = provider.terminate({ id }, { graceMs: 60_000, force: false, reason: 'test' }, callOf())
    await removing.promise
    await expect(provider.resume({ id }, callOf())).rejects.toMatchObject({ code: 'conflict', effect: 'none' })
    goOn.resolve()
    expect(await terminated).toEqual({ state: 'gone' })
    expect(asked).toEqual(['DELETE '])
    engine.close()
  })

  test('is not one whose command would begin again, nor one that is frozen, has ended, or ends otherwise', async () => {
    const conflict = { code: 'conflict', effect: 'none' }
    const command = harness.command('sleep', '1000')
    await harness.provider.launch(command, callOf())
    await expect(harness.provider.suspend({ id: command.id }, disk, callOf())).rejects.toMatchObject(conflict)
    const { id } = await launched()
    await harness.provider.suspend({ id }, { keeps: 'memory' }, callOf())
    await expect(harness.provider.suspend({ id }, disk, callOf())).rejects.toMatchObject(conflict)
    await harness.provider.resume({ id }, callOf())
    await engineJson(docker.socket, { method: 'POST', path: `/containers/muster-${id}/kill` })
    await harness.exit(id)
    await expect(harness.provider.suspend({ id }, disk, callOf())).rejects.toMatchObject(conflict)
    await expect(harness.provider.resume({ id }, callOf())).rejects.toMatchObject(conflict)
    expect(await harness.phase(id)).toBe('exited')
  })

  test('is one that ended, where somebody else ends it and starts it again later', async () => {
    const { id } = await launched()
    await harness.provider.suspend({ id }, disk, callOf())
    await harness.provider.resume({ id }, callOf())
    expect(await harness.phase(id)).toBe('running')
    for (const what of ['kill', 'wait', 'start'])
      await engineJson(docker.socket, { method: 'POST', path: `/containers/muster-${id}/${what}` })
    await waitFor('its end', () => harness.another().inspect([{ id }], callOf()), {
      until: ([seen]) => seen?.phase === 'exited' && seen.exit?.code === undefined,
    })
  })
})
