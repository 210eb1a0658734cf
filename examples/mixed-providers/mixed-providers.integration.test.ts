/** The example as its README has it, on an engine and a cluster of the tests. */
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type DockerEngine, findStartDocker } from '@muster/test/systems/docker'
import { ensureImage, TEST_IMAGES } from '@muster/test/systems/images'
import { findStartKubernetes, type KubernetesCluster } from '@muster/test/systems/kubernetes'
import { type MusterDaemon, type MusterOptions, startMuster } from '@muster/test/systems/muster'
import { suiteWith } from '@muster/test/systems/presence'
import { type RunningProcess, runProcess, startProcess } from '@muster/test/systems/process'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parse } from 'yaml'

const here = import.meta.dirname
const root = join(here, '../..')
const clusters = await findStartKubernetes()

// An engine of its own: its room is counted over all that runs there, other tests' workers too.
suiteWith(findStartDocker(), 'the example of a pool on Docker', (startDocker) => {
  suiteWith(clusters, 'and on Kubernetes', (start) => {
    const ending = new AsyncDisposableStack()
    let folder: TempFolder
    let engine: DockerEngine
    let cluster: KubernetesCluster
    let daemon: MusterDaemon

    beforeAll(async () => {
      folder = ending.adopt(await tempFolder('mixed'), (made) => made.remove())
      await cp(here, folder.path, { recursive: true })
      engine = ending.adopt(await startDocker(), (made) => made.stop())
      await ensureImage(engine.socket, 'busybox')
      cluster = ending.adopt(await start(), (made) => made.stop())
      await cluster.kubectl(['create', 'namespace', 'muster'])
      await change('muster.yaml', (text) =>
        text
          .replace('/var/run/docker.sock', engine.socket)
          .replace('/etc/muster/kubeconfig', cluster.kubeconfig)
          .replace('busybox:1', TEST_IMAGES.busybox),
      )
      await change('plugins.json', (text) => text.replaceAll('../../packages', join(root, 'packages')))
      const { providers, pools } = parse(await readFile(join(folder.path, 'muster.yaml'), 'utf8')) as MusterOptions
      daemon = ending.use(await startMuster({ providers, pools }))
    }, 300_000)
    afterAll(() => ending.disposeAsync())

    async function change(name: string, how: (text: string) => string): Promise<void> {
      const file = join(folder.path, name)
      await writeFile(file, how(await readFile(file, 'utf8')))
    }
    const program = [process.execPath, join(root, 'apps/host/bin/muster.mjs')] as const
    const env = { ...process.env, MUSTER_SOURCE: '1', NO_COLOR: '1' }
    /** One that says where it is, and ends when it is told to. */
    const run = (): Promise<RunningProcess> =>
      startProcess(
        [
          ...program,
          'run',
          '-c',
          daemon.config,
          '--pool',
          'anywhere',
          '--',
          'sh',
          '-c',
          'echo here; until test -e /tmp/end; do sleep 0.1; done',
        ],
        { env },
      )
    const end = async (id: string): Promise<void> => {
      const ended = await runProcess([...program, 'exec', '-c', daemon.config, id, '--', 'touch', '/tmp/end'], { env })
      expect({ code: ended.code, stderr: ended.code === 0 ? '' : ended.stderr }).toEqual({ code: 0, stderr: '' })
    }
    const leased = async (): Promise<{ id: string; provider: string }[]> =>
      (await daemon.workers()).filter(({ phase }) => phase === 'leased')
    const places = async (): Promise<string[]> => (await leased()).map(({ provider }) => provider).toSorted()

    test('its configuration passes `muster check`', async () => {
      const checked = await runProcess([...program, 'check', '-c', join(folder.path, 'muster.yaml')], { env })
      expect({ code: checked.code, problems: checked.stdout }).toEqual({ code: 0, problems: '' })
    })

    test('the third and fourth worker come from the cluster, and the next from the machine when it has room again', async () => {
      const running = await Promise.all([run(), run(), run(), run()])
      await waitFor('four that are at work', () => running.every((one) => one.stdout() === 'here\n'))
      expect(await places()).toEqual(['cluster', 'cluster', 'docker', 'docker'])
      const why = await runProcess([...program, 'why', 'pool', 'anywhere', '-c', daemon.config], { env })
      expect(why.stdout).toContain('all 2 slots are taken')

      const [onDocker] = (await leased()).filter(({ provider }) => provider === 'docker')
      await end(onDocker?.id ?? '')
      await waitFor('one of them to end', () => running.filter((one) => !one.running()), { until: (ended) => ended.length === 1 })
      await waitFor('its place to be free', async () => (await daemon.workers()).length, { until: (left) => left === 3 })
      // What was full is remembered for a while: until then the cluster is asked first.
      const next = await waitFor('the machine to be asked again', async () => {
        const one = await run()
        await waitFor('it to be at work', () => one.stdout() === 'here\n')
        if ((await places()).filter((provider) => provider === 'docker').length === 2) return one
        await one.stop()
        return undefined
      })
      for (const { id } of await leased()) await end(id)
      for (const one of [...running, next]) expect(await one?.exited).toMatchObject({ code: 0 })
      await waitFor('nothing to be left', () => daemon.workers(), { until: (left) => left.length === 0 })
    }, 300_000)
  })
})
