/** Names that several processes give back to a worker's container at the same time, on a real engine. */
import { findDocker } from '@muster/test/systems/docker'
import { engineJson } from '@muster/test/systems/engine'
import { suiteWith } from '@muster/test/systems/presence'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createEngine } from '../client.ts'
import { busybox, callOf, createHarness, type Harness } from '../testing/harness.test.helper.ts'
import type { DockerProvider } from '../provider.ts'

suiteWith(await findDocker(), 'a container that was renamed, on a real engine', (docker) => {
  let harness: Harness
  beforeAll(async () => {
    harness = await createHarness(docker.socket)
  })
  afterAll(() => harness.clean())

  const launched = async (): Promise<{ id: string }> => {
    const spec = harness.hold()
    await harness.provider.launch(spec, callOf())
    return spec
  }

  test('two processes that give a name back at once both find the worker; a name that another has is left', async () => {
    const [twice, taken] = [await launched(), await launched()]
    const rename = (id: string): Promise<unknown> =>
      engineJson(docker.socket, { method: 'POST', path: `/containers/muster-${id}/rename`, query: { name: `elsewhere-${id}` } })
    /** Processes whose renaming waits until all of them are at it, and what else comes before. */
    const processes = (
      count: number,
      before: () => Promise<unknown> = () => Promise.resolve(),
    ): [DockerProvider[], () => void] => {
      const arrived = Promise.withResolvers<void>()
      let left = count
      const engines = Array.from({ length: count }, () => createEngine({ socketPath: docker.socket }))
      const providers = engines.map((engine) =>
        harness.another({
          ...engine,
          async json(request) {
            if (request.path.endsWith('/rename')) {
              if (--left === 0) before().then(() => arrived.resolve(), arrived.reject)
              await arrived.promise
            }
            return engine.json(request)
          },
        }),
      )
      return [providers, () => engines.forEach((engine) => engine.close())]
    }
    await rename(twice.id)
    const [both, close] = processes(2)
    const seen = await Promise.all(both.map((provider) => provider.inspect([{ id: twice.id }], callOf())))
    expect(seen).toMatchObject([[{ id: twice.id, phase: 'running' }], [{ id: twice.id, phase: 'running' }]])
    close()
    await rename(taken.id)
    const stranger = { Image: busybox, Cmd: ['true'] }
    const [[late], end] = processes(1, () =>
      engineJson(docker.socket, {
        method: 'POST',
        path: '/containers/create',
        query: { name: `muster-${taken.id}` },
        body: stranger,
      }),
    )
    // Another one's container has its name: the worker is not to be had by it, and nothing is done to either.
    expect(await late?.inspect([{ id: taken.id }], callOf())).toEqual([])
    for (const [name, state] of [
      [`muster-${taken.id}`, 'created'],
      [`elsewhere-${taken.id}`, 'running'],
    ])
      expect(await engineJson(docker.socket, { path: `/containers/${name}/json` })).toMatchObject({ State: { Status: state } })
    await engineJson(docker.socket, { method: 'DELETE', path: `/containers/muster-${taken.id}` })
    expect(await late?.inspect([{ id: taken.id }], callOf())).toMatchObject([{ id: taken.id, phase: 'running' }])
    end()
    for (const { id } of [twice, taken]) await harness.gone(id, 0)
  })
})
