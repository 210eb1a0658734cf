/** What workers reach and are reached by, seen on a cluster: closed networks, with and without an engine that closes them, and names. */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { LaunchSpec, NetworkSpec, OwnerTags, PoolRequest, WorkerId, WorkerObservation } from '@muster/core'
import { newWorkerId } from '@muster/core/testing'
import { CLUSTER_IMAGES, findStartKubernetes, type KubernetesCluster } from '@muster/test/systems/kubernetes'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connect } from '../api/client.ts'
import { createCluster } from '../client.ts'
import { makePlace } from '../testing/cluster.test.helper.ts'
import { poolName } from '../labels.ts'
import type { NetworkPolicy, ServiceManifest } from '../objects.ts'
import { type KubernetesProvider, kubernetesProvider } from '../provider.ts'
import { fields, newCall } from '../testing/pure.test.helper.ts'
import { tenantsOf } from '../testing/tenants.test.helper.ts'

const owner = { owner: 'owner', provider: 'kubernetes' }
const namespace = 'net'
const force = { graceMs: 0, force: true, reason: 'done' }

const poolOf = (pool: string): Pick<PoolRequest, 'pool' | 'tags'> => ({
  pool,
  tags: { 'muster-owner': owner.owner, 'muster-provider': owner.provider, 'muster-pool': pool },
})

function specOf(over: Partial<LaunchSpec>, pool = 'pool'): LaunchSpec {
  const id = newWorkerId()
  const tags: OwnerTags = { ...poolOf(pool).tags, 'muster-worker': id, 'muster-epoch': '1' }
  return { id, tags, work: { mode: 'hold' }, image: CLUSTER_IMAGES.probe, ...over }
}

/** Says of each way whether it is open. */
const tries = (server: string, [tcp, other, udp, unknown]: readonly number[]): string =>
  [
    'try() { if sh -c "$2" >/dev/null 2>&1 </dev/null; then echo "$1 open"; else echo "$1 closed"; fi; }',
    `try tcp "nc -w 2 ${server} ${tcp}"`,
    `try other "nc -w 2 ${server} ${other}"`,
    `try udp "nslookup -timeout=2 -retry=1 a.test ${server}:${udp} | grep 1.2.3.4"`,
    `try resolver "nslookup -timeout=2 -retry=1 a.test ${server}:${unknown} | grep 1.2.3.4"`,
    'try api "nc -w 2 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT"',
    'try names "nslookup -timeout=2 -retry=1 kubernetes.default.svc.cluster.local"',
    'try beside "probe get http://web.beside.svc.cluster.local"',
  ].join('\n')

/** Answers every question for an address with 1.2.3.4. */
function answerNames(socket: Socket): Socket {
  return socket.on('message', (question, { port, address }) => {
    const end = question.indexOf(0, 12) + 5
    const isAddress = question.readUInt16BE(end - 4) === 1
    const head = Buffer.from(question.subarray(0, end))
    head.writeUInt16BE(0x81_80, 2)
    for (const [at, count] of [1, isAddress ? 1 : 0, 0, 0].entries()) head.writeUInt16BE(count, 4 + 2 * at)
    const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4])
    socket.send(isAddress ? Buffer.concat([head, answer]) : head, port, address)
  })
}

