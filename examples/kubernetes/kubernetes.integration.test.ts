/** The example as its README has it, on a cluster of the tests and with images of this machine instead of a registry's. */
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findDocker } from '@muster/test/systems/docker'
import { ensureImage, saveImages, TEST_IMAGES } from '@muster/test/systems/images'
import { findStartKubernetes, type KubernetesCluster } from '@muster/test/systems/kubernetes'
import { findPrograms } from '@muster/test/systems/kubernetes/programs'
import { type MusterDaemon, type MusterOptions, startMuster } from '@muster/test/systems/muster'
import { findPostgres } from '@muster/test/systems/postgres'
import { suiteWith } from '@muster/test/systems/presence'
import { runProcess } from '@muster/test/systems/process'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parse } from 'yaml'
import { expectPassed, expectPlanted, type Stock, stockIn } from '../docker/stock.test.helper.ts'

const here = import.meta.dirname
const root = join(here, '../..')
const clusters = await findStartKubernetes()

interface Pod {
  status: { initContainerStatuses?: { name: string; started?: boolean }[]; conditions?: { type: string; status: string }[] }
}

suiteWith(await findDocker(), 'images of an engine', ({ socket }) => {
  suiteWith(findPostgres(), 'and of a database', () => {
    suiteWith(clusters, 'in the example of Kubernetes pools', (start) => {
      let folder: TempFolder
      let cluster: KubernetesCluster
      let daemon: MusterDaemon
      let stock: Stock
      const out = (): string => join(folder.path, 'out')

      beforeAll(async () => {
        for (const image of ['node', 'postgres'] as const) await ensureImage(socket, image)
        folder = await tempFolder('pods')
        cluster = await start()
        const archive = join(folder.path, 'images.tar')
        await saveImages(socket, [TEST_IMAGES.node, TEST_IMAGES.postgres], archive)
        await cluster.importImages(archive)
        for (const name of ['docker', 'kubernetes'])
          await cp(join(here, '..', name), join(folder.path, 'examples', name), { recursive: true })
        stock = await stockIn(join(folder.path, 'examples/docker'), out())
        await kubectl('apply', '-f', own('cluster.yaml'), '-f', join(root, 'packages/plugin-kubernetes/role.yaml'))
        await writeFile(own('kubeconfig'), await access(), { mode: 0o600 })
        await change('muster.yaml', (text) =>
          text
            .replace('/etc/muster/kubeconfig', own('kubeconfig'))
            .replaceAll('image: node:26', `image: ${TEST_IMAGES.node}`)
            .replace('image: postgres:18', `image: ${TEST_IMAGES.postgres}`),
        )
        await change('plugins.json', (text) => text.replace('../../packages', join(root, 'packages')))
        const { providers, pools } = parse(await readFile(own('muster.yaml'), 'utf8')) as MusterOptions
        daemon = await startMuster({ providers, pools })
      }, 300_000)
      afterAll(async () => {
        await daemon?.[Symbol.asyncDispose]()
        await cluster?.stop()
        await folder?.remove()
      })

      const own = (name: string): string => join(folder.path, 'examples/kubernetes', name)
      async function change(name: string, how: (text: string) => string): Promise<void> {
        await writeFile(own(name), how(await readFile(own(name), 'utf8')))
      }
      async function kubectl(...args: string[]): Promise<string> {
        const { code, stdout, stderr } = await cluster.kubectl(args)
        expect({ args, code, stderr: code === 0 ? '' : stderr }).toEqual({ args, code: 0, stderr: '' })
        return stdout
      }
      /** What the example's script prints to somebody whose kubectl speaks to the cluster. */
      async function access(): Promise<string> {
        const programs = await findPrograms()
        if (typeof programs === 'string') throw new Error(`the cluster's programs are ${programs}`)
        await writeFile(join(folder.path, 'kubectl'), `#!/bin/sh\nexec ${programs.kubelab} kubectl "$@"\n`, { mode: 0o700 })
        const env = { ...process.env, KUBECONFIG: cluster.kubeconfig, PATH: `${folder.path}:${process.env['PATH']}` }
        const { code, stdout, stderr } = await runProcess(['sh', own('access.sh')], { env })
        expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
        return stdout
      }
      const pods = async (pool: string): Promise<Pod[]> => {
        const text = await kubectl('-n', 'muster', 'get', 'pods', '-l', `muster-pool=${pool}`, '-o', 'json')
        return (JSON.parse(text) as { items: Pod[] }).items
      }
      const nothingLeft = async (): Promise<void> => {
        const held = (): Promise<string> =>
          kubectl(
            '-n',
            'muster',
            'get',
            'pods,secrets,persistentvolumeclaims,networkpolicies',
            '-l',
            'muster-worker',
            '-o',
            'name',
          )
        await waitFor('nothing of it to be left', held, { until: (left) => left === '' })
      }

      test('its configuration passes `muster check`, and its service account has all rights that are asked for', async () => {
        const program = [process.execPath, join(root, 'apps/host/bin/muster.mjs'), 'check', '-c', own('muster.yaml')] as const
        const checked = await runProcess(program, { env: { ...process.env, MUSTER_SOURCE: '1' } })
        expect({ code: checked.code, problems: checked.stdout }).toEqual({ code: 0, problems: '' })
        expect(await daemon.ask('/v1/providers')).toMatchObject({ items: [{ name: 'cluster', state: 'ready' }] })
      })

      test('builds and tests against the database, hands out what was built by its digest, and leaves nothing', async () => {
        const run = await stock.run(daemon.config)
        const [pod] = await waitFor('a worker that is ready beside its database', () => pods('with-postgres'), {
          until: ([one]) => one?.status.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true,
        })
        expect(pod?.status.initContainerStatuses).toMatchObject([{ name: 's-db', started: true }])
        await expectPassed(run, out())
        await nothingLeft()
      }, 300_000)

      test('a planted failing test fails it by the name of its job, and leaves nothing either', async () => {
        await stock.plant()
        await expectPlanted(await stock.run(daemon.config))
        await nothingLeft()
      }, 300_000)
    })
  })
})
