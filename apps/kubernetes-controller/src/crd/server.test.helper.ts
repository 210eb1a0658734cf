/** What the API server makes of the definitions: the tests of {@link definitionsOnServer}, on a cluster that has them. */
import { poolSchema } from '@muster/host/config'
import { ApiError, type KubernetesCluster } from '@muster/test/systems/kubernetes'
import { expect, test } from 'vitest'
import { API_VERSION } from '../group.ts'

const path = `/apis/${API_VERSION}/namespaces/default`

const pool = (spec: object, name = 'ci'): object => ({
  apiVersion: API_VERSION,
  kind: 'WorkerPool',
  metadata: { name },
  spec: { placement: ['docker'], ...spec },
})

const whole = {
  placement: ['docker', 'local'],
  worker: {
    work: 'hold',
    lifetime: '1d',
    grace: '500ms',
    image: 'node:26',
    env: { CI: 'true', _x1: '' },
    resources: { cpu: 0.5, memory: '1.5GiB', disk: 1_000_000 },
    os: 'linux',
    mounts: [
      { target: '/a', source: { kind: 'bind', path: '/a' }, readOnly: true },
      { target: '/b', source: { kind: 'volume', name: 'b' } },
      { target: '/c', source: { kind: 'tmpfs' } },
      { target: '/d', source: { kind: 'tmpfs', bytes: 4096 } },
    ],
    network: { egress: 'restricted', allow: ['10.0.0.0/8'], ports: [80] },
    security: { user: '1000:1000', capabilitiesDrop: ['ALL'] },
    readiness: { tcp: 80, interval: '2s' },
    services: [{ name: 'db', image: 'postgres', env: { A: 'b' }, readiness: { exec: ['pg_isready'] } }],
    labels: { 'any name': 'at all' },
    settings: { anything: [{ deep: true }] },
  },
  scale: { min: 1, max: 12, warm: 2, idle: '5m' },
  uses: 3,
  queue: '2m',
  keepFailed: '0.5d',
  credentials: ['npm'],
}

/** What each refusal says: of the server, and whether the host's own schema refuses it too. */
const refused: [string, object, RegExp, 'host too' | 'only together'][] = [
  ['no placement', { placement: [] }, /spec\.placement/, 'host too'],
  ['a provider with a wrong name', { placement: ['Docker'] }, /placement\[0\]/, 'host too'],
  ['an unknown key', { scales: {} }, /unknown field "spec\.scales"/, 'host too'],
  ['a bare number as a duration', { queue: 30 }, /queue/, 'host too'],
  ['a duration of an unknown unit', { queue: '3 weeks' }, /queue/, 'host too'],
  ['a shorter wait than makes sense', { queue: '900ms' }, /at least 1s/, 'host too'],
  ['a lifetime that is too short', { worker: { lifetime: '29s' } }, /at least 30s/, 'host too'],
  ['a lifetime of too few days', { worker: { lifetime: '0.0003d' } }, /at least 30s/, 'host too'],
  ['a worker kept too long', { keepFailed: '1.1d' }, /at most 24h/, 'host too'],
  ['a size of an unknown unit', { worker: { resources: { memory: '4Gb' } } }, /memory/, 'host too'],
  ['no processor at all', { worker: { resources: { cpu: 0 } } }, /cpu/, 'host too'],
  ['a variable that is no name', { worker: { env: { 'A-B': 'x' } } }, /names match/, 'host too'],
  ['another work mode', { worker: { work: 'hang' } }, /Unsupported value: "hang"/, 'host too'],
  ['a port that is none', { worker: { network: { ports: [0] } } }, /ports\[0\]/, 'host too'],
  ['two ways to be ready', { worker: { readiness: { tcp: 1, exec: ['true'] } } }, /exactly one of exec, tcp, http/, 'host too'],
  ['no way to be ready', { worker: { readiness: { interval: '1s' } } }, /exactly one of exec, tcp, http/, 'host too'],
  [
    'no way to be ready, of a service',
    { worker: { services: [{ name: 'db', image: 'x', readiness: {} }] } },
    /exactly one of exec, tcp, http/,
    'host too',
  ],
  [
    'a folder without its path',
    { worker: { mounts: [{ target: '/a', source: { kind: 'bind' } }] } },
    /bind has path/,
    'host too',
  ],
  [
    'a volume with a size',
    { worker: { mounts: [{ target: '/a', source: { kind: 'volume', name: 'b', bytes: 1 } }] } },
    /volume has name, and no other key/,
    'host too',
  ],
  ['more warm than there may be', { scale: { warm: 3, max: 2 } }, /warm is no more than max/, 'only together'],
  ['more than the default maximum', { scale: { min: 11 } }, /min is no more than max/, 'only together'],
]

