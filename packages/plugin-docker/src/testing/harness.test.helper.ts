/** What the integration tests of this plugin share: a provider on a real engine under an owner of its own, and calls to it. */
import { randomBytes } from 'node:crypto'
import {
  type Call,
  type ExecInput,
  type LaunchSpec,
  type LogChunk,
  ProviderError,
  type SpecField,
  type WorkerExit,
  type WorkerObservation,
} from '@muster/core'
import { engineJson } from '@muster/test/systems/engine'
import { ensureImage } from '@muster/test/systems/images'
import { inventoryOf } from '@muster/test/systems/inventory'
import { waitFor } from '@muster/test/systems/wait'
import { pack } from 'tar-stream'
import manifest from '../../muster-plugin.json' with { type: 'json' }
import type { Engine } from '../client.ts'
import type { Endpoint } from '../config.ts'
import { type CopiesConfig, copyLimitsOf } from '@muster/provider-parts/copies'
import { imageRulesOf, type ImagesConfig } from '../images/image-rules.ts'
import { type DockerProvider, dockerProvider } from '../provider.ts'
import { type HostRules, rulesOf } from '../rules.ts'

export const busybox = 'muster-test/busybox:1'

export interface Harness {
  socket: string
  owner: string
  /** A call with the harness's secrets. */
  call(parts?: CallParts): Call
  provider: DockerProvider
  /** Another provider object, as a second process of the plugin would have it. */
  another(engine?: Engine): DockerProvider
  /** A spec of a new worker; what is given replaces the defaults. */
  spec(parts?: Partial<LaunchSpec>): LaunchSpec
  command(...command: string[]): LaunchSpec
  hold(parts?: Partial<LaunchSpec>): LaunchSpec
  phase(id: string): Promise<string | undefined>
  observe(id: string): Promise<WorkerObservation | undefined>
  /** Waits for the worker's end. */
  exit(id: string): Promise<WorkerExit>
  /** Launches, waits for the end, answers exit and output. */
  run(spec: LaunchSpec): Promise<{ exit: WorkerExit; stdout: Buffer; stderr: Buffer }>
  /** Terminates until the worker is gone: on a busy machine the first answer comes before its end. */
  gone(id: string, graceMs: number): Promise<void>
  exec(id: string, command: string[], more?: Partial<ExecInput>): Promise<{ exit: WorkerExit; stdout: string; stderr: string }>
  /** Containers of this owner, whatever provider object made them. */
  left(): Promise<string[]>
  clean(): Promise<void>
}

let workers = 0

function workerId(): string {
  return `w${Date.now().toString(36)}${(++workers).toString(36).padStart(4, '0')}${randomBytes(16).toString('hex')}`.slice(0, 27)
}

export function execId(): string {
  return `x${workerId().slice(1)}`
}

export interface CallParts {
  signal?: AbortSignal
  timeoutMs?: number
  log?: (line: string) => void
  /** Of the provider, as they are now. */
  secrets?: Readonly<Record<string, string>>
}

/** A call with a minute, unless the test says otherwise. */
export function callOf(options: CallParts = {}): Call {
  const { timeoutMs = 60_000, log = () => {}, secrets = {} } = options
  const signals = [AbortSignal.timeout(timeoutMs), ...(options.signal === undefined ? [] : [options.signal])]
  const write = (message: string, data?: Record<string, unknown>): void => log(`${message} ${JSON.stringify(data ?? {})}`)
  return {
    signal: AbortSignal.any(signals),
    deadline: Date.now() + timeoutMs,
    idempotencyKey: 'key',
    epoch: 1,
    attempt: 1,
    log: { debug: write, info: write, warn: write, error: write },
    trace: { traceparent: '00-00000000000000000000000000000001-0000000000000001-01' },
    now: () => Date.now(),
    secret: (name) => {
      const value = secrets[name]
      if (value !== undefined) return Promise.resolve({ value, version: value })
      return Promise.reject(new ProviderError('auth', `no source for the secret '${name}' is configured`, { effect: 'none' }))
    },
  }
}

export interface HarnessOptions {
  provider?: string
  /** Another way to the same engine. */
  endpoint?: Endpoint
  secrets?: Readonly<Record<string, string>>
  images?: ImagesConfig
  copies?: CopiesConfig
  rules?: HostRules
  /** Where the provider keeps what it must know again; without it nothing is kept. */
  dataDir?: string
}

