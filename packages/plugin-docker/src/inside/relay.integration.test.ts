/** The way to a port through a program in the worker, on a real engine whose bridge is said to be out of reach. */
import { findDocker } from '@muster/test/systems/docker'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createEngine, type Engine } from '../client.ts'
import { callOf, createHarness, type Harness } from '../testing/harness.test.helper.ts'

suiteWith(await findDocker(), 'a relay in a worker of a real engine', (docker) => {
  let harness: Harness
  let engine: Engine
  beforeAll(async () => {
    harness = await createHarness(docker.socket)
    engine = { ...createEngine({ socketPath: docker.socket }), reach: undefined }
  })
  afterAll(async () => {
    engine.close()
    await harness.clean()
  })

  test('has all that is sent to the port, however many there are at once', async () => {
    const provider = harness.another(engine)
    const spec = harness.spec({
      work: { mode: 'command', command: ['sh', '-c', 'exec nc -ll -p 7000 -e wc -c'] },
      network: { egress: 'full' },
    })
    await harness.provider.launch(spec, callOf())
    const { id } = spec
    async function* input(): AsyncGenerator<Uint8Array> {
      for (let part = 0; part < 10; part++) yield Buffer.alloc(30_000)
    }
    const counted = async (): Promise<string> =>
      Buffer.concat(await Array.fromAsync(provider.forward({ id }, { port: 7000, input: input() }, callOf()))).toString()
    await waitFor('the server', counted)
    const seen: string[] = []
    for (let round = 0; round < 5; round++) seen.push(...(await Promise.all(Array.from({ length: 6 }, counted))))
    expect(new Set(seen)).toEqual(new Set(['300000\n']))
    await harness.gone(id, 0)
  })

  test('that is left early leaves no program behind, though the server never ends what it has begun', async () => {
    const provider = harness.another(engine)
    // It answers, and does not hear that the other side has ended.
    const server = 'nc -ll -p 7000 -e sh -c "echo here; exec sleep 1000"'
    const spec = harness.hold({ network: { egress: 'full' } })
    await harness.provider.launch(spec, callOf())
    const { id } = spec
    const serving = harness.exec(id, ['sh', '-c', server])
    serving.catch(() => {})
    const relays = async (): Promise<string> => (await harness.exec(id, ['sh', '-c', 'ps | grep -c "[n]c [0-9].* 7000"'])).stdout
    const held = Promise.withResolvers<void>()
    async function* input(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('x')
      await held.promise
    }
    const enter = async (): Promise<AsyncIterator<Uint8Array>> => {
      const chunks = provider.forward({ id }, { port: 7000, input: input() }, callOf())[Symbol.asyncIterator]()
      expect(Buffer.from((await chunks.next()).value as Uint8Array).toString()).toBe('here\n')
      return chunks
    }
    const [left, stays] = [await waitFor('the server', enter), await enter()]
    expect(await relays()).toBe('2\n')
    await left.return?.()
    await waitFor('the end of the relay', relays, { until: (count) => count === '1\n' })
    // Another one of the same port goes on, until it is left too.
    await stays.return?.()
    await waitFor('the end of the other', relays, { until: (count) => count === '0\n' })
    held.resolve()
    await harness.gone(id, 0)
  })
})
