/** The client layer against a real API server, its kubelet and their faults. */
import type { V1Pod } from '@kubernetes/client-node/dist/gen/models/V1Pod.js'
import { CLUSTER_IMAGES, findStartKubernetes, type KubernetesCluster } from '@muster/test/systems/kubernetes'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { calls, rightsOf } from './calls.ts'
import { type ClusterClient, connect } from './client.ts'
import { openStream, type StreamSession } from './exec.ts'
import { isExpired } from './failure.ts'
import { formatPosition, type LogPart, parsePosition } from './log-position.ts'
import { followLog } from './logs.ts'
import { forwardPort } from './port-forward.ts'
import { createReflector } from './reflector.ts'
import { silence } from '../testing/silence.test.helper.ts'

const namespace = 'default'
const never = new AbortController().signal

suiteWith(await findStartKubernetes(), 'the client layer on a cluster', (start) => {
  let cluster: KubernetesCluster
  let client: ClusterClient

  // Its start may take 90 s, and each of the two pods as long.
  const startMs = 300_000
  beforeAll(async () => {
    cluster = await start()
    client = connect({ from: 'file', path: cluster.kubeconfig, context: cluster.context })
    await create('tools', ['sleep', '3600'])
    await create('server', ['probe', 'serve', ':8080'])
    await runs('tools')
    await runs('server')
  }, startMs)
  afterAll(async () => {
    client?.close()
    await cluster?.stop()
  })

  const create = (name: string, command: string[], spec: Partial<V1Pod['spec']> = {}): Promise<V1Pod> =>
    client.requests.create<V1Pod>(
      calls.createPod,
      {
        metadata: { name, namespace, labels: { suite: 'api' } },
        spec: {
          ...{ restartPolicy: 'Never', terminationGracePeriodSeconds: 0 },
          containers: [{ name: 'main', image: CLUSTER_IMAGES.probe, command }],
          ...spec,
        },
      },
      { signal: never },
    )
  const podOf = (name: string): Promise<V1Pod> => client.requests.get<V1Pod>(calls.getPod, { namespace, name }, { signal: never })
  const runs = (name: string): Promise<V1Pod> =>
    waitFor(`pod ${name} to run`, () => podOf(name), { until: ({ status }) => status?.phase === 'Running' })

  const exec = (command: string[], more: { stdin?: AsyncIterable<Uint8Array>; tty?: boolean } = {}): Promise<StreamSession> =>
    openStream(client.transport, { namespace, pod: 'tools', container: 'main', command, signal: never, ...more })

  test('a command has its output, its input with an end, and its exit code', async () => {
    const failing = await exec(['sh', '-c', 'echo out; echo err >&2; exit 7'])
    expect(await textOf(failing)).toEqual({ stdout: 'out\n', stderr: 'err\n' })
    expect(await failing.exit).toBe(7)

    const sum = await exec(['sh', '-c', 'cat | wc -c'], { stdin: bytes(3_000_000) })
    expect(await textOf(sum)).toEqual({ stdout: '3000000\n', stderr: '' })
    expect(await sum.exit).toBe(0)

    const large = await exec(['sh', '-c', 'head -c 5000000 /dev/zero'])
    expect((await textOf(large)).stdout.length).toBe(5_000_000)

    const absent = await exec(['no-such-program'])
    await textOf(absent)
    await expect(absent.exit).rejects.toThrow(/executable file not found/)
    const missing = openStream(client.transport, {
      namespace,
      pod: 'nobody',
      container: 'main',
      command: ['true'],
      signal: never,
    })
    await expect(missing).rejects.toMatchObject({ status: 404, reason: 'NotFound' })
  })

  test('a terminal has the size it was given, and gets another', async () => {
    const input = channel()
    // A size has a way of its own through the kubelet: it may come later than the input that was sent after it.
    const script = 'is() { until test "$(stty size)" = "$1"; do sleep 0.1; done; stty size; }; is "31 91"; read go; is "43 132"'
    const shell = await exec(['sh', '-c', script], { stdin: input.output, tty: true })
    await shell.resize({ columns: 91, rows: 31 })
    const seen = collect(shell)
    await waitFor('the first size', () => seen.text.includes('31 91'))
    await shell.resize({ columns: 132, rows: 43 })
    input.push('go\n')
    expect(await shell.exit).toBe(0)
    await seen.done
    expect(seen.text.replaceAll('\r', '').trim().split('\n').at(-1)).toBe('43 132')
    input.end()
  })

  test('a port is reached, also where nobody listens', async () => {
    const request = 'GET / HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n'
    const answer: Buffer[] = []
    const target = { namespace, pod: 'server', signal: never }
    for await (const chunk of forwardPort(client.transport, { ...target, port: 8080, input: texts(request) })) answer.push(chunk)
    expect(Buffer.concat(answer).toString()).toMatch(/^HTTP\/1.1 200/)
    const closed = forwardPort(client.transport, { ...target, port: 9, input: texts(request) })
    await expect(closed.next()).rejects.toMatchObject({ code: 'REFUSED' })
  })

  test('a log is read once, over restarts of its container and from every position', async () => {
    // A kubelet keeps the last ended start alone: the second one stays until the first was read.
    const script =
      'test -e /kept/again && n=2 || n=1; touch /kept/again; for i in $(seq 1 300); do echo "$n:$i"; done; ' +
      'until [ $n = 1 ] || [ -e /kept/read ]; do sleep 0.05; done; exit $((2 - n))'
    await create('restarts', ['sh', '-c', script], {
      restartPolicy: 'OnFailure',
      volumes: [{ name: 'kept', emptyDir: {} }],
      containers: [
        {
          name: 'main',
          image: CLUSTER_IMAGES.probe,
          command: ['sh', '-c', script],
          volumeMounts: [{ name: 'kept', mountPath: '/kept' }],
        },
      ],
    })
    const target = { namespace, pod: 'restarts', container: 'main' }
    const expected = [1, 2].flatMap((n) => Array.from({ length: 300 }, (_, at) => `${n}:${at + 1}\n`)).join('')
    const parts: LogPart[] = []
    for await (const part of followLog(client.requests, target, { follow: true, signal: never })) {
      parts.push(part)
      if (textIn([part]).includes('2:1\n'))
        expect(await cluster.kubectl(['-n', namespace, 'exec', 'restarts', '--', 'touch', '/kept/read'])).toMatchObject({
          code: 0,
        })
    }
    expect(textIn(parts)).toBe(expected)
    expect(parts.some(({ gap }) => gap)).toBe(false)

    const linesUpTo = (at: number): number => textIn(parts.slice(0, at + 1)).split('\n').length - 1
    // Of the start before, the kubelet has nothing but its end.
    const places = [...parts.entries()].filter(([at]) => linesUpTo(at) >= 300)
    expect(places.map(([at]) => linesUpTo(at))).toEqual(expect.arrayContaining([300, 600]))
    for (const [at, { position }] of places) {
      const from = parsePosition(formatPosition(position))
      const rest: LogPart[] = []
      for await (const part of followLog(client.requests, target, { from, follow: true, signal: never })) rest.push(part)
      expect(textIn([...parts.slice(0, at + 1), ...rest])).toBe(expected)
      // A kubelet keeps one ended start: whether the one before had more nobody can tell any more.
      expect(rest.map(({ gap }) => gap).lastIndexOf(true)).toBe(linesUpTo(at) === 300 ? 0 : -1)
    }
  })

  test('what is asked for is bounded by the cluster: uid, field manager, rights', async () => {
    await create('twice', ['sleep', '3600'])
    const wrong = client.requests.delete(calls.deletePod, { namespace, name: 'twice' }, { uid: 'another', signal: never })
    await expect(wrong).rejects.toMatchObject({ status: 409, reason: 'Conflict' })
    await expect(create('twice', ['true'])).rejects.toMatchObject({ status: 409, reason: 'AlreadyExists' })

    const labels = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'twice', namespace, labels: { suite: 'other' } } }
    await expect(client.requests.apply<object>(calls.applyPod, labels, { signal: never })).rejects.toMatchObject({ status: 409 })
    const annotated = { ...labels, metadata: { name: 'twice', namespace, annotations: { ours: 'yes' } } }
    await client.requests.apply<object>(calls.applyPod, annotated, { signal: never })
    expect((await podOf('twice')).metadata?.annotations?.['ours']).toBe('yes')

    expect(await client.requests.missing(rightsOf(), namespace, never)).toEqual([])
    const { uid = '' } = (await podOf('twice')).metadata ?? {}
    await client.requests.delete(calls.deletePod, { namespace, name: 'twice' }, { uid, signal: never })
  })

  test('a refused token is read anew, once, and rights that are not granted are named', async () => {
    const token = async (): Promise<string> => {
      const path = '/api/v1/namespaces/default/serviceaccounts/default/token'
      const made = await cluster.ask<{ status: { token: string } }>({ method: 'POST', path, body: { spec: {} } })
      return made.status.token
    }
    const config = await cluster.kubectl(['config', 'view', '--raw', '--minify', '-o', 'json'])
    const document = JSON.parse(config.stdout) as { users: { user: unknown }[] }
    let given = 'a-token-nobody-knows'
    const text = async (): Promise<string> => {
      for (const one of document.users) one.user = { token: given }
      given = await token()
      return JSON.stringify(document)
    }
    const asServiceAccount = connect({ from: 'text', text })
    const missing = await asServiceAccount.requests.missing(rightsOf([calls.getPod, calls.exec]), namespace, never)
    expect(missing.map(({ verb, resource }) => `${verb} ${resource}`)).toEqual(['get pods', 'create pods/exec', 'get pods/exec'])
    await expect(
      asServiceAccount.requests.get(calls.getPod, { namespace, name: 'tools' }, { signal: never }),
    ).rejects.toMatchObject({
      status: 403,
      reason: 'Forbidden',
    })
    asServiceAccount.close()
  })

  silence(() => cluster)

  test('an API server that is killed and forgets: list and log go on, a command ends as lost', async () => {
    const what = { list: calls.listPods, call: calls.watchPods, place: { namespace }, labelSelector: 'suite=api' }
    const failures: Error[] = []
    const reflector = createReflector<V1Pod>(client.requests, what, {
      backOff: { firstMs: 100, mostMs: 1_000 },
      onFailure: (error) => failures.push(error),
    })
    await reflector.synced(never)
    await create('counts', ['sh', '-c', 'i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo $i; sleep 0.05; done'])
    await runs('counts')
    const following = (async () => {
      const parts: LogPart[] = []
      const target = { namespace, pod: 'counts', container: 'main' }
      const options = { follow: true, signal: never, backOff: { firstMs: 100, mostMs: 1_000 } }
      for await (const part of followLog(client.requests, target, options)) parts.push(part)
      return parts
    })()
    const command = await exec(['sh', '-c', 'echo begun; sleep 3600'])
    const seen = collect(command)
    await waitFor('the command to begin', () => seen.text === 'begun\n')
    await cluster.ask({ method: 'DELETE', path: `/api/v1/namespaces/${namespace}/pods/server` })
    await waitFor('the deletion to be seen', () => reflector.store.get(`${namespace}/server`) === undefined)

    await cluster.kill('apiserver')
    await expect(command.exit).rejects.toMatchObject({ name: 'ApiFailure', sent: true })
    await expect(podOf('tools')).rejects.toMatchObject({ code: 'ECONNREFUSED', sent: false })
    await waitFor('the loss to be told', () => reflector.state().failure)
    await cluster.compact()
    await cluster.start('apiserver', ['--max-requests-inflight=20'])

    const again = await waitFor('a pod made after the loss', () => create('after', ['sleep', '3600']))
    await waitFor('it in the store', () => reflector.store.get(`${namespace}/after`)?.metadata?.uid === again.metadata?.uid)
    const { items } = await client.requests.all<V1Pod>(
      calls.listPods,
      { namespace },
      { signal: never, query: { labelSelector: 'suite=api' } },
    )
    const namesOf = (pods: Iterable<V1Pod>): Set<unknown> => new Set([...pods].map(({ metadata }) => metadata?.name))
    expect(namesOf(reflector.store.values())).toEqual(namesOf(items))
    expect(namesOf(items)).not.toContain('server')
    expect(textIn(await following)).toBe(Array.from({ length: 200 }, (_, at) => `${at + 1}\n`).join(''))

    expect(failures.some(isExpired)).toBe(true)

    // More at once than the server takes: each is answered in the end.
    const many = await Promise.all(Array.from({ length: 80 }, () => waitFor('an answer', () => podOf('tools'))))
    expect(new Set(many.map(({ metadata }) => metadata?.uid)).size).toBe(1)
    await reflector.stop()
  })
})

