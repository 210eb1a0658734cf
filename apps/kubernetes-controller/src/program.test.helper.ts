/** Two processes of the program beside one daemon, as a user starts them: the tests of {@link programOnCluster}. */
import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { KubernetesCluster } from '@muster/test/systems/kubernetes'
import { findPrograms } from '@muster/test/systems/kubernetes/programs'
import { type RunningProcess, startProcess } from '@muster/test/systems/process'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { API_VERSION } from './group.ts'
import type { WorkerPoolObject } from './objects.ts'
import { openSite, type Site } from './place.test.helper.ts'

const namespace = 'program'
const LONG_MS = 180_000

export function programOnCluster(clusterOf: () => KubernetesCluster): void {
  let cluster: KubernetesCluster
  let site: Site
  const started: RunningProcess[] = []

  beforeAll(async () => {
    cluster = clusterOf()
    site = await openSite(cluster, namespace, 'controller')
    started.push(await program(), await program())
  })
  afterAll(async () => {
    for (const one of started) await one.stop()
    // Without its pool: else it makes workers as long as it runs.
    if (site !== undefined) await copyFile(site.base, site.daemon.config).then(() => site.client.apply())
    await site?.[Symbol.asyncDispose]()
  })

  const program = (): Promise<RunningProcess> =>
    startProcess([
      process.execPath,
      ...['--conditions=@muster/source', join(import.meta.dirname, 'cli.ts'), 'controller'],
      ...['--base', site.base, '-c', site.daemon.config, '--kubeconfig', site.kubeconfig, '-n', namespace],
    ])
  /** How often it was its turn. */
  const turns = (one: RunningProcess): number => one.stderr().match(/^muster-kubernetes: works$/gm)?.length ?? 0
  const all = (): number => started.reduce((sum, one) => sum + turns(one), 0)
  const holder = (): Promise<string> =>
    site.kubectl(['get', 'lease', 'muster-kubernetes-muster', '-o', 'jsonpath={.spec.holderIdentity}'])
  /** The one that has the lease, and the other one. */
  const roles = async (): Promise<[RunningProcess, RunningProcess]> => {
    const name = await waitFor('somebody who has the lease', holder, { until: (text) => text !== '' })
    const has = started.find((one) => one.stderr().includes(`as ${name}\n`))
    const other = started.find((one) => one !== has && one.running())
    if (has === undefined || other === undefined) throw new Error(`${name} is none of these`)
    return [has, other]
  }
  const warm = (count: number): Promise<string> => site.kubectl(['scale', 'workerpool/ci', `--replicas=${count}`])
  const idle = (count: number): Promise<WorkerPoolObject> =>
    site.object<WorkerPoolObject>('workerpool/ci', ({ status }) => status?.idle === count)
  const ready = (status: string): Promise<WorkerPoolObject> =>
    site.object<WorkerPoolObject>(
      'workerpool/ci',
      ({ status: told }) => told?.conditions?.find(({ type }) => type === 'Ready')?.status === status,
    )

  test(
    'of two one works: what is applied is a pool, and kubectl get -w shows its workers come and be taken',
    async () => {
      await waitFor('one to work', () => all() === 1)
      const programs = await findPrograms()
      if (typeof programs === 'string') throw new Error(programs)
      const access = ['--kubeconfig', cluster.kubeconfig, '-n', namespace] as const
      await using watch = await startProcess([programs.kubelab, 'kubectl', ...access, 'get', 'workers', '--watch'])
      const spec = { placement: ['none'], worker: { work: 'hold' }, scale: { max: 4, warm: 1, idle: '1s' } }
      await site.kubectl(['apply', '-f', '-'], { apiVersion: API_VERSION, kind: 'WorkerPool', metadata: { name: 'ci' }, spec })
      await idle(1)
      await waitFor('it in the watch', () => /^w\w{26} +ci +idle +none/m.test(watch.stdout()))
      const { id } = await site.client.leases.create({ pool: 'ci' })
      await waitFor('its lease in the watch', () => /^w\w{26} +ci +leased +none/m.test(watch.stdout()))
      await site.client.leases.release(id)
      expect(all()).toBe(1)
    },
    LONG_MS,
  )

  test(
    'the one that works is killed: the other takes over, and leases do not notice',
    async () => {
      const { id } = await site.client.leases.create({ pool: 'ci' })
      await site.client.leases.wait(id)
      const [has, other] = await roles()
      expect([turns(has), turns(other)]).toEqual([1, 0])
      has.kill('SIGKILL')
      await waitFor('the other to work', () => turns(other) === 1)
      await warm(2)
      await idle(2)
      expect((await site.client.leases.get(id)).lease.state).toBe('active')
      await site.client.leases.release(id)
      started.push(await program())
    },
    LONG_MS,
  )

  test(
    'a daemon that is away is told of each pool, and taken up when it is there again',
    async () => {
      await site.daemon.kill()
      const told = await ready('Unknown')
      expect(told.status?.conditions?.find(({ type }) => type === 'Ready')?.message).not.toBe('')
      await site.daemon.start()
      await ready('True')
      await warm(1)
      await idle(1)
    },
    LONG_MS,
  )

  test(
    'without an API server nobody works; with one again, one does',
    async () => {
      const before = all()
      const [has] = await roles()
      await cluster.kill('apiserver')
      await waitFor('its turn to be over', () => has.stderr().includes('could not be renewed in time'))
      expect(all()).toBe(before)
      await cluster.start('apiserver')
      await waitFor('the next turn', () => all() === before + 1)
      await waitFor('the server to take it', () => warm(3))
      await idle(3)
    },
    LONG_MS,
  )

  test(
    'one that is told to end gives the lease away at once',
    async () => {
      const [has, other] = await roles()
      const before = turns(other)
      has.kill('SIGTERM')
      await has.expectExit(0)
      await waitFor('the other to work', () => turns(other) === before + 1)
      other.kill('SIGTERM')
      await other.expectExit(0)
      expect(await holder()).toBe('')
    },
    LONG_MS,
  )
}
