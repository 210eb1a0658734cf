/** As whom a cluster is asked: headers and TLS material, read anew in time, and at once after a refusal. */
import { readFile } from 'node:fs/promises'
import { createSecureContext } from 'node:tls'
import type { KubeConfig } from '@kubernetes/client-node/dist/config.js'
import { type ExecCredential, runExecCredential } from './exec-credential.ts'
import { bad, type ChosenContext, type ClusterSource, readSource, withContext } from './kubeconfig.ts'
import { ApiFailure } from './failure.ts'
import { raceAbort } from '@muster/provider-parts/waiting'

export interface TlsMaterial {
  ca?: string | Buffer
  cert?: string | Buffer
  key?: string | Buffer
  servername?: string
  rejectUnauthorized?: boolean
}

export interface Identity {
  readonly server: URL
  readonly namespace: string | undefined
  readonly proxy: string | undefined
  readonly headers: Readonly<Record<string, string | string[]>>
  readonly tls: TlsMaterial
  /** An agent of the vendor's client, for ways that Node's own does not know. */
  vendorAgent(): Promise<unknown>
}

export interface Identities {
  current(signal: AbortSignal): Promise<Identity>
  /** The server refused this one: the next `current` reads everything anew. */
  refuse(identity: Identity): void
}

/** Files of tokens and certificates are rotated well before they expire: client-go reads tokens anew each minute. */
const READ_AGAIN_MS = 30_000
/** A credential that expires within that is not used any more; of a short-lived one a fifth of its life. */
const EXPIRY_MARGIN_MS = 60_000
/**
 * A certificate and its key are two files, and whoever rotates them replaces one first: what was read before stands meanwhile, and each second another
 * try is made. What is still torn after half a minute is a mistake.
 */
const TORN_MS = 30_000
const TORN_AGAIN_MS = 1_000

/** What cannot be used as it is, and may be in the middle of its rotation. */
class Torn extends ApiFailure {}

interface Known {
  identity: Identity
  until: number
}

interface Clocks {
  /** Milliseconds since 1970: what expires says so by that. */
  now?: () => number
  /** How long what was read stands. */
  readAgainMs?: number
}

export function createIdentities(
  source: ClusterSource,
  { now = Date.now, readAgainMs = READ_AGAIN_MS }: Clocks = {},
): Identities {
  let known: Known | undefined
  /** Where it began: whatever `current-context` says later, and whichever server, workers are where they were made. */
  let begun: ChosenContext | undefined
  let reading: Promise<Known> | undefined
  /** The last that could be used, and since when there is only what cannot. */
  let whole: Identity | undefined
  let tornSince: number | undefined
  let loaded: { context: ChosenContext; client: KubeConfig; credential?: ExecCredential & { until: number } } | undefined
  return {
    async current(signal) {
      if (known !== undefined && now() < known.until) return known.identity
      reading ??= readOrStay().finally(() => (reading = undefined))
      known = await raceAbort(reading, signal)
      return known.identity
    },
    refuse(identity) {
      if (known?.identity !== identity) return
      known = undefined
      if (loaded !== undefined) delete loaded.credential
    },
  }

  async function readOrStay(): Promise<Known> {
    try {
      const found = await read()
      whole = found.identity
      tornSince = undefined
      return found
    } catch (error) {
      if (!(error instanceof Torn) || whole === undefined) throw error
      tornSince ??= now()
      if (now() - tornSince >= TORN_MS) throw error
      return { identity: whole, until: now() + TORN_AGAIN_MS }
    }
  }

  async function read(): Promise<Known> {
    const context = await readSource(begun === undefined ? source : withContext(source, begun.name))
    begun ??= context
    if (context.server.href !== begun.server.href)
      throw bad(
        `the context ${JSON.stringify(context.name)} of the kubeconfig was at ${begun.server.origin} and is at ${context.server.origin} now`,
      )
    if (loaded?.context.text !== context.text) loaded = { context, client: await clientOf(context) }
    const { client } = loaded
    const asked = await askClient(client)
    judge(asked.tls, context)
    const credential = context.exec === undefined ? undefined : await credentialOf(loaded, context.exec)
    const token = credential?.token ?? (context.tokenFile === undefined ? undefined : await readToken(context.tokenFile))
    const identity: Identity = {
      server: context.server,
      namespace: context.namespace,
      proxy: context.proxy,
      headers: { ...context.headers, ...asked.headers, ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }) },
      tls: { ...asked.tls, ...(credential?.cert === undefined ? {} : { cert: credential.cert, key: credential.key ?? '' }) },
      // Another one than the client that is kept: that would answer with the agent of the certificates it saw first.
      vendorAgent: async () => (await askClient(await clientOf(context))).agent,
    }
    return { identity, until: Math.min(now() + readAgainMs, credential?.until ?? Infinity) }
  }

  async function credentialOf(of: NonNullable<typeof loaded>, exec: object): Promise<ExecCredential & { until: number }> {
    if (of.credential !== undefined && now() < of.credential.until) return of.credential
    const { clusterInfo, folder } = of.context
    const got = await runExecCredential(exec, clusterInfo, folder)
    const { expiresAt = Infinity } = got
    const until = expiresAt - Math.min(EXPIRY_MARGIN_MS, Math.max(0, expiresAt - now()) / 5)
    of.credential = { ...got, until }
    return of.credential
  }
}

