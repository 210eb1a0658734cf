import type { LaunchSpec } from '@muster/core'
import { findDocker } from '@muster/test/systems/docker'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import manifest from '../../muster-plugin.json' with { type: 'json' }
import { callOf, createHarness, type Harness } from '../testing/harness.test.helper.ts'
import { optionsOf, type PluginProcess, startPlugin } from '../testing/process.test.helper.ts'
import { type EngineProxy, type Moment, startEngineProxy } from '../testing/proxy.test.helper.ts'

const moments: readonly Moment[] = ['before', 'during', 'after']
/** A death at a question is one between two effects, whenever it comes. */
const momentsOf = (request: string): readonly Moment[] => (/^(?:GET|HEAD) /.test(request) ? ['after'] : moments)

suiteWith(await findDocker(), 'the plugin is killed at every request to a real engine', (docker) => {
  let harness: Harness
  let proxy: EngineProxy
  beforeAll(async () => {
    harness = await createHarness(docker.socket)
    proxy = await startEngineProxy(docker.socket)
  })
  afterEach(() => harness.clean())
  afterAll(async () => {
    await harness.clean()
    await proxy.stop()
  })

  const start = (): Promise<PluginProcess> => startPlugin({ socket: proxy.socket }, { owner: harness.owner, provider: 'docker' })

  /** Runs `work` in a plugin process that dies at the given moment of the request of that number. Answers the request. */
  async function killedAt(index: number, moment: Moment, work: (plugin: PluginProcess) => Promise<unknown>): Promise<string> {
    const plugin = await start()
    // What one asks once in a life is not counted: version and facts.
    await plugin.worker.headroom(optionsOf())
    const first = proxy.requests.length
    const { promise: dead, resolve } = Promise.withResolvers<void>()
    proxy.at = async (seen, at) => {
      if (seen !== moment || at - first !== index) return
      await plugin.kill()
      resolve()
    }
    await Promise.all([dead, expect(work(plugin)).rejects.toMatchObject({ effect: 'possible' })])
    proxy.at = () => {}
    return `${moment} ${proxy.requests[first + index]}`
  }

  /** The requests of one undisturbed `work`. */
  async function requestsOf(work: (plugin: PluginProcess) => Promise<unknown>): Promise<string[]> {
    const plugin = await start()
    await plugin.worker.headroom(optionsOf())
    const first = proxy.requests.length
    await work(plugin)
    const seen = proxy.requests.slice(first)
    await plugin.kill()
    return seen
  }

  test.each<[string, () => LaunchSpec]>([
    ['a command', () => harness.command('sleep', '1000')],
    [
      'a holding worker with a user, files and a folder',
      () =>
        harness.hold({
          security: { user: 'user' },
          workdir: '/w',
          files: [{ path: 'a', base64: Buffer.from('a').toString('base64') }],
        }),
    ],
  ])('launch of %s', async (_name, make) => {
    const requests = await requestsOf((plugin) => plugin.worker.launch(make(), optionsOf()))
    await harness.clean()
    expect(requests).toContain('POST /containers/create')
    const stages: string[] = []
    for (const [index, request] of requests.entries())
      for (const moment of momentsOf(request)) {
        const spec = make()
        stages.push(await killedAt(index, moment, (plugin) => plugin.worker.launch(spec, optionsOf())))
        const tags = { 'muster-owner': harness.owner, 'muster-provider': 'docker' }
        const { workers } = await harness.provider.list({ tags, limit: 500 }, callOf())
        expect(workers.length).toBeLessThanOrEqual(1)
        // A new process repeats the same spec: one worker, and it works.
        await harness.another().launch(spec, callOf())
        expect(await harness.left()).toEqual([`/muster-${spec.id}`])
        expect(await harness.phase(spec.id)).toBe('running')
        if (spec.files !== undefined) expect((await harness.exec(spec.id, ['cat', 'a'])).stdout).toBe('a')
        expect(
          await harness.another().terminate({ id: spec.id }, { graceMs: 0, force: false, reason: 'test' }, callOf()),
        ).toEqual({ state: 'gone' })
        expect(await harness.left()).toEqual([])
      }
    expect(stages).toEqual(requests.flatMap((request) => momentsOf(request).map((moment) => `${moment} ${request}`)))
  })

  test('launch, and then terminate: what the engine was still making shows within the declared time, and goes', async () => {
    const ids: string[] = []
    for (const moment of moments) {
      const spec = harness.command('sleep', '1000')
      ids.push(spec.id)
      await killedAt(0, moment, (plugin) => plugin.worker.launch(spec, optionsOf()))
    }
    const shown = Date.now() + manifest.capabilities.visibility.launchMs
    const end = (id: string) => harness.provider.terminate({ id }, { graceMs: 0, force: false, reason: 'test' }, callOf())
    await waitFor('the declared time', async () => {
      for (const id of ids) expect(await end(id)).toEqual({ state: 'gone' })
      return Date.now() > shown
    })
    expect(await harness.left()).toEqual([])
  })

  test.each<[string, string, number]>([
    ['a worker that heeds the signal', 'trap "exit 0" TERM; while :; do sleep 0.05; done', 20_000],
    ['a worker that does not', 'trap "" TERM; while :; do sleep 0.05; done', 300],
    ['a worker, at once', 'sleep 1000', 0],
  ])('terminate of %s', async (...[, script, graceMs]) => {
    const how = { graceMs, force: false, reason: 'test' }
    const make = async (): Promise<LaunchSpec> => {
      const spec = harness.command('sh', '-c', script)
      await harness.provider.launch(spec, callOf())
      return spec
    }
    const { id } = await make()
    const requests = await requestsOf((plugin) => plugin.worker.terminate({ id }, how, optionsOf()))
    expect(requests.at(-1)).toBe('DELETE /containers/ID')
    expect(await harness.left()).toEqual([])
    for (const [index, request] of requests.entries())
      for (const moment of momentsOf(request)) {
        const spec = await make()
        await killedAt(index, moment, (plugin) => plugin.worker.terminate({ id: spec.id }, how, optionsOf()))
        const again = harness.another()
        await waitFor('the worker to be gone', () => again.terminate({ id: spec.id }, how, callOf()), {
          until: ({ state }) => state === 'gone',
        })
        expect(await harness.left()).toEqual([])
      }
  })

  test('killed right after acceptance, the worker runs on and its output and exit are right', async () => {
    const plugin = await start()
    const spec = harness.command('sh', '-c', 'sleep 0.5; echo done; exit 7')
    await plugin.worker.launch(spec, optionsOf())
    await plugin.kill()
    let text = ''
    for await (const { data } of harness.provider.logs({ id: spec.id }, { follow: true }, callOf()))
      text += Buffer.from(data).toString()
    expect(text).toBe('done\n')
    expect(await harness.exit(spec.id)).toMatchObject({ code: 7 })
  })

  test('killed in the middle of logs and of a command, both go on where they were', async () => {
    const logging = harness.command('sh', '-c', 'i=0; while [ $i -lt 300 ]; do echo $i; sleep 0.01; i=$((i+1)); done')
    const holding = harness.hold()
    await Promise.all([harness.provider.launch(logging, callOf()), harness.provider.launch(holding, callOf())])
    const exec = {
      id: `x${holding.id.slice(1)}`,
      command: ['sh', '-c', 'i=0; while [ $i -lt 300 ]; do echo $i; sleep 0.01; i=$((i+1)); done; exit 8'],
      stdin: false,
    }
    const all = Array.from({ length: 300 }, (_, index) => `${index}\n`).join('')
    let [log, output] = ['', '']
    let cursor: string | undefined
    for (let kills = 0; kills < 3; kills++) {
      const plugin = await start()
      const session = await plugin.worker.exec(
        { id: holding.id },
        { ...exec, from: { stdout: output.length, stderr: 0 } },
        optionsOf(),
      )
      session.exit.catch(() => {})
      const readLog = (async () => {
        for await (const chunk of plugin.worker.logs(
          { id: logging.id },
          { follow: true, ...(cursor === undefined ? {} : { cursor }) },
          optionsOf(),
        )) {
          log += Buffer.from(chunk.data).toString()
          cursor = chunk.cursor
        }
      })()
      const readExec = (async () => {
        for await (const { data } of session.output) output += Buffer.from(data).toString()
      })()
      const ended = Promise.allSettled([readLog, readExec])
      const [seenLog, seenOutput] = [log.length, output.length]
      await waitFor('some of both, or the end of them', () => {
        const [more, moreOutput] = [log.length > seenLog + 50, output.length > seenOutput + 50]
        return (more || log === all) && (moreOutput || output === all)
      })
      await plugin.kill()
      await ended
    }
    const session = await harness.provider.exec(
      { id: holding.id },
      { ...exec, from: { stdout: output.length, stderr: 0 } },
      callOf(),
    )
    for await (const { data } of session.output) output += Buffer.from(data).toString()
    for await (const { data } of harness.provider.logs(
      { id: logging.id },
      { follow: true, ...(cursor === undefined ? {} : { cursor }) },
      callOf(),
    ))
      log += Buffer.from(data).toString()
    expect(output).toBe(all)
    expect(log).toBe(all)
    expect(await session.exit).toMatchObject({ code: 8 })
    // Nothing of the connections that were cut stays in the worker.
    const runners = async (): Promise<string> =>
      (await harness.exec(holding.id, ['sh', '-c', 'ps -o args | grep -c "[m]uster-runner exec"'])).stdout
    expect(await waitFor('the end of the cut connections', runners, { until: (count) => count.trim() === '1' })).toBe('1\n')
  })
})
