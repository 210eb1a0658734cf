import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import type { LaunchSpec, WorkerExit } from '@muster/core'
import { type DockerEngine, findStartDocker } from '@muster/test/systems/docker'
import { engineJson } from '@muster/test/systems/engine'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { containerPath } from '../labels.ts'
import { callOf, createHarness, type Harness, readAll } from '../testing/harness.test.helper.ts'

suiteWith(findStartDocker(), 'an engine that goes away and comes back', (start) => {
  let engine: DockerEngine
  let harness: Harness
  beforeAll(async () => {
    engine = await start()
    harness = await createHarness(engine.socket)
  })
  afterEach(() => harness.clean())
  afterAll(async () => {
    await engine.stop()
    expect(await engine.traces()).toEqual([])
  })

  const launched = async (spec: LaunchSpec): Promise<LaunchSpec> => {
    await harness.provider.launch(spec, callOf())
    return spec
  }

  test.each(['kill', 'halt'] as const)(
    '%s: streams end as a passing trouble, and afterwards the same provider sees all',
    async (how) => {
      const long = await launched(harness.command('sh', '-c', 'echo first; exec sleep 1000'))
      const failed = await launched(harness.command('sh', '-c', 'exit 3'))
      const killedItself = await launched(harness.command('sh', '-c', 'exit 137'))
      const held = await launched(harness.hold())
      for (const { id } of [failed, killedItself]) await harness.exit(id)
      expect(await harness.observe(killedItself.id)).toMatchObject({ exit: { code: 137 } })
      const tags = { 'muster-owner': harness.owner, 'muster-provider': 'docker' }
      const seen = { log: '', watch: 0 }
      const following = (async () => {
        for await (const { data } of harness.provider.logs({ id: long.id }, { follow: true }, callOf()))
          seen.log += Buffer.from(data).toString()
      })()
      const watching = (async () => {
        for await (const _ of harness.provider.watch({ tags, limit: 500 }, callOf())) seen.watch++
      })()
      const streams = Promise.allSettled([following, watching])
      await waitFor('both streams', () => seen.log === 'first\n' && seen.watch >= 4)

      await engine[how]()
      const [log, watch] = await streams
      const broken = { status: 'rejected', reason: { code: 'transient', effect: 'none' } }
      expect(watch).toMatchObject(broken)
      // An engine that stops in order ends its containers first: then the log has its end.
      if (how === 'kill') expect(log).toMatchObject(broken)
      await expect(harness.provider.list({ tags, limit: 500 }, callOf())).rejects.toMatchObject({
        code: 'transient',
        effect: 'none',
      })
      await expect(harness.provider.launch(harness.command('true'), callOf())).rejects.toMatchObject({
        code: 'transient',
        effect: 'none',
      })
      expect(await harness.provider.probe(callOf())).toMatchObject({ state: 'failed' })

      await engine.start()
      const { workers } = await harness.provider.list({ tags, limit: 500 }, callOf())
      expect(workers.map(({ id, phase }) => `${id} ${phase}`)).toEqual(
        [long, failed, killedItself, held].map(({ id }) => `${id} exited`).toSorted(),
      )
      const exitOf = (id: string) => workers.find((worker) => worker.id === id)?.exit
      expect(exitOf(failed.id)).toMatchObject({ code: 3 })
      // The engine ended this one when it stopped or came back, and says no more than 143: nobody can tell.
      expect(exitOf(long.id)).toMatchObject({ reason: expect.stringContaining('unknown: the engine restarted') as string })
      expect(exitOf(long.id)?.code).toBeUndefined()
      expect((await harness.run(harness.command('sh', '-c', 'echo again; exit 143'))).exit).toMatchObject({ code: 143 })
    },
  )

  test('what a command says while no engine is there is lost, and its exit says so; of one that ends afterwards nothing is', async () => {
    const ended = await launched(
      harness.command('sh', '-c', 'trap "echo last; exit 5" TERM; echo up; while :; do sleep 0.1; done'),
    )
    for await (const chunk of harness.provider.logs({ id: ended.id }, { follow: true }, callOf()))
      if (Buffer.from(chunk.data).toString().includes('up')) break
    const { State } = await engineJson<{ State: { Pid: number } }>(engine.socket, {
      method: 'GET',
      path: `${containerPath(ended.id)}/json`,
    })
    await engine.kill()
    process.kill(State.Pid, 'SIGTERM')
    await waitFor('the end of the command', () => !existsSync(`/proc/${State.Pid}`))
    await engine.start()
    const { exit, stdout } = { exit: await harness.exit(ended.id), stdout: await readAll(harness.provider, ended.id) }
    expect(exit).toMatchObject({
      code: 5,
      reason: 'exited with code 5; the end of stdout and stderr is missing, the engine was not there or has restarted since',
    })
    expect(stdout.stdout.toString()).toBe('up\n')
    expect((await harness.run(harness.command('sh', '-c', 'exit 6'))).exit).toMatchObject({
      code: 6,
      reason: 'exited with code 6',
    })
  })

  test('what an engine ends as it stops is never told as the end of its command, while it stops or afterwards', async () => {
    // It keeps the engine stopping for ten seconds: what ended before it is looked at meanwhile.
    const stubborn = await launched(harness.command('sh', '-c', 'trap "" TERM; echo up; while :; do sleep 1; done'))
    const long = await launched(harness.command('sh', '-c', 'echo up; exec sleep 1000'))
    const own = await launched(harness.command('sh', '-c', 'exit 143'))
    await harness.exit(own.id)
    const tags = { 'muster-owner': harness.owner, 'muster-provider': 'docker' }
    const told: string[] = []
    const note = (exit: WorkerExit | undefined): void => void (exit !== undefined && told.push(`${exit.code} ${exit.reason}`))
    for (const { id } of [stubborn, long])
      for await (const chunk of harness.provider.logs({ id }, { follow: true }, callOf()))
        if (Buffer.from(chunk.data).toString().includes('up')) break
    const watching = (async () => {
      for await (const { id, exit } of harness.provider.watch({ tags, limit: 500 }, callOf())) if (id === long.id) note(exit)
    })().catch(() => undefined)
    // Its own end, of before, is known as what it was.
    expect(await harness.observe(own.id)).toMatchObject({ exit: { code: 143 } })
    let over = false
    const looking = (async () => {
      while (!over) {
        const seen = await harness.provider.inspect([{ id: long.id }], callOf({ timeoutMs: 3_000 })).catch(() => [])
        note(seen[0]?.exit)
        // paced: many looks in the seconds that an engine takes to stop.
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    })()
    await engine.halt()
    over = true
    await Promise.all([looking, watching])
    await engine.start()
    note((await harness.provider.inspect([{ id: long.id }], callOf()))[0]?.exit)
    expect([...new Set(told)]).toEqual(['undefined unknown: the engine restarted; it says exited with code 143'])
  })

  test('an engine that stands still: calls end at their deadline, with an effect where one is possible', async () => {
    const spec = await launched(harness.hold())
    const pid = engine.pid() ?? 0
    process.kill(pid, 'SIGSTOP')
    try {
      // Its threads stop one by one; until the last has, an answer may still come.
      await waitFor('every thread to stand still', () => allStopped(pid))
      // The engine is silent for as long as it takes: only the deadline can end these. It leaves time to send what is asked.
      const calls = await Promise.allSettled([
        harness.provider.launch(harness.command('true'), callOf({ timeoutMs: 3_000 })),
        harness.provider.terminate({ id: spec.id }, { graceMs: 0, force: true, reason: 'test' }, callOf({ timeoutMs: 3_000 })),
        harness.provider.inspect([{ id: spec.id }], callOf({ timeoutMs: 3_000 })),
      ])
      expect(calls).toMatchObject([
        { status: 'rejected', reason: { code: 'deadline', effect: 'possible' } },
        { status: 'rejected', reason: { code: 'deadline', effect: 'possible' } },
        { status: 'rejected', reason: { code: 'deadline', effect: 'none' } },
      ])
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    await waitFor('what the engine still made', async () => {
      for (const name of await harness.left())
        await harness.provider.terminate(
          { id: name.slice('/muster-'.length) },
          { graceMs: 0, force: true, reason: 'test' },
          callOf(),
        )
      return (await harness.left()).length === 0
    })
  })
})

/** State `T` of proc(5), of each thread. */
async function allStopped(pid: number): Promise<boolean> {
  const threads = await readdir(`/proc/${pid}/task`)
  const states = await Promise.all(
    threads.map(async (thread) => /^State:\s+(\S)/m.exec(await readFile(`/proc/${pid}/task/${thread}/status`, 'utf8'))?.[1]),
  )
  return states.every((state) => state === 'T')
}

suiteWith(findStartDocker(), 'an engine with live-restore', (start) => {
  test('workers, their logs and their commands outlive it', async () => {
    const engine = await start({ args: ['--live-restore'] })
    try {
      const harness = await createHarness(engine.socket)
      const counting = harness.command('sh', '-c', 'i=0; while [ $i -lt 400 ]; do echo $i; sleep 0.02; i=$((i+1)); done; exit 4')
      await harness.provider.launch(counting, callOf())
      let log = ''
      let cursor: string | undefined
      const read = async (): Promise<void> => {
        const options = cursor === undefined ? { follow: true } : { follow: true, cursor }
        for await (const chunk of harness.provider.logs({ id: counting.id }, options, callOf())) {
          log += Buffer.from(chunk.data).toString()
          cursor = chunk.cursor
        }
      }
      const first = read()
      first.catch(() => {})
      await waitFor('some lines', () => log.split('\n').length > 50)
      await engine.kill()
      await expect(first).rejects.toMatchObject({ code: 'transient' })
      await engine.start()
      await read()
      expect(await harness.exit(counting.id)).toMatchObject({ code: 4 })
      expect(log).toBe(Array.from({ length: 400 }, (_, index) => `${index}\n`).join(''))
      await harness.clean()
    } finally {
      await engine.stop()
    }
    expect(await engine.traces()).toEqual([])
  })
})

suiteWith(findStartDocker(), 'an engine without docker-init', (start) => {
  test('says so, and holds and ends workers all the same', async () => {
    const engine = await start({ args: ['--init-path', '/nonexistent/docker-init'] })
    try {
      const harness = await createHarness(engine.socket)
      expect((await harness.provider.probe(callOf())).notes).toContain("no docker-init: a worker's command is process 1")
      expect(await harness.run(harness.command('sh', '-c', 'echo $$; exit 5'))).toMatchObject({
        exit: { code: 5 },
        stdout: Buffer.from('1\n'),
      })
      const held = harness.hold()
      await harness.provider.launch(held, callOf())
      expect(await harness.exec(held.id, ['echo', 'done'])).toMatchObject({ exit: { code: 0 }, stdout: 'done\n' })
      // It heeds the signal: its grace is longer than this test may take.
      await harness.gone(held.id, 600_000)
      await harness.clean()
    } finally {
      await engine.stop()
    }
  })
})
