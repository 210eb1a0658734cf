/** What reaches into a worker, where the conformance suite does not go: images without a shell, who may read what, what is left. */
import { type ExecInput, type ExecSession, type LaunchSpec, type OwnerTags, type WorkerId } from '@muster/core'
import { newWorkerId } from '@muster/core/testing'
import { ApiError, CLUSTER_IMAGES, findStartKubernetes, type KubernetesCluster } from '@muster/test/systems/kubernetes'
import { suiteWith } from '@muster/test/systems/presence'
import { tarStream } from '@muster/test/systems/tar'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect } from '../api/client.ts'
import { createCluster } from '../client.ts'
import { makePlace } from '../testing/cluster.test.helper.ts'
import { createInput } from './input.ts'
import { type KubernetesProvider, kubernetesProvider } from '../provider.ts'
import { fields, newCall } from '../testing/pure.test.helper.ts'

const owner = { owner: 'owner', provider: 'kubernetes' }
const base64 = (text: string): string => Buffer.from(text).toString('base64')
const force = { graceMs: 0, force: true, reason: 'done' }

suiteWith(await findStartKubernetes(), 'what reaches into a worker of a cluster', (start) => {
  let cluster: KubernetesCluster
  let provider: KubernetesProvider

  beforeAll(async () => {
    cluster = await start()
    const { kubeconfig, namespace } = await makePlace(cluster, 'inside')
    const client = connect({ from: 'file', path: kubeconfig })
    provider = kubernetesProvider({ cluster: createCluster(client, namespace), context: owner, fields })
  })
  afterAll(() => cluster?.stop())

  async function launch(over: Partial<LaunchSpec>): Promise<WorkerId> {
    const id = newWorkerId()
    const tags: OwnerTags = {
      ...{ 'muster-owner': owner.owner, 'muster-provider': owner.provider, 'muster-pool': 'pool' },
      ...{ 'muster-worker': id, 'muster-epoch': '1' },
    }
    await provider.launch({ id, tags, work: { mode: 'hold' }, image: CLUSTER_IMAGES.busybox, ...over }, newCall())
    await waitFor('it runs', async () => (await provider.inspect([{ id }], newCall()))[0], {
      until: (seen) => seen?.phase === 'running' && seen.ready === true,
    })
    return id
  }
  let execs = 0
  const exec = (id: WorkerId, more: Partial<ExecInput>): Promise<ExecSession> =>
    provider.exec(
      { id },
      { id: `x${String(execs++).padStart(26, '0')}`, command: [], stdin: false, from: { stdout: 0, stderr: 0 }, ...more },
      newCall(),
    )
  async function printed(id: WorkerId, script: string, more: Partial<ExecInput> = {}): Promise<string> {
    const { output, exit } = await exec(id, { command: ['/bin/sh', '-c', script], ...more })
    let text = ''
    for await (const { data } of output) text += Buffer.from(data).toString()
    await exit
    return text
  }
  const secretOf = (id: WorkerId): Promise<object> => cluster.ask({ path: `/api/v1/namespaces/inside/secrets/${id}` })
  async function* manyBytes(): AsyncGenerator<Uint8Array> {
    for (let part = 0; part < 10; part++) yield Buffer.alloc(30_000)
  }
  const end = async (id: WorkerId): Promise<unknown> => provider.terminate({ id }, force, newCall())

  test('files are there before a command, with their modes, over a read-only image too; their Secret goes with the worker', async () => {
    const files = [
      { path: '/etc/app/deep.conf', base64: base64('deep\n'), mode: 0o440 },
      { path: '/etc/profile', base64: base64('profile\n'), mode: 0o644 },
      { path: 'own', base64: base64('own\n') },
    ]
    const script =
      'cat /etc/app/deep.conf /etc/profile own; ls -l /etc/app/deep.conf own | cut -c1-10; ls -A /.muster-files 2>&1; exec sleep 1000'
    const id = await launch({ files, work: { mode: 'command', command: ['sh', '-c', script] } })
    let said = ''
    for await (const { data } of provider.logs({ id }, { follow: true }, newCall()))
      if ((said += Buffer.from(data).toString()).split('\n').length > 6) break
    expect(said.split('\n').slice(0, 5)).toEqual(['deep', 'profile', 'own', '-r--r-----', '-rw-------'])
    expect(said).toContain('/.muster-files: No such file or directory')
    expect(await secretOf(id)).toMatchObject({ immutable: true, metadata: { ownerReferences: [{ kind: 'Pod', name: id }] } })
    await end(id)
    await waitFor('its Secret to go', () => secretOf(id).catch((error: unknown) => error), {
      until: (found) => found instanceof ApiError && found.status === 404,
    })
  })

  test('a token is read in the worker, is of its Pod, and is good for its audience alone', async () => {
    const path = '/run/vault/token'
    const settings = { serviceAccount: 'muster', tokens: [{ path, audience: 'vault', expirySeconds: 600 }] }
    const id = await launch({ settings })
    const token = await printed(id, `cat ${path}`)
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { exp: number; iat: number }
    expect(claims).toMatchObject({
      aud: ['vault'],
      sub: 'system:serviceaccount:inside:muster',
      'kubernetes.io': { namespace: 'inside', pod: { name: id } },
    })
    expect(claims.exp - claims.iat).toBe(600)
    const known = async (audience: string): Promise<boolean> => {
      const body = { spec: { token, audiences: [audience] } }
      const review = { method: 'POST', path: '/apis/authentication.k8s.io/v1/tokenreviews', body } as const
      return (await cluster.ask<{ status: { authenticated?: boolean } }>(review)).status.authenticated === true
    }
    expect([await known('vault'), await known('another')]).toEqual([true, false])
    await end(id)
  })

  test('an image without a shell has its ports, and no more', async () => {
    const id = await launch({
      image: CLUSTER_IMAGES.pause,
      network: { ports: [8080] },
      work: { mode: 'command', command: ['/bin/probe', 'serve', ':8080'] },
      readiness: { check: { kind: 'tcp', port: 8080 }, intervalMs: 1000, timeoutMs: 1000, failures: 3 },
    })
    const input = createInput()
    input.push('GET / HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n')
    const answer = await Array.fromAsync(provider.forward({ id }, { port: 8080, input: input.bytes }, newCall()))
    expect(Buffer.concat(answer).toString()).toMatch(/^HTTP\/1.1 200/)
    const other = Array.fromAsync(provider.forward({ id }, { port: 9, input: input.bytes }, newCall()))
    await expect(other).rejects.toMatchObject({ code: 'invalid-spec', effect: 'none', path: 'port' })
    const noShell = { code: 'unsupported', effect: 'none', path: 'image' }
    await expect(printed(id, 'true')).rejects.toMatchObject({ code: 'unsupported', effect: 'none' })
    await expect(Array.fromAsync(provider.copyOut({ id }, '/bin', newCall()))).rejects.toMatchObject(noShell)
    await expect(exec(id, { command: ['sh'], tty: { columns: 80, rows: 24 } })).rejects.toMatchObject(noShell)
    await end(id)
  })

  test('a port at which nobody listens is told', async () => {
    const id = await launch({})
    const input = createInput()
    const nobody = Array.fromAsync(provider.forward({ id }, { port: 9, input: input.bytes }, newCall()))
    await expect(nobody).rejects.toMatchObject({ code: 'transient', effect: 'none' })
    await end(id)
  })

  test('a port has all that is sent to it, however many there are at once', async () => {
    const id = await launch({})
    const serving = exec(id, { command: ['sh', '-c', 'exec nc -ll -p 7000 -e wc -c'] })
    const counted = async (): Promise<string> =>
      Buffer.concat(await Array.fromAsync(provider.forward({ id }, { port: 7000, input: manyBytes() }, newCall()))).toString()
    await waitFor('the server', counted)
    const seen: string[] = []
    for (let round = 0; round < 8; round++) seen.push(...(await Promise.all(Array.from({ length: 6 }, counted))))
    expect(new Set(seen)).toEqual(new Set(['300000\n']))
    await end(id)
    await serving
  }, 120_000)

  test('a port whose server is only just starting is met, or is said to be nobody’s', async () => {
    const id = await launch({})
    const servers: Promise<ExecSession>[] = []
    for (let port = 7001; port <= 7020; port++) {
      servers.push(exec(id, { command: ['sh', '-c', `exec nc -ll -p ${port} -e wc -c`] }))
      const seen = await Array.fromAsync(provider.forward({ id }, { port, input: manyBytes() }, newCall())).then(
        (all) => Buffer.concat(all).toString(),
        (error: Error) => error.message,
      )
      expect(seen).toMatch(/^300000\n$|^nothing answers at port /)
    }
    await end(id)
    await Promise.all(servers)
  })

  test('a terminal has its environment and folder; neither is in an address, in a process list or on disk', async () => {
    const id = await launch({})
    const tty = { columns: 80, rows: 24 }
    const look = 'pwd; echo "$SECRET"; tr "\\0" " " </proc/$$/cmdline | grep -c "ver[y]"; ls -A /.muster | grep -c terminal'
    const more = { tty, env: { SECRET: "very 'secret'" }, workdir: '/tmp' }
    expect((await printed(id, look, more)).split('\r\n')).toEqual(['/tmp', "very 'secret'", '0', '0', ''])
    await expect(printed(id, 'true', { tty, workdir: '/none' })).rejects.toMatchObject({ code: 'invalid-spec', path: 'workdir' })
    await expect(printed(id, 'true', { tty, user: '0' })).rejects.toMatchObject({ code: 'unsupported', path: 'user' })
    await end(id)
  })

  test('terminals and copies begin and are whole however many there are at once', async () => {
    const id = await launch({})
    const tty = { columns: 80, rows: 24 }
    const seen: string[] = []
    for (let round = 0; round < 8; round++)
      seen.push(...(await Promise.all(Array.from({ length: 6 }, () => printed(id, 'echo hi', { tty })))))
    expect(new Set(seen)).toEqual(new Set(['hi\r\n']))
    const into = (path: string): Promise<void> => {
      const files = Array.from({ length: 20 }, (_one, at) => ({ kind: 'file' as const, path: `f${at}`, content: `${at}` }))
      return provider.copyIn({ id }, { path, tar: tarStream(files) }, newCall())
    }
    await Promise.all(Array.from({ length: 12 }, (_one, at) => into(`/tmp/c${at}`)))
    expect(await printed(id, 'cat /tmp/c*/f19 | wc -c; ls /tmp/c*/f* | wc -l')).toBe('24\n240\n')
    await end(id)
  }, 120_000)

  test('samples have all that there is, and nothing of their making stays in the worker', async () => {
    const id = await launch({})
    const leaving = new AbortController()
    const call = { ...newCall(), signal: leaving.signal }
    const samples = provider.stats({ tags: { 'muster-owner': 'owner', 'muster-provider': 'kubernetes' }, everyMs: 1000 }, call)
    const seen = await waitFor('a sample', async () => (await samples[Symbol.asyncIterator]().next()).value, {
      until: (sample) => sample?.id === id,
    })
    expect(seen).toMatchObject({
      cpuSeconds: expect.any(Number) as number,
      memoryPeakBytes: expect.any(Number) as number,
      pids: expect.any(Number) as number,
      network: { receivedBytes: expect.any(Number) as number },
    })
    leaving.abort()
    await expect(samples[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'cancelled' })
    const telling = `for one in /proc/[0-9]*; do tr '\\0' ' ' <$one/cmdline; done 2>/dev/null | grep -c '[s]how memory'`
    await waitFor('who told them to end', () => printed(id, telling), { until: (count) => count.trim() === '0' })
    await end(id)
  })

  test('headroom is what quotas leave, and what nodes have left where they may be seen', async () => {
    expect(await provider.headroom(newCall())).toEqual({})
    const quota = { metadata: { name: 'most' }, spec: { hard: { pods: '7', 'requests.cpu': '3' } } }
    await cluster.ask({ method: 'POST', path: '/api/v1/namespaces/inside/resourcequotas', body: quota })
    const bound = await waitFor('the quota to count', () => provider.headroom(newCall()), {
      until: ({ slots, cpu }) => slots !== undefined && cpu !== undefined,
    })
    expect(bound).toMatchObject({ slots: { total: 7 }, cpu: { total: 3, free: 3 }, quotas: [{ limit: 7 }, { limit: 3 }] })
    expect(bound).not.toHaveProperty('memoryBytes')
    const rbac = '/apis/rbac.authorization.k8s.io/v1'
    const rules = [{ apiGroups: [''], resources: ['nodes', 'pods'], verbs: ['list'] }]
    await cluster.ask({ method: 'POST', path: `${rbac}/clusterroles`, body: { metadata: { name: 'muster-headroom' }, rules } })
    await cluster.ask({
      method: 'POST',
      path: `${rbac}/clusterrolebindings`,
      body: {
        metadata: { name: 'muster-headroom' },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'muster-headroom' },
        subjects: [{ kind: 'ServiceAccount', name: 'muster', namespace: 'inside' }],
      },
    })
    const seen = await waitFor('the nodes to be seen', () => provider.headroom(newCall()), {
      until: ({ memoryBytes }) => memoryBytes !== undefined,
    })
    expect(seen.slots?.total).toBe(7)
    expect(seen.memoryBytes?.free).toBeGreaterThan(0)
    expect(seen.memoryBytes?.free).toBeLessThanOrEqual(seen.memoryBytes?.total ?? 0)
  })

  test('what is not running is told as that', async () => {
    const nobody = { id: newWorkerId() }
    const absent = { code: 'not-found', effect: 'none' }
    const { bytes } = createInput()
    await expect(provider.copyIn(nobody, { path: 'a', tar: bytes }, newCall())).rejects.toMatchObject(absent)
    const port = Array.fromAsync(provider.forward(nobody, { port: 1, input: bytes }, newCall()))
    await expect(port).rejects.toMatchObject(absent)
  })
})
