import { describeProvider } from '@muster/core/testing'
import { engineJson } from '@muster/test/systems/engine'
import { findPodman } from '@muster/test/systems/podman'
import { suiteWith } from '@muster/test/systems/presence'
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest'
import { dockerSetup, refused } from './testing/conformance.test.helper.ts'
import { createHarness, type Harness, readAll, tarOf } from './testing/harness.test.helper.ts'
import { excuses, fieldRefusals, type Refusal, settingRefusals } from './testing/podman.test.helper.ts'

const found = findPodman()
const engine = await found.system?.()
const refusals = Object.entries(fieldRefusals).map(([field, { parts, path }]) => [field, refused(parts, path)] as const)
const setup =
  engine === undefined
    ? undefined
    : await dockerSetup(engine.socket, {
        inside: (command) => engine.inside(command),
        // `/` is not to be written, also by a root without capabilities.
        spec: { workdir: '/work' },
        fields: Object.fromEntries(refusals),
        without: excuses,
      })

suiteWith(found, 'the Docker provider, in its own process, on podman,', () => {
  if (setup === undefined || engine === undefined) return
  describeProvider('it', setup, { describe, it, afterAll })
  let harness: Harness
  beforeAll(async () => {
    harness = await createHarness(engine.socket)
  })
  afterAll(async () => {
    await harness.clean()
    await setup.stop()
    await engine.stop()
  })

  test.each(Object.entries(settingRefusals))('%s is refused by name, with nothing left', async (...[, given]) => {
    const { parts, path }: Refusal = given
    const refusal = { code: 'unsupported', path, effect: 'none' }
    await expect(harness.provider.launch(harness.hold(parts), harness.call())).rejects.toMatchObject(refusal)
    expect(await harness.left()).toEqual([])
  })

  test('its `/` is closed to a root without capabilities, whose runner has its folder all the same; its logs have a driver of its own', async () => {
    const spec = harness.hold()
    await harness.provider.launch(spec, harness.call())
    const { stdout } = await harness.exec(spec.id, ['sh', '-c', 'mkdir /made 2>/dev/null || stat -c "%a closed" /'])
    expect(stdout).toBe('555 closed\n')
    expect((await harness.exec(spec.id, ['id', '-u'], { user: '1000' })).stdout).toBe('1000\n')
    const { Plugins } = await engineJson<{ Plugins: { Log: string[] } }>(engine.socket, { path: '/info' })
    expect(Plugins.Log.filter((name) => name === 'local' || name === 'k8s-file')).toEqual(['k8s-file'])
    await harness.gone(spec.id, 0)
  })

  test('its service is killed and comes back: a worker goes on, and its end is known', async () => {
    expect((await harness.provider.probe(harness.call())).notes).toEqual(["no docker-init: a worker's command is process 1"])
    const spec = harness.command('sh', '-c', 'echo one; until [ -e /go ]; do sleep 0.1; done; echo two; exit 4')
    await harness.provider.launch(spec, harness.call())
    await engine.restart()
    expect(await harness.phase(spec.id)).toBe('running')
    await harness.provider.copyIn({ id: spec.id }, { path: '/', tar: tarOf('go') }, harness.call())
    const { stdout } = await readAll(harness.provider, spec.id)
    expect([stdout.toString(), (await harness.exit(spec.id)).code]).toEqual(['one\ntwo\n', 4])
    await harness.gone(spec.id, 0)
  })
})
