/** What a launch asks of an engine, and where a worker's runner finds its folder, whoever its user is. */
import type { LaunchSpec } from '@muster/core'
import { findDocker } from '@muster/test/systems/docker'
import { suiteWith } from '@muster/test/systems/presence'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createEngine, type Engine } from '../client.ts'
import { callOf, createHarness, execId, type Harness } from '../testing/harness.test.helper.ts'
import type { DockerProvider } from '../provider.ts'

suiteWith(await findDocker(), "the runner's folder on a real engine", (docker) => {
  let harness: Harness
  let engine: Engine
  let provider: DockerProvider
  let asked: string[] = []
  beforeAll(async () => {
    harness = await createHarness(docker.socket)
    const inner = createEngine({ socketPath: docker.socket })
    const count = ({ method, path }: { method: string; path: string }): void => {
      asked.push(`${method} ${path.replace(/^\/containers\/muster-w\w+/, '/containers/ID')}`)
    }
    engine = {
      ...inner,
      json: (request) => (count(request), inner.json(request)),
      stream: (request) => (count(request), inner.stream(request)),
    }
    provider = harness.another(engine)
  })
  afterAll(async () => {
    engine.close()
    await harness.clean()
  })

  const launched = async (spec: LaunchSpec): Promise<string[]> => {
    asked = []
    await provider.launch(spec, callOf())
    return asked
  }
  const bare = ['POST /containers/create', 'GET /containers/ID/json', 'POST /containers/ID/start']
  const put = ['PUT /containers/ID/archive', 'GET /containers/ID/json']
  const [created = '', ...started] = bare
  const withPut = [created, ...started.slice(0, 1), ...put, ...started.slice(1)]

  test.each<[string, Partial<LaunchSpec>, readonly string[]]>([
    ["root's own `/`", {}, bare],
    ['a read-only root', { security: { readOnlyRoot: true } }, bare],
    ['a user by number', { security: { user: '1000' } }, withPut],
    ['a user by name under a read-only root', { security: { user: 'user', readOnlyRoot: true } }, withPut],
  ])('with %s: a launch asks no more than it must, and all users have it', async (_name, parts, expected) => {
    // What is learnt of an image is learnt once.
    await launched(harness.hold(parts))
    const spec = harness.hold(parts)
    expect(await launched(spec)).toEqual(expected)
    const command = ['sh', '-c', 'id -u; exit 3']
    const users = ['4321', '0', undefined].map(async (user) => {
      const id = execId()
      const run = await harness.exec(spec.id, command, { id, ...(user === undefined ? {} : { user }) })
      const state = await harness.provider.execState({ id: spec.id }, id, callOf())
      return { user, said: run.stdout, code: run.exit.code, state: state.state }
    })
    const own = parts.security?.user === undefined ? '0' : '1000'
    expect(await Promise.all(users)).toEqual(
      ['4321', '0', undefined].map((user) => ({ user, said: `${user ?? own}\n`, code: 3, state: 'exited' })),
    )
  })
})