suiteWith(await findStartKubernetes(), 'the network of Kubernetes workers', (start) => {
  let cluster: KubernetesCluster
  let provider: KubernetesProvider
  let impatient: KubernetesProvider
  let places: readonly number[]
  const servers: Server[] = []
  const sockets: Socket[] = []

  const look = async (id: WorkerId): Promise<WorkerObservation | undefined> => (await provider.inspect([{ id }], newCall()))[0]
  const launch = async (over: Partial<LaunchSpec>, pool?: string): Promise<WorkerId> => {
    const spec = specOf(over, pool)
    await provider.launch(spec, newCall())
    return spec.id
  }
  const ends = (id: WorkerId): Promise<WorkerObservation | undefined> =>
    waitFor('its end', () => look(id), { until: (seen) => seen?.exit !== undefined })
  const logOf = async (id: WorkerId): Promise<string> => {
    let text = ''
    for await (const { data } of provider.logs({ id }, { follow: true }, newCall())) text += Buffer.from(data).toString()
    return text
  }
  const policies = async (): Promise<string[]> => {
    const path = `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`
    const { items } = await cluster.ask<{ items: NetworkPolicy[] }>({ path })
    return items.map(({ metadata }) => metadata.name).toSorted()
  }
  const services = async (): Promise<string[]> => {
    const { items } = await cluster.ask<{ items: ServiceManifest[] }>({ path: `/api/v1/namespaces/${namespace}/services` })
    return items.map(({ metadata }) => metadata.name).toSorted()
  }
  const create = (path: string, body: object): Promise<unknown> => cluster.ask({ method: 'POST', path, body })
  const end = async (...ids: WorkerId[]): Promise<void> => {
    await Promise.all(ids.map((id) => provider.terminate({ id }, force, newCall())))
    await waitFor(
      'they are gone',
      () =>
        provider.inspect(
          ids.map((id) => ({ id })),
          newCall(),
        ),
      {
        until: (left) => left.length === 0,
      },
    )
  }

  beforeAll(async () => {
    cluster = await start()
    const { kubeconfig } = await makePlace(cluster, namespace)
    const at = (seconds: number): KubernetesProvider =>
      kubernetesProvider({
        cluster: createCluster(connect({ from: 'file', path: kubeconfig }), namespace),
        context: owner,
        fields,
        network: { gate: { image: CLUSTER_IMAGES.busybox, seconds }, resolvers: [`${new URL(cluster.url).hostname}/32`] },
        lookup: (host) =>
          host === 'server.test' ? Promise.resolve([cluster.hostAddress]) : Promise.reject(new Error('no such name')),
      })
    provider = at(60)
    impatient = at(3)
    for (const _one of [1, 2]) {
      const server = createServer((socket) => socket.on('error', () => {}).end('here')).listen(0, cluster.hostAddress)
      servers.push(server)
      const socket = answerNames(createSocket('udp4')).bind(0, cluster.hostAddress)
      sockets.push(socket)
      await Promise.all([once(server, 'listening'), once(socket, 'listening')])
    }
    places = [...servers, ...sockets].map((one) => (one.address() as AddressInfo).port)
    await create('/api/v1/namespaces', { metadata: { name: 'beside' } })
    const container = { name: 'web', image: CLUSTER_IMAGES.probe, command: ['probe', 'serve', ':8080'] }
    const spec = { terminationGracePeriodSeconds: 0, containers: [container] }
    await create('/api/v1/namespaces/beside/pods', { metadata: { name: 'web', labels: { name: 'web' } }, spec })
    await create('/api/v1/namespaces/beside/services', {
      metadata: { name: 'web' },
      spec: { selector: { name: 'web' }, ports: [{ port: 80, targetPort: 8080 }] },
    })
    await waitFor(
      'the other namespace’s Pod',
      () => cluster.ask<{ status: { phase: string } }>({ path: '/api/v1/namespaces/beside/pods/web' }),
      { until: ({ status }) => status.phase === 'Running' },
    )
  })
  afterAll(async () => {
    for (const server of servers) server.close()
    for (const socket of sockets) socket.close()
    await cluster?.stop()
  })

  test('a worker reaches what its egress says from its first command on, and nothing else', async () => {
    const { hostAddress } = cluster
    const [tcp, , udp] = places
    const forms: [NetworkSpec | undefined, string[]][] = [
      [undefined, ['tcp', 'other', 'udp', 'resolver', 'api', 'names', 'beside']],
      [{ egress: 'full' }, ['tcp', 'other', 'udp', 'resolver', 'api', 'names', 'beside']],
      [{ egress: 'none' }, []],
      [{ egress: 'restricted' }, []],
      [{ egress: 'restricted', allow: [`${hostAddress}:${tcp}`, `${hostAddress}:${udp}`] }, ['tcp', 'udp']],
      [{ egress: 'restricted', allow: [`${hostAddress}/32`] }, ['tcp', 'other', 'udp', 'resolver']],
      [{ egress: 'restricted', allow: ['*.beside.svc:8080'] }, ['names', 'beside']],
    ]
    const work = { mode: 'command' as const, command: ['sh', '-c', tries(hostAddress, places)] }
    const ids = await Promise.all(forms.map(([network]) => launch({ work, ...(network === undefined ? {} : { network }) })))
    const seen = await Promise.all(
      ids.map(async (id) => {
        expect(await ends(id)).toMatchObject({ exit: { code: 0 } })
        return (await logOf(id)).split('\n').flatMap((line) => /^(\S+) open$/.exec(line)?.[1] ?? [])
      }),
    )
    expect(seen).toEqual(forms.map(([, open]) => open))
    expect(await policies()).toEqual(ids.slice(2).toSorted())
    await end(...ids)
    await waitFor('their policies to go with them', policies, { until: (left) => left.length === 0 })
  })

  test('a name that is allowed is known without a resolver; one that has no address is told', async () => {
    const [tcp, other] = places
    const script = `nc -w 2 server.test ${tcp} </dev/null; nc -w 2 server.test ${other} </dev/null 2>/dev/null || echo closed`
    const work = { mode: 'command' as const, command: ['sh', '-c', script] }
    const id = await launch({ work, network: { egress: 'restricted', allow: [`server.test:${tcp}`] } })
    await ends(id)
    expect(await logOf(id)).toBe('hereclosed\n')
    await end(id)
    const refused = launch({ network: { egress: 'restricted', allow: [`${cluster.hostAddress}:1`, 'none.test'] } })
    await expect(refused).rejects.toMatchObject({ code: 'transient', effect: 'none', path: 'network.allow.1' })
  })

  test('a policy of a worker that never came to be goes, and a repeated launch finds its own', async () => {
    const refused = specOf({ network: { egress: 'none' }, settings: { priorityClass: 'none' } })
    await expect(provider.launch(refused, newCall())).rejects.toMatchObject({ code: 'invalid-spec' })
    expect(await policies()).not.toContain(refused.id)
    const spec = specOf({ network: { egress: 'none' } })
    const first = await provider.launch(spec, newCall())
    expect(await provider.launch(spec, newCall())).toEqual(first)
    const other = provider.launch({ ...spec, network: { egress: 'restricted' } }, newCall())
    await expect(other).rejects.toMatchObject({ code: 'conflict', effect: 'none' })
    expect(await policies()).toContain(spec.id)
    await end(spec.id)
    // As a plugin leaves it that is killed between the two.
    const left = specOf({ network: { egress: 'none' } })
    const labels = { ...left.tags }
    await create(`/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`, {
      metadata: { name: left.id, labels },
      spec: { podSelector: {}, policyTypes: ['Ingress'] },
    })
    expect(await provider.terminate({ id: left.id }, { graceMs: 0, force: false, reason: 'done' }, newCall())).toEqual({
      state: 'gone',
    })
    expect(await policies()).not.toContain(left.id)
  })

  test('what a pool has is made once, and goes with it; a stranger’s stays', async () => {
    const pool = poolOf('tidy')
    const name = poolName(pool.tags)
    const service = (port: number): object => ({ service: { name: 'tidy', ports: [{ port }] } })
    const stranger = `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`
    await create(stranger, {
      metadata: { name: 'stranger', labels: { 'muster-owner': 'another' } },
      spec: { podSelector: { matchLabels: { a: 'b' } } },
    })
    const first = await provider.preparePool({ ...pool, egress: 'none', settings: service(80) }, newCall())
    expect(await provider.preparePool({ ...pool, egress: 'none', settings: service(80) }, newCall())).toEqual(first)
    expect([await policies(), await services()]).toEqual([expect.arrayContaining([name, 'stranger']), [name, 'tidy']])
    const other = provider.preparePool({ ...poolOf('other'), settings: service(80) }, newCall())
    await expect(other).rejects.toMatchObject({ code: 'invalid-spec', effect: 'none', path: 'settings.service.name' })
    // Prepared otherwise: what both need is the later one's.
    const second = await provider.preparePool({ ...pool, settings: service(81) }, newCall())
    expect(second.digest).not.toBe(first.digest)
    const id = await launch({}, 'tidy')
    const early = provider.unpreparePool({ pool, handle: second.handle }, newCall())
    await expect(early).rejects.toMatchObject({ code: 'conflict', effect: 'none' })
    await end(id)
    await provider.unpreparePool({ pool, handle: first.handle }, newCall())
    expect(await services()).toEqual(expect.arrayContaining([name, 'tidy']))
    await provider.unpreparePool({ pool, handle: second.handle }, newCall())
    await provider.unpreparePool({ pool, handle: second.handle }, newCall())
    expect(await policies()).not.toContain(name)
    expect(await policies()).toContain('stranger')
    expect(await services()).not.toContain('tidy')
    const { items } = await cluster.ask<{ items: { metadata: { name: string } }[] }>({
      path: `/api/v1/namespaces/${namespace}/pods`,
    })
    expect(items.map(({ metadata }) => metadata.name).filter((one) => one.startsWith(name))).toEqual([])
  })

  test('workers know each other by name, and a Service spreads what comes over those that are ready', async () => {
    const pool = poolOf('serving')
    const settings = { service: { name: 'serving', ports: [{ port: 80, target: 8080 }] } }
    const { handle } = await provider.preparePool({ ...pool, settings }, newCall())
    const times = { intervalMs: 1000, timeoutMs: 1000, failures: 1 }
    const serve = { mode: 'command' as const, command: ['probe', 'serve', ':8080'] }
    const tcp = { check: { kind: 'tcp' as const, port: 8080 }, ...times }
    const never = { check: { kind: 'exec' as const, command: ['false'] }, ...times }
    const ready = [
      await launch({ work: serve, settings, readiness: tcp }, 'serving'),
      await launch({ work: serve, settings, readiness: tcp, network: { egress: 'none' } }, 'serving'),
    ]
    const unready = await launch({ work: serve, settings, readiness: never }, 'serving')
    await waitFor(
      'two to be ready, and the third to run',
      () =>
        provider.inspect(
          [...ready, unready].map((id) => ({ id })),
          newCall(),
        ),
      {
        until: (all) => all.filter((one) => one.ready === true).length === 2 && all.every(({ phase }) => phase === 'running'),
      },
    )
    const script = [
      `probe lookup ${ready[0]}.${poolName(pool.tags)} >/dev/null && echo known`,
      `probe lookup ${unready}.${poolName(pool.tags)} >/dev/null 2>&1 || echo unknown`,
      // Whoever sends the packets on hears of the second one a little later than we do.
      `until probe get http://serving 20 | grep ${ready[0]} | grep -q ${ready[1]}; do :; done`,
      'probe get http://serving 60',
    ]
    const client = await launch({ work: { mode: 'command', command: ['sh', '-c', script.join('\n')] } }, 'serving')
    await ends(client)
    const said = (await logOf(client)).trim().split('\n')
    expect(said).toEqual(expect.arrayContaining(['known', 'unknown']))
    const counts = said.at(-1) ?? ''
    const served = new Map([...counts.matchAll(/(w[0-9a-z]{26}):(\d+)/g)].map(([, id = '', times_]) => [id, Number(times_)]))
    expect([...served.keys()].toSorted()).toEqual(ready.toSorted())
    expect([...served.values()].reduce((sum, one) => sum + one, 0)).toBe(60)
    await end(...ready, unready, client)
    await provider.unpreparePool({ pool, handle }, newCall())
  })

  describe('of tenants', () => {
    tenantsOf(() => cluster)
  })

  test('without an engine nothing that should be closed begins, and the probe says so until there is one again', async () => {
    const pool = poolOf('closed')
    await cluster.halt('policies')
    const request = { ...pool, egress: 'none' as const }
    const told = expect.stringMatching(/10\.96\.0\.1:443 is forbidden and still answered after 3 s/) as string
    await expect(impatient.preparePool(request, newCall())).rejects.toMatchObject({
      code: 'unsupported',
      effect: 'none',
      path: 'network.egress.none',
      message: told,
    })
    expect([await policies(), await services()]).toEqual([expect.not.arrayContaining([poolName(pool.tags)]), []])
    expect(await impatient.probe(newCall())).toMatchObject({
      state: 'ready',
      notes: [told],
      facts: { networkPolicies: 'not enforced' },
    })
    const spec = specOf({ network: { egress: 'none' }, work: { mode: 'command', command: ['echo', 'began'] } }, 'closed')
    await impatient.launch(spec, newCall())
    expect(await ends(spec.id)).toMatchObject({
      problem: { code: 'unsupported', final: true, message: told },
      exit: { reason: told },
    })
    expect(await logOf(spec.id)).toBe('')
    await end(spec.id)
    await cluster.start('policies')
    const { handle } = await impatient.preparePool(request, newCall())
    const probe = await impatient.probe(newCall())
    expect(probe).toMatchObject({ state: 'ready', facts: { networkPolicies: 'enforced' } })
    expect(probe.notes).toBeUndefined()
    await provider.unpreparePool({ pool, handle }, newCall())
  })
})