async function textOf(session: StreamSession): Promise<{ stdout: string; stderr: string }> {
  const text = { stdout: '', stderr: '' }
  for await (const { stream, data } of session.output) text[stream] += data.toString('latin1')
  return text
}

function collect(session: StreamSession): { text: string; done: Promise<void> } {
  const seen = { text: '', done: Promise.resolve() }
  seen.done = (async () => {
    for await (const { data } of session.output) seen.text += data.toString('latin1')
  })()
  seen.done.catch(() => {})
  return seen
}

function textIn(parts: readonly LogPart[]): string {
  return Buffer.concat(parts.map(({ bytes }) => bytes)).toString('utf8')
}

async function* bytes(count: number): AsyncGenerator<Uint8Array> {
  for (let left = count; left > 0; left -= 50_000) yield Buffer.alloc(Math.min(left, 50_000), 'x')
}

async function* texts(...all: string[]): AsyncGenerator<Uint8Array> {
  for (const one of all) yield Buffer.from(one)
}

/** An input that the test feeds. */
function channel(): { output: AsyncGenerator<Uint8Array>; push(text: string): void; end(): void } {
  const waiting: (string | undefined)[] = []
  let wake = (): void => {}
  const add = (one: string | undefined): void => {
    waiting.push(one)
    wake()
  }
  return {
    output: (async function* () {
      for (;;) {
        if (waiting.length === 0) await new Promise<void>((resolve) => (wake = resolve))
        const one = waiting.shift()
        if (one === undefined) return
        yield Buffer.from(one)
      }
    })(),
    push: add,
    end: () => add(undefined),
  }
}
