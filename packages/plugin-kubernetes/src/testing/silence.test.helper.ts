/** Streams of a cluster on which nobody says anything for long, over ways that end what is idle: the test of {@link silence}. */
import { readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { V1Pod } from '@kubernetes/client-node/dist/gen/models/V1Pod.js'
import { CLUSTER_IMAGES, type KubernetesCluster } from '@muster/test/systems/kubernetes'
import { type RunningProcess, startProcess } from '@muster/test/systems/process'
import { type Relay, startRelay } from '@muster/test/systems/relay'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { calls } from '../api/calls.ts'
import { type ClusterClient, connect } from '../api/client.ts'
import { openStream } from '../api/exec.ts'
import { followLog } from '../api/logs.ts'
import { forwardPort } from '../api/port-forward.ts'
import { createReflector } from '../api/reflector.ts'
import { createInput } from '../inside/input.ts'

/** How long it is silent, when a way takes a connection as idle, and what the client layer is told of its own times. */
type Limits = Partial<{ pingMs: number }>

interface Times {
  ms: number
  idleMs: number
  limits?: Limits
  quietMs?: number
  silenceMs?: number
}

/** The file that the result of the long form goes to: `pnpm prove` names it. */
const resultFile = process.env['MUSTER_PROVE_SILENCE']
/**
 * Six minutes, with the times that users have: longer than any time-out of the library and of what stands between, by default (a minute is usual
 * with load balancers). In short, in the same order: ping, idle, quiet, silence.
 */
const times: Times =
  resultFile === undefined
    ? { ms: 10_000, idleMs: 4_000, limits: { pingMs: 500 }, quietMs: 5_000, silenceMs: 5_000 }
    : { ms: 360_000, idleMs: 60_000 }
/** All that is not silence, with half a minute for each request that is lost on its way. */
const REST_MS = 240_000

/** A stream that is open, and repeats what it is told. */
interface Listening {
  kind: string
  heard(): string
  say(text: string): unknown
  /** All that it was told. */
  said(): string
  /** Undefined while it lives. */
  failure(): unknown
}

interface Way {
  name: 'direct' | 'cuts' | 'forgets'
  kubeconfig: string
  client: ClusterClient
  relay: Relay | undefined
}

const namespace = 'silence'
const PORT = 7000

/** The library's helpers: over which way each breaks, and in which time. */
const breaking = [
  { helper: 'exec', way: 'cuts', withinMs: times.idleMs },
  { helper: 'forward', way: 'cuts', withinMs: times.idleMs },
  { helper: 'watch', way: 'direct', withinMs: 31_000 },
  { helper: 'log', way: 'direct', withinMs: 302_000 },
].filter(({ withinMs }) => withinMs < times.ms)

export function silence(clusterOf: () => KubernetesCluster): void {
  test(
    'silence: what is followed, commands, ports and watches live through it, also where what is idle is ended',
    async () => {
      const cluster = clusterOf()
      await using stack = new AsyncDisposableStack()
      await cluster.ask({ method: 'POST', path: '/api/v1/namespaces', body: { metadata: { name: namespace } } })
      const ways = await Promise.all(
        (['direct', 'cuts', 'forgets'] as const).map(async (name) => {
          const way = await openWay(cluster, name)
          stack.defer(async () => {
            way.client.close()
            await way.relay?.[Symbol.asyncDispose]()
          })
          return way
        }),
      )
      const leaving = new AbortController()
      stack.defer(() => leaving.abort())
      const [direct, cuts] = ways as [Way, Way]
      const streams = (await Promise.all(ways.map((way) => openAll(way, { direct, signal: leaving.signal })))).flat()
      const unpinged = commandIn(cuts, { signal: leaving.signal, limits: { pingMs: 2 * times.ms } })
      const library = await Promise.all(
        breaking.map(async ({ helper, way }) => {
          const { kubeconfig } = ways.find(({ name }) => name === way) as Way
          const program = fileURLToPath(import.meta.resolve('./library.test.helper.ts'))
          const child = await startProcess([process.execPath, program, kubeconfig, helper, namespace, way])
          stack.defer(async () => {
            await child.stop()
          })
          return { helper, way, child }
        }),
      )
      await Promise.all([...streams, unpinged].map((one) => tell(one, 'before\n')))
      for (const { helper, child } of library)
        await waitFor(`the library's ${helper} to say so`, () => child.stdout().includes('before\n'))

      // paced: the silence is what is tried.
      await sleep(times.ms)

      const lives = streams.map(({ kind }) => ({ kind, failure: undefined, later: '' }))
      expect(streams.map(({ kind, failure, heard }) => ({ kind, failure: failure(), later: laterIn(heard()) }))).toEqual(lives)
      // So the ways do end what is idle, and pings are why the others live.
      for (const { relay } of ways) expect(relay?.idle()).not.toBe(0)
      expect(unpinged.failure()).toMatchObject({ name: 'ApiFailure', sent: true })
      for (const { child } of library) if (child.running()) process.kill(child.pid, 'SIGUSR2')
      await Promise.all(streams.map((one) => tell(one, 'after\n')))
      // Of what it was told before it was there, an attached one knows nothing.
      const whole = streams.map(({ kind, heard, said }) => [kind, kind === 'attach' ? said().slice(-heard().length) : said()])
      expect(streams.map(({ kind, heard }) => [kind, heard()])).toEqual(whole)
      expect(streams.map(({ kind, failure }) => ({ kind, failure: failure(), later: '' }))).toEqual(lives)
      const ended = library.map(({ child, ...which }) => ({ ...which, heard: child.stdout(), fate: fateOf(child) }))
      for (const { helper, heard, fate } of ended) {
        expect(laterIn(heard)).toBe('')
        expect(fate).toMatch(fates[helper] ?? /never/)
      }
      if (resultFile !== undefined)
        await writeFile(resultFile, JSON.stringify({ seconds: times.ms / 1000, ways: ways.map(countsOf), library: ended }))
    },
    times.ms + REST_MS,
  )
}

const laterIn = (heard: string): string => heard.replaceAll('before\n', '')

/** Settles once it has said so too. */
async function tell({ kind, heard, say, failure }: Listening, text: string): Promise<void> {
  await say(text)
  const seen = (): unknown => failure() ?? heard().endsWith(text)
  const told = await waitFor(`${kind} to say ${text.trim()}`, seen, { timeoutMs: REST_MS })
  if (told !== true) throw new Error(`${kind} ended`, { cause: told })
}

/** What becomes of each helper of the library. */
const fates: Readonly<Record<string, RegExp>> = {
  exec: /^waits for ever$/,
  forward: /^waits for ever$/,
  watch: /^gave up: TimeoutError/,
  log: /^ended its process: /,
}

function fateOf(child: RunningProcess): string {
  const [, ended] = /^ended: (.*)$/m.exec(child.stderr()) ?? []
  if (!child.running()) return `ended its process: ${/^.*Error.*$/m.exec(child.stderr())?.[0] ?? child.stderr()}`
  return ended === undefined ? 'waits for ever' : `gave up: ${ended}`
}

const countsOf = ({ name, relay }: Way): object => ({ name, opened: relay?.opened(), idle: relay?.idle() })

async function openWay(cluster: KubernetesCluster, name: Way['name']): Promise<Way> {
  const { hostname: host, port } = new URL(cluster.url)
  const to = { host, port: Number(port) }
  const relay = name === 'direct' ? undefined : await startRelay(to, { idleMs: times.idleMs, end: name })
  const kubeconfig = join(dirname(cluster.kubeconfig), `${namespace}-${name}.kubeconfig`)
  const text = await readFile(cluster.kubeconfig, 'utf8')
  await writeFile(kubeconfig, relay === undefined ? text : text.replace(cluster.url, `https://127.0.0.1:${relay.port}`))
  return { name, kubeconfig, relay, client: connect({ from: 'file', path: kubeconfig }) }
}

/** One of each kind, into a Pod of this way's own. */
async function openAll(way: Way, { direct, signal }: { direct: Way; signal: AbortSignal }): Promise<Listening[]> {
  const { client, name } = way
  const image = CLUSTER_IMAGES.busybox
  const echo = { name: 'echo', image, command: ['nc', '-ll', '-p', String(PORT), '-e', 'cat'] }
  const body = {
    metadata: { name, namespace, labels: { silence: name } },
    spec: {
      ...{ restartPolicy: 'Never', terminationGracePeriodSeconds: 0 },
      containers: [
        { name: 'main', image, command: ['cat'], stdin: true },
        { ...echo, startupProbe: { tcpSocket: { port: PORT }, periodSeconds: 1, failureThreshold: 60 } },
      ],
    },
  }
  await client.requests.create<object>(calls.createPod, body, { signal })
  await waitFor('the Pod to be ready', () => client.requests.get<V1Pod>(calls.getPod, { namespace, name }, { signal }), {
    until: ({ status }) => status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') === true,
  })
  const attached = commandIn(way, { attach: true, signal, limits: times.limits })
  const hears = (): boolean => {
    attached.say('before\n')
    return attached.heard() !== ''
  }
  await waitFor('it to be attached', hears, { everyMs: 250 })
  const command = commandIn(way, { signal, limits: times.limits })
  return [
    attached,
    { ...logOf(way, signal), said: attached.said },
    command,
    portOf(way, signal),
    watchOf(way, { direct, signal }),
  ]
}

/** `say`: how it is told something. The end of the stream, whatever it is, is a failure. */
function listen(kind: string, stream: AsyncIterable<string>, say: (text: string) => unknown = () => undefined): Listening {
  let heard = ''
  let said = ''
  let failure: unknown
  void (async () => {
    try {
      for await (const text of stream) heard += text
      failure = 'its end'
    } catch (error) {
      failure = error
    }
  })()
  return {
    ...{ kind, heard: () => heard, said: () => said, failure: () => failure },
    say(text) {
      said += text
      return say(text)
    },
  }
}

function commandIn(
  { client, name: pod }: Way,
  { attach = false, limits, signal }: { attach?: boolean; limits: Limits | undefined; signal: AbortSignal },
): Listening {
  const input = createInput()
  async function* output(): AsyncGenerator<string> {
    const what = { namespace, pod, container: 'main', stdin: input.bytes, ...(attach ? {} : { command: ['cat'] }) }
    const session = await openStream(client.transport, { ...what, limits: limits ?? {}, signal })
    session.exit.catch(() => {})
    for await (const { data } of session.output) yield data.toString()
  }
  return listen(attach ? 'attach' : 'exec', output(), input.push)
}

/** What its container says is what the attached one was told. */
function logOf({ client, name: pod }: Way, signal: AbortSignal): Listening {
  async function* lines(): AsyncGenerator<string> {
    const { quietMs } = times
    const how = { follow: true, signal, ...(quietMs === undefined ? {} : { quietMs }) }
    for await (const { bytes } of followLog(client.requests, { namespace, pod, container: 'main' }, how)) yield bytes.toString()
  }
  return listen('log', lines())
}

function portOf({ client, name: pod }: Way, signal: AbortSignal): Listening {
  const input = createInput()
  async function* output(): AsyncGenerator<string> {
    const { limits = {} } = times
    const target = { namespace, pod, port: PORT, input: input.bytes, limits, signal }
    for await (const data of forwardPort(client.transport, target)) yield data.toString()
  }
  return listen('forward', output(), input.push)
}

/** What is said is an annotation of the Pod. */
function watchOf({ client, name }: Way, { direct, signal }: { direct: Way; signal: AbortSignal }): Listening {
  async function* told(): AsyncGenerator<string> {
    const what = { list: calls.listPods, call: calls.watchPods, place: { namespace }, labelSelector: `silence=${name}` }
    const { silenceMs } = times
    const pods = createReflector<V1Pod>(client.requests, what, silenceMs === undefined ? {} : { silenceMs })
    let last: string | undefined
    try {
      for await (const { type, object } of pods.changes(signal)) {
        const now = type === 'gone' ? 'gone\n' : object.metadata?.annotations?.['said']
        if (now !== undefined && now !== last) yield now
        last = now
      }
    } finally {
      await pods.stop()
    }
  }
  return listen('watch', told(), (said) => {
    const metadata = { name, namespace, annotations: { said } }
    return direct.client.requests.merge<object>(calls.mergePod, { metadata }, { signal })
  })
}
