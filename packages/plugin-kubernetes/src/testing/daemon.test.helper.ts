/** What breaks under a daemon that has workers leased on a cluster: the tests of {@link faultsUnderDaemon}. */
import { readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openAuthority } from '@muster/test/systems/authority'
import { CLUSTER_IMAGES, type KubernetesCluster } from '@muster/test/systems/kubernetes'
import { type MusterDaemon, startMuster } from '@muster/test/systems/muster'
import { runProcess } from '@muster/test/systems/process'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect } from '../api/client.ts'
import { makePlace, type Place } from './cluster.test.helper.ts'

interface Kubeconfig {
  users: { user: object }[]
}

interface ProviderView {
  name: string
  state: string
  reason?: string
}

const root = join(import.meta.dirname, '../../../..')
const namespace = 'leased'
const ACCOUNT = `/api/v1/namespaces/${namespace}/serviceaccounts/muster`
const SECRETS = `/api/v1/namespaces/${namespace}/secrets`
const BINDINGS = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}/rolebindings`
/** A minute without a server, and what all of it takes up again. */
const LONG_MS = 300_000
/** Whoever takes away a worker of this pool waits until the test has seen that its lease knows. */
const TAKEN = {
  placement: ['token'],
  worker: {
    ...{ work: 'hold', image: CLUSTER_IMAGES.busybox, lifetime: '1h', grace: '120s' },
    settings: { preStop: ['sh', '-c', 'until test -e /tmp/heard; do sleep 0.1; done'] },
  },
  scale: { max: 1, idle: '1s' },
}
const MINUTE_MS = 60_000

export function faultsUnderDaemon(clusterOf: () => KubernetesCluster): void {
  let cluster: KubernetesCluster
  let place: Place
  let daemon: MusterDaemon
  const at = (file: string): string => join(dirname(place.kubeconfig), `${namespace}-${file}`)

  beforeAll(async () => {
    cluster = clusterOf()
    place = await makePlace(cluster, namespace)
    await writeFile(at('token'), await tokenBoundTo('first'))
    await bind('one')
    await rotateTo('one')
    const byToken = await kubeconfigOf('by-token', { tokenFile: at('token') })
    const byCertificate = await kubeconfigOf('by-certificate', { 'client-certificate': at('crt'), 'client-key': at('key') })
    const pool = (provider: string): object => ({
      placement: [provider],
      worker: { work: 'hold', image: CLUSTER_IMAGES.busybox, lifetime: '1h', grace: '1s' },
      scale: { max: 4, idle: '1s' },
    })
    daemon = await startMuster({
      providers: {
        token: { plugin: 'kubernetes', config: { kubeconfig: byToken, namespace } },
        certificate: { plugin: 'kubernetes', config: { kubeconfig: byCertificate, namespace } },
      },
      pools: { ci: pool('token'), certified: pool('certificate'), taken: TAKEN },
    })
  }, LONG_MS)
  afterAll(() => daemon?.[Symbol.asyncDispose]())

  async function kubeconfigOf(name: string, user: object): Promise<string> {
    const config = JSON.parse(await readFile(place.kubeconfig, 'utf8')) as Kubeconfig
    for (const one of config.users) one.user = user
    await writeFile(at(name), JSON.stringify(config))
    return at(name)
  }

  /** A token that is worth nothing any more once this Secret has gone: a request for one that expires gives ten minutes at least. */
  async function tokenBoundTo(secret: string): Promise<string> {
    const { metadata } = await cluster.ask<{ metadata: { uid: string } }>({
      method: 'POST',
      path: SECRETS,
      body: { metadata: { name: secret } },
    })
    const boundObjectRef = { apiVersion: 'v1', kind: 'Secret', name: secret, uid: metadata.uid }
    const body = { spec: { expirationSeconds: 600, boundObjectRef } }
    const { status } = await cluster.ask<{ status: { token: string } }>({ method: 'POST', path: `${ACCOUNT}/token`, body })
    return status.token
  }
  async function expire(secret: string, token: string): Promise<void> {
    await cluster.ask({ method: 'DELETE', path: `${SECRETS}/${secret}` })
    const config = await readFile(place.kubeconfig, 'utf8')
    const text = JSON.stringify({ ...(JSON.parse(config) as Kubeconfig), users: [{ name: 'muster', user: { token } }] })
    const client = connect({ from: 'text', text: () => Promise.resolve(text) })
    const path = `/api/v1/namespaces/${namespace}/pods`
    const refusal = (): Promise<unknown> =>
      client.transport.json({ method: 'GET', path, signal: AbortSignal.timeout(10_000) }).catch((error: unknown) => error)
    await waitFor('the token to be refused', refusal, { until: (told) => (told as { status?: unknown }).status === 401 })
    client.close()
  }

  /** Lets a user of this name do what the provider does. */
  async function bind(name: string): Promise<void> {
    const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'muster' }
    const subjects = [{ kind: 'User', apiGroup: roleRef.apiGroup, name }]
    await cluster.ask({ method: 'POST', path: BINDINGS, body: { metadata: { name }, roleRef, subjects } })
  }
  /** Puts a certificate of this name where the kubeconfig says, and its key. */
  async function rotateTo(name: string): Promise<void> {
    const { cert, key } = await openAuthority(dirname(cluster.kubeconfig), 'cluster').issue(`user-${name}`, [], `/CN=${name}`)
    await Promise.all([rename(cert, at('crt')), rename(key, at('key'))])
  }

  const env = { ...process.env, MUSTER_SOURCE: '1', NO_COLOR: '1' }
  const muster = (...args: string[]): ReturnType<typeof runProcess> =>
    runProcess([process.execPath, join(root, 'apps/host/bin/muster.mjs'), ...args], {
      cwd: daemon.folder,
      env,
      timeoutMs: LONG_MS,
    })
  const begin = async (pool: string, script: string): Promise<string> => {
    const { code, stdout, stderr } = await muster('run', '--detach', '--pool', pool, '--', 'sh', '-c', script)
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' })
    return stdout.trim()
  }
  /** Begins a run that counts until a file is there, and waits for its first lines. */
  const counts = async (pool: string): Promise<string> => {
    const id = await begin(pool, 'i=0; until test -e /tmp/end; do i=$((i+1)); echo $i; sleep 0.5; done; echo end; exit 3')
    await waitFor('its first lines', async () => (await muster('logs', id)).stdout, { until: (log) => log.startsWith('1\n2\n') })
    return id
  }
  const wholeOf = async (id: string): Promise<string> => {
    const { stdout } = await muster('logs', '--follow', id)
    expect(JSON.parse((await muster('runs', 'show', id, '--json')).stdout)).toMatchObject({ state: 'ended', exit: { code: 3 } })
    const lines = stdout.split('\n').slice(0, -2)
    expect(lines).toEqual(Array.from({ length: lines.length }, (_, index) => String(index + 1)))
    expect(stdout.endsWith('\nend\n')).toBe(true)
    return stdout
  }
  const providerOf = async (name: string): Promise<ProviderView | undefined> => {
    const { items } = await daemon.ask<{ items: ProviderView[] }>('/v1/providers')
    return items.find((one) => one.name === name)
  }
  const pods = async (): Promise<string[]> => {
    const text = await cluster.kubectl(['-n', namespace, 'get', 'pods', '-l', 'muster-worker', '-o', 'name'])
    expect(text.code).toBe(0)
    return text.stdout
      .split('\n')
      .flatMap((line) => (line === '' ? [] : [line.replace('pod/', '')]))
      .toSorted()
  }
  const leased = async (pool: string): Promise<string[]> =>
    (await daemon.workers()).flatMap((one) => (one.pool === pool && one.phase === 'leased' ? [one.id] : [])).toSorted()

  test(
    'an API server that answers nothing for a minute: runs are whole, leases stay, and nothing is launched twice',
    async () => {
      const short = await begin('ci', 'i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo $i; sleep 0.5; done; echo end; exit 3')
      const long = await counts('ci')
      const before = await waitFor('two leases', () => leased('ci'), { until: (ids) => ids.length === 2 })
      cluster.suspend('apiserver')
      let asked: string
      try {
        // What is sent now waits in its socket, and is done once it goes on, also where nobody waits for it any more.
        asked = await begin('ci', 'echo 1; echo 2; echo end; exit 3')
        // paced: a minute without an answer is what is tried
        await sleep(MINUTE_MS)
        expect((await leased('ci')).filter((id) => before.includes(id))).toEqual(before)
      } finally {
        await cluster.resume('apiserver')
      }
      expect(await wholeOf(short)).toContain('\n60\nend\n')
      await wholeOf(asked)
      expect(before).toContain(await workerOf(long))
      await end(long)
      await waitFor(
        'as many Pods as workers, and those',
        async () => [await pods(), (await daemon.workers()).map(({ id }) => id)],
        {
          until: ([there, known]) => String(there) === String(known?.toSorted()),
        },
      )
    },
    LONG_MS,
  )

  /** Ends one that counts, and sees that it was whole. */
  async function end(run: string): Promise<void> {
    const { code, stderr } = await muster('exec', await workerOf(run), '--', 'touch', '/tmp/end')
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' })
    await wholeOf(run)
  }
  async function workerOf(run: string): Promise<string> {
    const shown = JSON.parse((await muster('runs', 'show', run, '--json')).stdout) as { worker?: string }
    return shown.worker ?? ''
  }

  const kubectl = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await cluster.kubectl(args)
    expect({ args, code, stderr: code === 0 ? '' : stderr }).toEqual({ args, code: 0, stderr: '' })
    return stdout
  }
  const ways = [
    {
      why: 'its node is tainted',
      begin: async (node: string) => kubectl('taint', 'node', node, 'muster.test/out=:NoExecute'),
      end: async (node: string) => kubectl('taint', 'node', node, 'muster.test/out-'),
    },
    {
      why: 'its node is drained',
      begin: async (node: string, worker: string) =>
        kubectl('drain', node, '--force', '--delete-emptydir-data', `--pod-selector=muster-worker=${worker}`),
      end: async (node: string) => kubectl('uncordon', node),
    },
  ]
  test.each(ways)(
    '$why: the lease hears of it before its worker ends, and its run says so',
    async (way) => {
      const run = await counts('taken')
      const worker = await workerOf(run)
      const node = await kubectl('-n', namespace, 'get', 'pod', worker, '-o', 'jsonpath={.spec.nodeName}')
      const show = async (): Promise<object> => JSON.parse((await muster('runs', 'show', run, '--json')).stdout) as object
      const why = async (): Promise<string> => (await muster('why', 'worker', worker)).stdout
      // A drain ends with the last Pod that it takes.
      const taken = way.begin(node, worker)
      try {
        const told = await waitFor('its lease to hear of it', why, { until: (text) => text.includes('[worker-taken]') })
        expect(told).toContain(`its lease ends with it soon: evicted: ${way.why}: `)
        expect(await show()).not.toHaveProperty('endedAt')
        expect(await muster('exec', worker, '--', 'touch', '/tmp/heard')).toMatchObject({ code: 0 })
        const reason = expect.stringMatching(`^its worker was lost: evicted: ${way.why}: `) as string
        const ended = await waitFor('its run to end', show, { until: (one) => 'endedAt' in one })
        expect(ended).toMatchObject({ outcome: 'infrastructure', reason })
        await taken
      } finally {
        await way.end(node)
      }
      expect(await why()).toMatch(/\[worker-taken\][^]*\[worker-lost\]/)
    },
    LONG_MS,
  )

  // Of two providers that know nothing of each other.
  test.concurrent(
    'a token that expires: a renewed one is taken up unseen; without one it is told, and over with the next',
    async () => {
      const id = await counts('ci')
      const first = await readFile(at('token'), 'utf8')
      const second = await tokenBoundTo('second')
      await writeFile(at('token'), second)
      await expire('first', first)
      const other = await muster('run', '--pool', 'ci', '--', 'echo', 'renewed')
      expect({ code: other.code, stdout: other.stdout }).toEqual({ code: 0, stdout: 'renewed\n' })
      expect(await providerOf('token')).toMatchObject({ state: 'ready' })

      await expire('second', second)
      const told = await waitFor('the refusal to be told', () => providerOf('token'), {
        until: (one) => one?.state === 'degraded',
      })
      expect(told?.reason).toMatch(/Unauthorized|credentials/i)
      expect(await leased('ci')).toEqual([await workerOf(id)])
      await writeFile(at('token'), await tokenBoundTo('third'))
      await waitFor('the provider to be well again', () => providerOf('token'), { until: (one) => one?.state === 'ready' })
      await end(id)
    },
    LONG_MS,
  )

  test.concurrent(
    'a client certificate that is rotated on disk is the one that is shown from then on',
    async () => {
      const id = await counts('certified')
      await bind('two')
      await rotateTo('two')
      await cluster.ask({ method: 'DELETE', path: `${BINDINGS}/one` })
      const other = await muster('run', '--pool', 'certified', '--', 'echo', 'rotated')
      expect({ code: other.code, stdout: other.stdout }).toEqual({ code: 0, stdout: 'rotated\n' })
      await waitFor('the provider to be well', () => providerOf('certificate'), { until: (one) => one?.state === 'ready' })
      await end(id)
    },
    LONG_MS,
  )
}