/** Throws {@link Torn} for what no connection could be made with. */
function judge(tls: TlsMaterial, { name }: ChosenContext): void {
  const told = (why: string): Torn =>
    new Torn(`the certificate and key of the context ${JSON.stringify(name)} cannot be used together: ${why}`, {
      ...{ code: 'BAD_KUBECONFIG', sent: false },
    })
  if (tls.cert === undefined && tls.key === undefined) return
  if (tls.cert === undefined || tls.key === undefined) throw told(`there is no ${tls.key === undefined ? 'key' : 'certificate'}`)
  try {
    createSecureContext(tls)
  } catch (error) {
    throw told(error instanceof Error ? error.message : String(error))
  }
}

async function readToken(path: string): Promise<string> {
  const token = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw bad(`the token file ${path} cannot be read: ${error.code ?? error.message}`)
  })
  // An editor's newline would be refused as part of a header.
  return token.trim()
}

/** Loaded when the first cluster is asked: the vendor's client takes most of a plugin's start. */
async function clientOf({ document, folder }: ChosenContext): Promise<KubeConfig> {
  const { KubeConfig: Client } = await import('@kubernetes/client-node/dist/config.js')
  const client = new Client()
  client.loadFromString(document)
  client.makePathsAbsolute(folder)
  return client
}

interface Asked {
  headers: Record<string, string>
  tls: TlsMaterial
  agent: unknown
}

async function askClient(client: KubeConfig): Promise<Asked> {
  const options: TlsMaterial & { headers?: Record<string, string>; auth?: string; agent?: unknown } = {}
  try {
    await client.applyToHTTPSOptions(options as Parameters<KubeConfig['applyToHTTPSOptions']>[0])
  } catch (error) {
    if (error instanceof ApiFailure) throw error
    const { message, code } = error as NodeJS.ErrnoException
    const why = `the kubeconfig cannot be used: ${message}`
    throw code === 'ENOENT' ? new Torn(why, { code: 'BAD_KUBECONFIG', sent: false }) : bad(why)
  }
  const { headers = {}, auth, agent, ca, cert, key, servername, rejectUnauthorized } = options
  return {
    headers: auth === undefined ? headers : { ...headers, Authorization: `Basic ${Buffer.from(auth).toString('base64')}` },
    tls: {
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      ...(servername === undefined ? {} : { servername }),
      ...(rejectUnauthorized === undefined ? {} : { rejectUnauthorized }),
    },
    agent,
  }
}