export function definitionsOnServer(cluster: () => KubernetesCluster): void {
  const dryRun = (body: object, kind = 'workerpools'): Promise<unknown> =>
    cluster().ask({ method: 'POST', path: `${path}/${kind}?dryRun=All&fieldValidation=Strict`, body })
  const refusal = async (body: object, kind?: string): Promise<string> => {
    const answer = await dryRun(body, kind).catch((error: unknown) => error)
    if (!(answer instanceof ApiError)) throw new Error(`it was taken: ${JSON.stringify(answer)}`)
    return (JSON.parse(answer.message.slice(answer.message.indexOf('{'))) as { message: string }).message
  }

  test('what the host takes, the server takes, and sets what `kubectl scale` needs', async () => {
    expect(poolSchema.safeParse(whole).error).toBeUndefined()
    expect(await dryRun(pool(whole))).toMatchObject({ spec: whole })
    expect(await dryRun(pool({ worker: {} }))).toMatchObject({ spec: { scale: { warm: 0 } } })
    expect(await dryRun(pool({ class: 'small' }))).toMatchObject({ spec: { class: 'small' } })
  })

  test.each(refused)('%s is refused', async (...row) => {
    const [, spec, message, also] = row
    expect(await refusal(pool(spec))).toMatch(message)
    expect(poolSchema.safeParse({ placement: ['docker'], ...spec }).success).toBe(also === 'only together')
  })

  test('names are those of the host; a pool has a class or a worker; a worker stays what it is', async () => {
    expect(await refusal(pool({}, 'a.b'))).toMatch(/a name has 1 to 40/)
    expect(await refusal(pool({}, 'a'.repeat(41)))).toMatch(/a name has 1 to 40/)
    expect(await refusal(pool({ class: 'small', worker: {} }))).toMatch(/either a class or a worker/)
    const worker = { apiVersion: API_VERSION, kind: 'Worker', metadata: { name: 'w1' }, spec: { pool: 'ci', provider: 'docker' } }
    expect(await refusal(worker, 'workers')).toMatch(/named by its id/)

    const name = `w${'0'.repeat(26)}`
    const { kubectl } = cluster()
    await cluster().ask({ method: 'POST', path: `${path}/workers`, body: { ...worker, metadata: { name } } })
    const changed = await kubectl(['patch', 'worker', name, '--type=merge', '-p', '{"spec":{"pool":"other"}}'])
    expect(changed.stderr).toMatch(/belongs to one pool and one provider for ever/)
    expect((await kubectl(['delete', 'worker', name])).code).toBe(0)
  })

  test('kubectl explains every key in the words of the configuration', async () => {
    const explained = async (what: string): Promise<string> => (await cluster().kubectl(['explain', what])).stdout
    expect(await explained('workerpool.spec')).toMatch(/placement\s+<\[\]string> -required-\s+Providers in order/)
    expect(await explained('wp.spec.scale')).toMatch(/warm\s+<integer>\s+Idle workers kept ready/)
    expect(await explained('wc.spec')).toMatch(/lifetime\s+<string>\s+Maximum age of a worker/)
    expect(await explained('worker.status')).toMatch(/node\s+<string>\s+The machine or region/)
  })
}
