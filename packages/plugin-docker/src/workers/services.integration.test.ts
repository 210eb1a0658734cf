import type { LaunchSpec, ServiceSpec } from '@muster/core'
import { findDocker } from '@muster/test/systems/docker'
import { askEngine } from '@muster/test/systems/engine'
import { ensureImage } from '@muster/test/systems/images'
import { inventoryOf } from '@muster/test/systems/inventory'
import { suiteWith } from '@muster/test/systems/presence'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { busybox, callOf, createHarness, type Harness } from '../testing/harness.test.helper.ts'
import { rulesOf } from '../rules.ts'

suiteWith(await findDocker(), 'a worker on a real engine', (docker) => {
  let harness: Harness
  let image: string
  beforeAll(async () => {
    image = await ensureImage(docker.socket, 'node')
    const firewall = { image: await ensureImage(docker.socket, 'firewall') }
    harness = await createHarness(docker.socket, { rules: rulesOf({ firewall }, docker.socket) })
  }, 120_000)
  afterAll(() => harness.clean())

  const of = async (id: string): Promise<string[]> => (await inventoryOf(docker.socket)).filter((line) => line.includes(id))
  const node = (parts: Partial<LaunchSpec>, work: LaunchSpec['work']): LaunchSpec => harness.spec({ image, work, ...parts })

  // At once: most of their time is the engine's.
  describe.concurrent('services', () => {
    const check = { kind: 'exec' as const, command: ['test', '-e', '/tmp/ready'] }
    const readiness = { check, intervalMs: 100, timeoutMs: 5_000, failures: 100 }
    const database: ServiceSpec = {
      name: 'db',
      image: busybox,
      env: { WORD: 'stored' },
      command: ['sh', '-c', 'sleep 0.3; touch /tmp/ready; while :; do echo "$WORD" | nc -l -p 5432; done'],
      readiness,
    }
    const ask = (host: string): string =>
      `const s = require('node:net').connect(5432, '${host}'); s.on('error', (e) => console.log(e.code)); s.pipe(process.stdout)`
    const queue = (): ServiceSpec => ({
      name: 'queue',
      image,
      // It needs the first one when it starts.
      command: [
        'node',
        '-e',
        `${ask('db')}; s.on('end', () => { require('node:fs').writeFileSync('/tmp/ready', ''); setTimeout(() => {}, 1e6) })`,
      ],
      readiness,
    })

    test.each(['full', 'none', 'restricted'] as const)(
      'stand in their order before the job, are reached by name with egress %s, and go with the worker',
      async (egress) => {
        const spec = node(
          { network: { egress }, services: [database, queue()] },
          { mode: 'command', command: ['node', '-e', ask('db')] },
        )
        const { exit, stdout } = await harness.run(spec)
        expect({ code: exit.code, stdout: stdout.toString() }).toEqual({ code: 0, stdout: 'stored\n' })
        const names = (await of(spec.id)).map((line) => line.split(' ')[2]?.replace(`muster-${spec.id}`, ''))
        expect(names).toEqual(expect.arrayContaining(['', '-s-db', '-s-queue', '-net']))
        expect((await harness.provider.list({ tags: spec.tags, limit: 500 }, callOf())).workers.map(({ id }) => id)).toContain(
          spec.id,
        )
        await harness.gone(spec.id, 0)
        expect(await of(spec.id)).toEqual([])
      },
    )

    test.each(['none', 'restricted'] as const)(
      'with egress %s the machine is not reached where the services are',
      async (egress) => {
        const own = `Object.values(require('node:os').networkInterfaces()).flat().filter((a) => a.family === 'IPv4' && !a.internal)`
        // The first address of a network is its bridge's, if that has one; a closed port of a machine that is there answers.
        const script = `Promise.all(${own}.map(({ address }) => new Promise((done) => {
        const socket = require('node:net').connect({ host: address.replace(/[0-9]+$/, '1'), port: 9, timeout: 5000 })
        socket.on('connect', () => done('there')).on('error', (e) => done(e.code)).on('timeout', () => done('silent'))
      }))).then((all) => { console.log(JSON.stringify(all)); process.exit() })`
        const beside = { name: 'beside', image: busybox, command: ['sleep', '1000'] }
        const spec = node({ network: { egress }, services: [beside] }, { mode: 'command', command: ['node', '-e', script] })
        const { stdout } = await harness.run(spec)
        const all = JSON.parse(stdout.toString()) as string[]
        // Rules refuse the way out by an answer of their own, before anything is sent.
        const [refused, others] = [all.filter((word) => word === 'ECONNREFUSED'), all.filter((word) => word !== 'ECONNREFUSED')]
        expect({ all, refused: refused.length }).toEqual({ all, refused: egress === 'none' ? 0 : 1 })
        for (const word of others) expect(['EHOSTUNREACH', 'silent', 'ETIMEDOUT']).toContain(word)
        expect(others).toHaveLength(1)
        await harness.gone(spec.id, 0)
      },
    )

    test('with a port or a page to look at are ready when that answers', async () => {
      const look = { intervalMs: 100, timeoutMs: 2_000, failures: 100 }
      const page = 'sleep 0.3; mkdir /tmp/w; echo yes >/tmp/w/index.html; httpd -p 8080 -h /tmp/w; touch /tmp/up; sleep 1000'
      const spec = harness.hold({
        services: [
          {
            ...{ name: 'port', image: busybox, command: ['sh', '-c', 'sleep 0.3; touch /tmp/up; while :; do nc -l -p 70; done'] },
            readiness: { ...look, check: { kind: 'tcp', port: 70 } },
          },
          {
            ...{ name: 'page', image: busybox, command: ['sh', '-c', page] },
            readiness: { ...look, check: { kind: 'http', port: 8080, path: '/' } },
          },
        ],
      })
      await harness.provider.launch(spec, callOf())
      for (const name of ['port', 'page']) {
        const { status } = await askEngine(docker.socket, {
          method: 'HEAD',
          path: `/containers/muster-${spec.id}-s-${name}/archive`,
          query: { path: '/tmp/up' },
        })
        expect({ name, status }).toEqual({ name, status: 200 })
      }
      await harness.gone(spec.id, 0)
    })

    test.each<[string, ServiceSpec, string]>([
      ['that ends', { name: 'a', image: busybox, command: ['sh', '-c', 'exit 3'], readiness }, 'services.1'],
      [
        'that does not get ready',
        { name: 'a', image: busybox, command: ['sleep', '1000'], readiness: { ...readiness, failures: 2 } },
        'services.1.readiness',
      ],
    ])('one %s fails the launch, with nothing left', async (...[, service, path]) => {
      const spec = harness.hold({ services: [database, service] })
      await expect(harness.provider.launch(spec, callOf())).rejects.toMatchObject({ code: 'invalid-spec', path, effect: 'none' })
      expect(await of(spec.id)).toEqual([])
    })
  })
})
