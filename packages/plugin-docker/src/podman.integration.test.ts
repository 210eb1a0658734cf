import { describeProvider } from '@muster/core/testing'
import { findPodman } from '@muster/test/systems/podman'
import { suiteWith } from '@muster/test/systems/presence'
import { afterAll, describe, expect, it, test } from 'vitest'
import { dockerSetup, refused } from './conformance.test.helper.ts'
import { createHarness, readAll, tarOf } from './harness.test.helper.ts'

const beside = { name: 'beside', image: 'i' }
/** What podman does not keep is refused by its path. */
const refusals = {
  'mounts.volume': refused({ mounts: [{ target: '/v', source: { kind: 'volume', name: 'v' } }] }, 'mounts.volume'),
  'network.egress.restricted': refused({ network: { egress: 'restricted' } }, 'network.egress.restricted'),
  'network.allow': refused({ network: { egress: 'restricted', allow: ['127.0.0.1:9'] } }, 'network.egress.restricted'),
  services: refused({ services: [beside] }, 'services'),
}

const found = findPodman()
const engine = await found.system?.()
const setup =
  engine === undefined
    ? undefined
    : await dockerSetup(engine.socket, {
        inside: (command) => engine.inside(command),
        // `/` is not to be written, also by a root without capabilities.
        spec: { workdir: '/work' },
        fields: refusals,
        without: {
          oom: 'podman 4.3 says nothing of a kill for lack of memory under cgroup v1',
          lines: 'podman 4.3 ends each piece of a line that it read in pieces',
          signal: 'without an init a command is process 1, which no signal of its own ends',
        },
      })

suiteWith(found, 'the Docker provider, in its own process, on podman,', () => {
  if (setup === undefined || engine === undefined) return
  describeProvider('it', setup, { describe, it, afterAll })
  afterAll(async () => {
    await setup.stop()
    await engine.stop()
  })

  test('its service is killed and comes back: a worker goes on, and its end is known', async () => {
    const harness = await createHarness(engine.socket)
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
