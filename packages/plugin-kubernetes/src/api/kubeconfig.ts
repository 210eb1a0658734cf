/** Which cluster is meant, and as whom: a kubeconfig or the pod's own service account, read into one shape. */
import { readFile } from 'node:fs/promises'
import { dirname, isAbsolute, join } from 'node:path'
import { load } from 'js-yaml'
import { z } from 'zod'
import type { ExecSettings } from './exec-credential.ts'
import { ApiFailure } from './failure.ts'

export type ClusterSource =
  | { from: 'file'; path: string; context?: string }
  /** The text of a kubeconfig, as a secret gives it; asked for anew each time. Files that it names are absolute. */
  | { from: 'text'; text(): Promise<string>; context?: string }
  /** The service account of the pod that this process is in. */
  | { from: 'pod'; folder?: string; env?: Readonly<Record<string, string | undefined>> }

/** One context of a kubeconfig. */
export interface ChosenContext {
  /** To tell whether anything changed. */
  text: string
  name: string
  /** Where relative paths begin. */
  folder: string
  server: URL
  namespace?: string
  proxy?: string
  /** Who asks, as far as the vendor's client does it: without programs and token files, which are done here. */
  document: string
  exec?: ExecSettings
  tokenFile?: string
  /** Headers that the vendor's client does not know of. */
  headers: Record<string, string | string[]>
  /** As `provideClusterInfo` hands it to a program. */
  clusterInfo: object
}

/** What every cluster calls its API server. A plugin has nothing of the environment that names its address. */
const API_SERVER = 'kubernetes.default.svc'

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'

/** The same source with a context of its own choice from then on. */
export function withContext(source: ClusterSource, context: string): ClusterSource {
  return source.from === 'pod' ? source : { ...source, context }
}

/** Reads the source. Rejects with `BAD_KUBECONFIG` and what is wrong with it; the text itself is in no message. */
export async function readSource(source: ClusterSource): Promise<ChosenContext> {
  if (source.from === 'pod') return choose(await podDocument(source), SERVICE_ACCOUNT, undefined)
  if (source.from === 'text') return choose(await source.text(), '/', source.context)
  const text = await readFile(source.path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw bad(`the kubeconfig ${source.path} cannot be read: ${error.code ?? error.message}`)
  })
  return choose(text, dirname(source.path), source.context)
}

async function podDocument({ folder = SERVICE_ACCOUNT, env = process.env }: ClusterSource & { from: 'pod' }): Promise<string> {
  const namespace = await readFile(join(folder, 'namespace'), 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw bad(`this process is in no pod with a service account: ${join(folder, 'namespace')}: ${error.code ?? error.message}`)
  })
  const { KUBERNETES_SERVICE_HOST: host = API_SERVER, KUBERNETES_SERVICE_PORT: port = '443' } = env
  const server = `https://${host.includes(':') ? `[${host}]` : host}:${port}`
  return JSON.stringify({
    clusters: [{ name: 'pod', cluster: { server, 'certificate-authority': join(folder, 'ca.crt') } }],
    users: [{ name: 'pod', user: { tokenFile: join(folder, 'token') } }],
    contexts: [{ name: 'pod', context: { cluster: 'pod', user: 'pod', namespace } }],
    'current-context': 'pod',
  })
}

const part = z.record(z.string(), z.unknown())
/** What is used of https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/; every tool adds keys of its own. */
const documentShape = z.looseObject({
  clusters: z.array(z.looseObject({ name: z.string(), cluster: part })).nullish(),
  users: z.array(z.looseObject({ name: z.string(), user: part.nullish() })).nullish(),
  contexts: z.array(z.looseObject({ name: z.string(), context: part })).nullish(),
  'current-context': z.string().nullish(),
})

function choose(text: string, folder: string, wanted: string | undefined): ChosenContext {
  const document = parse(text)
  const name = wanted ?? document['current-context']
  if (name === undefined || name === null || name === '') throw bad('the kubeconfig has no current context, and none is named')
  const { context } = find(document.contexts, name, 'context')
  const { cluster } = find(document.clusters, context['cluster'], 'cluster')
  const user = find(document.users, context['user'], 'user').user ?? {}
  const server = serverOf(cluster['server'])
  const provider = (user['auth-provider'] as { name?: unknown } | undefined)?.name
  if (provider !== undefined && provider !== 'oidc')
    throw bad(`the auth-provider ${JSON.stringify(provider)} is not known any more: use its exec program`)
  const { exec, tokenFile, ...rest } = user
  const namespace = context['namespace']
  const proxy = cluster['proxy-url']
  return {
    text,
    name,
    folder,
    server,
    ...(typeof namespace === 'string' && namespace !== '' ? { namespace } : {}),
    ...(typeof proxy === 'string' && proxy !== '' ? { proxy } : {}),
    ...(exec === undefined || exec === null ? {} : { exec }),
    ...(typeof tokenFile === 'string' ? { tokenFile: isAbsolute(tokenFile) ? tokenFile : join(folder, tokenFile) } : {}),
    headers: impersonation(user),
    clusterInfo: { ...cluster },
    document: JSON.stringify({
      clusters: [{ name: 'cluster', cluster: withHttp(server, cluster) }],
      users: [{ name: 'user', user: rest }],
      contexts: [{ name: 'context', context: { cluster: 'cluster', user: 'user' } }],
      'current-context': 'context',
    }),
  }
}

function parse(text: string): z.infer<typeof documentShape> {
  let document: unknown
  try {
    document = load(text)
  } catch {
    // The parser's words hold pieces of the text, and with it of its secrets.
    throw bad('the kubeconfig is not YAML')
  }
  const parsed = documentShape.safeParse(document)
  if (parsed.success) return parsed.data
  throw bad(`what is given is no kubeconfig: look at ${parsed.error.issues[0]?.path.join('.') || 'its begin'}`)
}

function find<T extends { name: string }>(list: readonly T[] | null | undefined, name: unknown, what: string): T {
  const found = list?.find((one) => one.name === name)
  if (found === undefined) throw bad(`the kubeconfig has no ${what} '${String(name)}'`)
  return found
}

/** Loopback only: a token in the clear is everybody's. */
function serverOf(value: unknown): URL {
  const server = typeof value === 'string' ? URL.parse(value) : null
  if (server === null) throw bad('the cluster of the kubeconfig has no server')
  const loopback = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(server.hostname)
  if (server.protocol === 'https:' || (server.protocol === 'http:' && loopback)) return server
  throw new ApiFailure(`${server.protocol}//${server.host} is not https`, { code: 'NOT_HTTPS', sent: false })
}

/** The vendor's client takes plain HTTP only where no certificate would be checked either; here it is loopback. */
function withHttp(server: URL, cluster: Record<string, unknown>): Record<string, unknown> {
  return server.protocol === 'http:' ? { ...cluster, 'insecure-skip-tls-verify': true } : cluster
}

function impersonation(user: Record<string, unknown>): Record<string, string | string[]> {
  const { 'as-groups': groups, 'as-uid': uid } = user
  return {
    ...(Array.isArray(groups) && groups.length > 0 ? { 'Impersonate-Group': groups.map(String) } : {}),
    ...(typeof uid === 'string' ? { 'Impersonate-Uid': uid } : {}),
  }
}

export function bad(message: string): ApiFailure {
  return new ApiFailure(message, { code: 'BAD_KUBECONFIG', sent: false })
}
