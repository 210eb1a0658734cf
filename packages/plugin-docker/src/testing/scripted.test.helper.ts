/** An engine in memory for tests of a launch: containers that are made, started and removed, and answers that a test puts in between. */
import { Readable } from 'node:stream'
import type { LaunchSpec, OwnerTags, SpecField } from '@muster/core'
import manifest from '../../muster-plugin.json' with { type: 'json' }
import type { Engine, EngineRequest } from '../client.ts'
import { EngineFailure } from '../errors.ts'
import { type DockerProvider, dockerProvider } from '../provider.ts'
import { rulesOf } from '../rules.ts'

export const id: string = 'w0123456789abcdefghijklmnop'
export const tags: OwnerTags = {
  ...{ 'muster-owner': 'o', 'muster-provider': 'docker', 'muster-pool': 'p' },
  ...{ 'muster-worker': id, 'muster-epoch': '1' },
}

export function specOf(parts: Partial<LaunchSpec> = {}): LaunchSpec {
  return { id, tags, image: 'i', work: { mode: 'command', command: ['true'] }, ...parts }
}

export interface ScriptedContainer {
  body: { Labels?: Record<string, string>; HostConfig?: Record<string, unknown> }
  status: string
}

export interface Scripted {
  engine: Engine
  provider: DockerProvider
  containers: Map<string, ScriptedContainer>
  /** Every change that was asked for. */
  asked: string[]
}

export const failure = (status: number, message: string): EngineFailure => new EngineFailure(message, { status, sent: true })

const info = {
  ...{ Name: 'n', OSType: 'linux', Architecture: 'x86_64', NCPU: 4, MemTotal: 8e9, Driver: 'overlay2' },
  ...{ MemoryLimit: true, SwapLimit: true, PidsLimit: true, CpuCfsPeriod: true, CpuCfsQuota: true },
  ...{ CPUShares: true, CPUSet: true },
}

/** Every image but `absent` is there. `first` may answer instead, or throw; undefined leaves it to the engine. */
export function scriptedEngine(first: (request: EngineRequest, known: Scripted) => unknown = () => undefined): Scripted {
  const containers = new Map<string, ScriptedContainer>()
  const networks = new Map<string, Record<string, string>>()
  const asked: string[] = []
  const get = (name: string): ScriptedContainer => {
    const found = containers.get(name)
    if (found === undefined) throw failure(404, `No such container: ${name}`)
    return found
  }
  const inspected = (name: string): object => {
    const { body, status } = get(name)
    const State = { Status: status, Running: status === 'running', ExitCode: 0, OOMKilled: false, Error: '' }
    return {
      Id: `c-${name}`,
      Image: 'sha256:i',
      State,
      Config: { User: '', ...body, WorkingDir: '/' },
      HostConfig: body.HostConfig,
      NetworkSettings: {},
    }
  }
  const container = ({ method, path, query = {}, body }: EngineRequest): unknown => {
    const [, , name = '', what] = path.split('/')
    if (name === 'create') {
      const given = String(query['name'])
      if (containers.has(given)) throw failure(409, `Conflict. The container name "/${given}" is already in use`)
      containers.set(given, { body: body as ScriptedContainer['body'], status: 'created' })
      return { Id: `c-${given}`, Warnings: [] }
    }
    if (method === 'DELETE') {
      if (get(name).status === 'running' && query['force'] !== true) throw failure(409, 'You cannot remove a running container')
      return void containers.delete(name)
    }
    if (what === 'start') return void (get(name).status = 'running')
    return what === 'exec' ? { Id: name } : inspected(name)
  }
  const rows = ({ query }: EngineRequest): object[] =>
    [...containers].flatMap(([name, { body, status }]) =>
      ((query?.['filters'] ?? {}) as { label: string[] }).label.every((wanted) => {
        const [key = '', value] = wanted.split('=')
        return value === undefined ? body.Labels?.[key] !== undefined : body.Labels?.[key] === value
      })
        ? [{ Id: `c-${name}`, Names: [`/${name}`], Labels: body.Labels, State: status }]
        : [],
    )
  const network = ({ method, path, body }: EngineRequest): unknown => {
    const { Name = '', Labels = {} } = (body ?? {}) as { Name?: string; Labels?: Record<string, string> }
    if (path === '/networks/create') return void networks.set(Name, Labels)
    if (method === 'DELETE') return void networks.delete(path.slice('/networks/'.length))
    if (path === '/networks') return [...networks].map(([name, labels]) => ({ Id: name, Name: name, Labels: labels }))
    return { IPAM: { Config: [] } }
  }
  const answers = (request: EngineRequest): unknown => {
    const { path } = request
    if (path === '/info') return info
    if (path === '/containers/json') return rows(request)
    if (path.startsWith('/networks')) return network(request)
    if (path.startsWith('/volumes')) return { Volumes: null }
    if (path.startsWith('/exec/')) return { ExitCode: 0, Running: false }
    if (path.startsWith('/containers/')) return container(request)
    if (path.endsWith('/absent/json')) throw failure(404, 'No such image')
    return { Id: path }
  }
  const ask = async (request: EngineRequest): Promise<unknown> => {
    request.signal.throwIfAborted()
    if (request.method !== 'GET') asked.push(`${request.method} ${request.path}`)
    return (await first(request, known)) ?? answers(request)
  }
  const body = async (request: EngineRequest): Promise<Readable> => {
    const answer = await ask(request)
    return answer instanceof Readable ? answer : Readable.from([])
  }
  const agreed = { api: '1.41', theirs: {} }
  const engine = {
    json: ask,
    stream: body,
    hijack: body,
    agreed: () => Promise.resolve(agreed),
    doubt: () => {},
    close: () => {},
  } as unknown as Engine
  const provider = dockerProvider({
    endpoint: { socketPath: '/x' },
    context: { owner: 'o', provider: 'docker', now: () => Date.now() },
    fields: manifest.capabilities.fields as SpecField[],
    rules: rulesOf({ firewall: { image: 'firewall' } }),
    engine,
  })
  const known: Scripted = { engine, provider, containers, asked }
  return known
}