export async function createHarness(socket: string, options: HarnessOptions = {}): Promise<Harness> {
  const {
    provider: providerName = 'docker',
    endpoint = { socketPath: socket },
    secrets = {},
    images = {},
    copies = {},
    dataDir,
  } = options
  const { rules = rulesOf({}, socket) } = options
  const call = (parts: CallParts = {}): Call => callOf({ secrets, ...parts })
  await ensureImage(socket, 'busybox')
  const owner = `t${randomBytes(6).toString('hex')}`
  const another = (engine?: Engine): DockerProvider =>
    dockerProvider({
      endpoint,
      images: imageRulesOf(images),
      copies: copyLimitsOf(copies),
      context: { owner, provider: providerName, now: () => Date.now(), ...(dataDir === undefined ? {} : { dataDir }) },
      fields: manifest.capabilities.fields as SpecField[],
      rules,
      ...(engine === undefined ? {} : { engine }),
    })
  const provider = another()
  const spec = (parts: Partial<LaunchSpec> = {}): LaunchSpec => {
    const id = workerId()
    const tags = {
      'muster-owner': owner,
      'muster-provider': providerName,
      'muster-pool': 'pool',
      'muster-worker': id,
      'muster-epoch': '1',
    }
    return { id, tags, image: busybox, work: { mode: 'command', command: ['true'] }, ...parts }
  }
  const observe = async (id: string): Promise<WorkerObservation | undefined> => (await provider.inspect([{ id }], call()))[0]
  const exit = async (id: string): Promise<WorkerExit> => {
    const seen = await waitFor('the exit', async () => (await observe(id))?.exit, { timeoutMs: 120_000 })
    return seen as WorkerExit
  }
  const containers = async (): Promise<string[]> => {
    const filters = JSON.stringify({ label: [`muster-owner=${owner}`] })
    const rows = await engineJson<{ Id: string; Names: string[] }[]>(socket, {
      path: '/containers/json',
      query: { all: '1', filters },
    })
    return rows.map(({ Names }) => Names[0] ?? '')
  }
  return {
    socket,
    owner,
    call,
    provider,
    another,
    spec,
    command: (...command) => spec({ work: { mode: 'command', command } }),
    hold: (parts = {}) => spec({ work: { mode: 'hold' }, ...parts }),
    observe,
    phase: async (id) => (await observe(id))?.phase,
    exit,
    async run(wanted) {
      await provider.launch(wanted, call())
      const output = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] }
      for await (const { stream, data } of provider.logs({ id: wanted.id }, { follow: true }, call({ timeoutMs: 120_000 })))
        output[stream].push(data)
      return { exit: await exit(wanted.id), stdout: Buffer.concat(output.stdout), stderr: Buffer.concat(output.stderr) }
    },
    async gone(id, graceMs) {
      const ask = () => provider.terminate({ id }, { graceMs, force: false, reason: 'test' }, call())
      await waitFor(`the end of ${id}`, ask, { until: ({ state }) => state === 'gone' })
    },
    async exec(id, command, more = {}) {
      const input = { id: execId(), command, stdin: false, from: { stdout: 0, stderr: 0 }, ...more }
      const session = await provider.exec({ id }, input, call())
      const output = { stdout: '', stderr: '' }
      for await (const { stream, data } of session.output) output[stream] += Buffer.from(data).toString()
      return { exit: await session.exit, ...output }
    },
    left: containers,
    async clean() {
      // Containers come first: they hold the rest.
      for (const line of await inventoryOf(socket, [`muster-owner=${owner}`])) {
        const [kind = '', key = ''] = line.split(' ')
        const query = kind === 'container' ? { force: '1', v: '1' } : {}
        await engineJson(socket, { method: 'DELETE', path: `/${kind}s/${key}`, query }).catch(() => {})
      }
    },
  }
}

/** All of a log, from a cursor on. */
export async function readAll(
  provider: DockerProvider,
  id: string,
  options: { cursor?: string; follow?: boolean } = {},
): Promise<{ chunks: LogChunk[]; stdout: Buffer; stderr: Buffer }> {
  const chunks: LogChunk[] = []
  for await (const chunk of provider.logs(
    { id },
    { follow: options.follow ?? true, ...(options.cursor === undefined ? {} : { cursor: options.cursor }) },
    callOf(),
  ))
    chunks.push(chunk)
  const of = (stream: string): Buffer => Buffer.concat(chunks.filter((chunk) => chunk.stream === stream).map(({ data }) => data))
  return { chunks, stdout: of('stdout'), stderr: of('stderr') }
}

/** An archive of one file, of so many zeros. */
export async function* tarOf(name: string, bytes: number = 0): AsyncGenerator<Uint8Array> {
  const archive = pack()
  archive.entry({ name }, Buffer.alloc(bytes))
  archive.finalize()
  yield* archive as AsyncIterable<Uint8Array>
}
