import { findDocker } from '@muster/test/systems/docker'
import { engineJson } from '@muster/test/systems/engine'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { callOf, createHarness, type Harness } from '../testing/harness.test.helper.ts'

suiteWith(await findDocker(), 'workers that somebody ends beside Muster, on a real engine', (docker) => {
  let harness: Harness
  beforeAll(async () => {
    harness = await createHarness(docker.socket)
  })
  afterEach(() => harness.clean())
  afterAll(() => harness.clean())

  test.each([
    ['stop', { t: '10' }, 15],
    ['stop', { t: '0' }, 9],
    ['kill', {}, 9],
    ['kill', { signal: 'SIGTERM' }, 15],
  ])('%s %o: nobody can tell how the command would have ended', async (...[what, query, signal]) => {
    const spec = harness.command('sh', '-c', signal === 9 ? 'trap "" TERM; sleep 1000' : 'sleep 1000')
    await harness.provider.launch(spec, callOf())
    await engineJson(docker.socket, { method: 'POST', path: `/containers/muster-${spec.id}/${what}`, query })
    const exit = await harness.exit(spec.id)
    expect(exit.reason).toContain(`unknown: it was ended from outside by signal ${signal}`)
    expect(exit).not.toHaveProperty('code')
    expect(exit.at).toEqual(expect.any(String))
  })

  test.each([
    ['stop', { t: '10' }, 15],
    ['kill', { signal: 'SIGTERM' }, 15],
    ['kill', { signal: 'SIGINT' }, 2],
  ])(
    '%s %o of one that holds, which ends in order: it is told as ended from outside, not as its own end',
    async (...[what, query, signal]) => {
      const spec = harness.hold()
      await harness.provider.launch(spec, callOf())
      await engineJson(docker.socket, { method: 'POST', path: `/containers/muster-${spec.id}/${what}`, query })
      const exit = await harness.exit(spec.id)
      expect(exit.reason).toContain(`unknown: it was ended from outside by signal ${signal}`)
      expect(exit).not.toHaveProperty('code')
    },
  )

  test('one that holds and was told from inside is not said to be ended from outside', async () => {
    const spec = harness.hold()
    await harness.provider.launch(spec, callOf())
    await harness.exec(spec.id, ['kill', '-TERM', '1']).catch(() => undefined)
    expect(await harness.exit(spec.id)).toMatchObject({ code: 0, reason: 'exited with code 0' })
  })

  test('one that holds and that we end ourselves is not said to be ended from outside by whoever watches', async () => {
    const { provider, owner } = harness
    const abort = new AbortController()
    const told: string[] = []
    const watching = (async () => {
      const tags = { 'muster-owner': owner, 'muster-provider': 'docker' }
      for await (const { id, phase, exit } of provider.watch({ tags, limit: 500 }, callOf({ signal: abort.signal })))
        told.push(`${id} ${phase}${exit === undefined ? '' : ` ${exit.reason}`}`)
    })()
    // It is seen between its end and its removal, or not: several, so that one is.
    for (const spec of Array.from({ length: 5 }, () => harness.hold())) {
      await provider.launch(spec, callOf())
      await waitFor('the watch', () => told.includes(`${spec.id} running`))
      await harness.gone(spec.id, 10_000)
    }
    abort.abort()
    await expect(watching).rejects.toMatchObject({ code: 'cancelled' })
    expect(told.filter((one) => one.includes('outside'))).toEqual([])
  })

  test('a status of its own is its own, also after another signal was sent', async () => {
    const spec = harness.command('sh', '-c', 'trap "" USR1; trap "exit 143" HUP; while :; do sleep 0.05; done')
    await harness.provider.launch(spec, callOf())
    const kill = (signal: string) =>
      engineJson(docker.socket, { method: 'POST', path: `/containers/muster-${spec.id}/kill`, query: { signal } })
    await kill('SIGUSR1')
    await kill('SIGHUP')
    expect(await harness.exit(spec.id)).toMatchObject({ code: 143 })
  })
})
