/** The daemon in a cluster, by the manifests that are published: what it makes there, and what of it survives its own Pod. */
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findDocker } from '@muster/test/systems/docker'
import { removeImage, saveImages, TEST_IMAGES } from '@muster/test/systems/images'
import { findStartKubernetes, type KubernetesCluster } from '@muster/test/systems/kubernetes'
import { suiteWith } from '@muster/test/systems/presence'
import type { runProcess } from '@muster/test/systems/process'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { buildDaemonImage, ensureBuilt } from './lib/daemon-image.test.helper.ts'

const root = join(import.meta.dirname, '..')
const manifests = 'packaging/kubernetes'
const kinds = 'apps/kubernetes-controller'
const tag = 'muster-test/daemon:2'
const patience = { timeoutMs: 180_000 }

interface Pod {
  metadata: { uid: string }
  status: { conditions?: { type: string; status: string }[] }
}

const clusters = await findStartKubernetes()

suiteWith(await findDocker(), 'an image of the daemon', ({ socket }) => {
  suiteWith(clusters, 'in a cluster', (start) => {
    let temp: TempFolder
    let cluster: KubernetesCluster

    beforeAll(async () => {
      ensureBuilt()
      temp = await tempFolder('in-cluster')
      await buildDaemonImage(socket, tag, temp.path)
      const archive = join(temp.path, 'images.tar')
      await saveImages(socket, [tag, TEST_IMAGES.node], archive)
      cluster = await start()
      await cluster.importImages(archive)
      await makeDisk()
      await overlay()
    }, 600_000)
    afterAll(async () => {
      await cluster?.stop()
      await removeImage(socket, tag)
      await temp?.remove()
    })

    /** What the class of storage of a real cluster does: this one has none. */
    async function makeDisk(): Promise<void> {
      const folder = join(temp.path, 'disk')
      await mkdir(folder)
      const key = { key: 'kubernetes.io/os', operator: 'In', values: ['linux'] }
      const spec = {
        capacity: { storage: '5Gi' },
        accessModes: ['ReadWriteOnce'],
        local: { path: folder },
        nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [key] }] } },
      }
      await cluster.ask({ method: 'POST', path: '/api/v1/persistentvolumes', body: { metadata: { name: 'disk' }, spec } })
    }

    /** What an operator says for himself. */
    async function overlay(): Promise<void> {
      for (const part of [manifests, `${kinds}/crds`, `${kinds}/kustomization.yaml`])
        await cp(join(root, part), join(temp.path, part), { recursive: true })
      const [name = '', version = ''] = tag.split(':')
      await change('kustomization.yaml', (text) => text.replace('registry.example/muster', name).replace('0.1.0', `'${version}'`))
      await change('muster.yaml', (text) => text.replace('busybox:1', TEST_IMAGES.node))
    }

    const own = (): string => join(temp.path, manifests, 'overlay')
    const change = async (name: string, how: (text: string) => string): Promise<void> => {
      const file = join(own(), name)
      await writeFile(file, how(await readFile(file, 'utf8')))
    }
    const kubectl = async (...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await cluster.kubectl(['-n', 'muster', ...args])
      expect({ args, code, stderr: code === 0 ? '' : stderr + stdout }).toEqual({ args, code: 0, stderr: '' })
      return stdout
    }
    const muster = (...args: string[]): ReturnType<typeof runProcess> =>
      cluster.kubectl(['-n', 'muster', 'exec', 'muster-0', '--', 'muster', ...args])
    const workers = async (): Promise<string[]> => {
      const text = await kubectl('get', 'pods', '-l', 'muster-worker', '-o', 'name')
      return text.split('\n').filter(Boolean)
    }
    const readyPod = (other?: string): Promise<Pod> =>
      waitFor('the daemon to be ready', async () => JSON.parse(await kubectl('get', 'pod', 'muster-0', '-o', 'json')) as Pod, {
        ...patience,
        until: ({ metadata, status }) =>
          metadata.uid !== other && status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') === true,
      })

    test('becomes Ready, and runs a command on a Pod of its own making', async () => {
      await kubectl('apply', '-k', own())
      await readyPod()
      const ran = await muster('run', '--pool', 'cluster', '--', 'node', '-p', 'process.getuid()')
      expect({ code: ran.code, stdout: ran.stdout, stderr: ran.code === 0 ? '' : ran.stderr }).toEqual({
        code: 0,
        stdout: '1000\n',
        stderr: '',
      })
    }, 300_000)

    test('its own Pod is deleted: the next one takes up the run, whose output and end are whole', async () => {
      const { metadata } = await readyPod()
      const script = 'i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo $i; sleep 0.2; done; exit 3'
      const { stdout } = await muster('run', '--detach', '--pool', 'cluster', '--', 'sh', '-c', script)
      const id = stdout.trim()
      await waitFor('its first lines', async () => (await muster('logs', id)).stdout, {
        until: (log) => log.startsWith('1\n2\n'),
      })
      expect(await workers()).toHaveLength(1)
      await kubectl('delete', 'pod', 'muster-0')
      await readyPod(metadata.uid)
      const followed = await muster('logs', '--follow', id)
      expect(followed.stdout).toBe(Array.from({ length: 100 }, (_, at) => `${at + 1}\n`).join(''))
      const run = JSON.parse((await muster('runs', 'show', id, '--json')).stdout) as object
      expect(run).toMatchObject({ state: 'ended', exit: { code: 3 } })
    }, 300_000)

    test('with the program of objects beside it: a WorkerPool that is applied is a pool, and its workers are objects', async () => {
      const { metadata } = await readyPod()
      await change('kustomization.yaml', (text) => `${text}components: [../objects]\n`)
      await kubectl('apply', '-k', own())
      await readyPod(metadata.uid)
      const spec = {
        placement: ['cluster'],
        worker: { work: 'hold', image: TEST_IMAGES.node, lifetime: '1h' },
        scale: { max: 2 },
      }
      const pool = {
        apiVersion: 'muster.dev/v1alpha1',
        kind: 'WorkerPool',
        metadata: { name: 'applied', namespace: 'muster' },
        spec,
      }
      expect(await cluster.kubectl(['apply', '-f', '-'], JSON.stringify(pool))).toMatchObject({ code: 0 })
      const ready = (): Promise<string> =>
        kubectl('get', 'workerpool/applied', '-o', 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')
      await waitFor('the pool to be ready', ready, { until: (status) => status === 'True', ...patience })
      const { stdout } = await muster(
        'run',
        '--detach',
        '--pool',
        'applied',
        '--',
        'sh',
        '-c',
        'until test -e /tmp/end; do sleep 0.1; done',
      )
      const named = (): Promise<string> => kubectl('get', 'workers', '-l', 'muster.dev/pool=applied', '-o', 'name')
      const name = await waitFor('its worker as an object', async () => (await named()).trim())
      expect(name).toMatch(/^worker\.muster\.dev\/w[0-9a-z]{26}$/)
      await waitFor('its Pod', workers, {
        until: (there) => there.includes(`pod/${name.slice(name.indexOf('/') + 1)}`),
        ...patience,
      })
      expect((await muster('runs', 'cancel', stdout.trim())).code).toBe(0)
      await kubectl('delete', 'workerpool/applied')
      expect(await named()).toBe('')
    }, 300_000)

    test('leaves no worker, and goes as a whole', async () => {
      await waitFor('the workers to be gone', workers, { until: (left) => left.length === 0, ...patience })
      await kubectl('delete', '-k', own())
      expect((await cluster.kubectl(['get', 'namespace', 'muster'])).code).toBe(1)
    }, 300_000)
  })
})
