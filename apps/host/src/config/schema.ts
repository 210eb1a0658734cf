/** The schema of `muster.yaml`: strict, every key with its meaning; the reference is generated from it. */
import { z } from 'zod'
import type { UserRange } from '../plugins/ground.ts'
import { parseAddress } from './address.ts'
import { strict } from './document.ts'
import { isAddress, type NetworkSettings } from './network.ts'
import { type PoolFile, poolSchema } from './pool-schema.ts'
import { shortName, text } from './text.ts'
import { atLeast, durationSchema, sizeSchema } from './units.ts'

function addressSchema(...examples: [string, string]): z.ZodString {
  return z.string().refine((value) => parseAddress(value) !== undefined, `write host:port, as ${examples.join(' or ')}`)
}

const provider = strict({
  plugin: shortName.describe('Alias in the registry manifest.'),
  config: z.unknown().exactOptional().describe("The plugin's own part; its manifest has the schema."),
  url: z
    .url({ protocol: /^https?$/ })
    .exactOptional()
    .describe('How workers of this provider reach the host. Default: `host.url`.'),
  stats: z
    .union([z.literal('off'), atLeast('1s')])
    .exactOptional()
    .describe(
      'How often what each worker of this provider uses is looked at, or off: no stream of it is opened then. Default 2s, and more rarely of more than 200 workers.',
    ),
  secrets: z
    .record(shortName, z.union([strict({ env: text }), strict({ file: text })]))
    .exactOptional()
    .describe('Where the secrets that the plugin may ask for come from.'),
})

const metrics = strict({
  public: z.boolean().exactOptional().describe('`/metrics` of the API asks for no token. Default false: a viewer may read them.'),
  listen: addressSchema('127.0.0.1:9464', '[::1]:9464')
    .exactOptional()
    .describe(
      'An address of their own, in clear and without a token: whoever reaches it reads the names of pools and providers.',
    ),
})

const otlp = strict({
  url: z.url({ protocol: /^https?$/ }).describe('Base address of a collector that takes OTLP over HTTP; `/v1/traces` is added.'),
  headers: z
    .record(z.string().regex(/^[A-Za-z0-9-]{1,100}$/), z.union([text, strict({ env: text }), strict({ file: text })]))
    .exactOptional()
    .describe('Headers for the collector. What is secret comes from a variable or a file, read for each batch.'),
  sample: z.number().min(0).max(1).exactOptional().describe('Share of the traces that begin here and are recorded. Default 1.'),
})

const network = strict({
  proxy: z
    .union([text.refine(isAddress, 'write it as http://proxy.example:3128'), strict({ env: text }), strict({ file: text })])
    .exactOptional()
    .describe(
      'Address of an HTTP proxy. One with a name and password in it comes from a variable or a file, read at each start of a plugin.',
    ),
  noProxy: z
    .array(
      z
        .string()
        .regex(
          /^(\*|(\*?\.)?[A-Za-z0-9][A-Za-z0-9.-]*(:\d{1,5})?|\[[0-9A-Fa-f:]+\](:\d{1,5})?)$/,
          'write a host, as vendor.example, .example, 10.0.0.7 or [2001:db8::7], with its port or without',
        ),
    )
    .exactOptional()
    .describe('Hosts that are reached without the proxy. Loopback always is.'),
  ca: text
    .exactOptional()
    .describe('PEM file of authorities that are trusted beside the usual ones. Read at each start of a plugin.'),
})

/** Ids of accounts begin at 1000; `nobody` and the kernel's invalid id lie at 65534 and 65535. */
const uid = z.int().min(1000).max(2_000_000_000)

const isolation = strict({
  users: z
    .union([strict({ from: uid, to: uid }).refine(({ from, to }) => from <= to, 'the range is empty'), z.literal('off')])
    .exactOptional()
    .describe(
      'User ids of plugins under root, one for each provider; the first is their group too. No other host of this machine may have them. Default 60578 to 60599; off: they run as root.',
    ),
  maxHeapMb: z
    .int()
    .min(16)
    .exactOptional()
    .describe('Largest heap in MiB that a plugin may ask for; it may take twice that and 128 of memory. Default 1024.'),
})

const host = strict({
  data: text
    .exactOptional()
    .describe('Store, content store, logs; made 0700, or 0710 for plugins with users of their own. Default .muster.'),
  listen: addressSchema('127.0.0.1:7420', '[::1]:7420')
    .exactOptional()
    .describe('Address of the API. Default 127.0.0.1:7420. Off loopback only with TLS.'),
  tls: strict({ cert: text, key: text })
    .exactOptional()
    .describe('PEM files of the certificate, with its chain, and of its key. Read again when they change.'),
  socket: strict({
    path: text
      .exactOptional()
      .describe('Default muster-*.sock in the data folder: a name of its own, which only who may read that folder knows.'),
    mode: z
      .string()
      .regex(/^0?[0-7]{3}$/, "write it in octal, as '0660'")
      .exactOptional()
      .describe(
        "Who may open it: whoever can, is admin, as are plugins of the daemon's user (L2) where path names it. Default '0600'.",
      ),
  }).exactOptional(),
  plugins: text.exactOptional().describe('The registry manifest. Default plugins.json.'),
  url: z
    .url({ protocol: /^https?$/ })
    .exactOptional()
    .describe("How workers reach this host, where their provider says nothing else. Default: the API's own address."),
  reconcile: atLeast('1s').exactOptional().describe('Time between two full looks at every provider. Default 30s.'),
  orphanGrace: durationSchema.exactOptional().describe('How long an unknown worker with our tag is left alone. Default 2m.'),
  metrics: metrics.exactOptional().describe('Who may read `/metrics`.'),
  telemetry: strict({ otlp: otlp.exactOptional().describe('Where traces go. Default: nowhere.') }).exactOptional(),
  network: network
    .exactOptional()
    .describe(
      'How the daemon reaches a collector, and plugins their vendors: those that ask for more of the network than loopback.',
    ),
  isolation: isolation.exactOptional().describe('How plugins are kept in.'),
  development: z
    .boolean()
    .exactOptional()
    .describe('`muster-plugin dev` may attach plugins: whoever is admin may load code of this machine then. Default false.'),
  limits: strict({
    perSecond: z.int().min(1).exactOptional().describe('Requests in a second. Default 2000.'),
    burst: z.int().min(1).exactOptional().describe('Requests at once, after a rest. Default 10000.'),
    inFlight: z.int().min(1).exactOptional().describe('Requests without a whole answer, streams too. Default 5000.'),
    connections: z
      .int()
      .min(1)
      .exactOptional()
      .describe('Over TCP at once, of all callers. Default 10000, and never more than the open files of the daemon allow.'),
    connectionsPerAddress: z
      .int()
      .min(1)
      .exactOptional()
      .describe('Of these from one address (IPv6: one /64). Default three quarters. The unix socket has places of its own.'),
  })
    .exactOptional()
    .describe('What one token may ask of the API, with all clients that share it, and how many connections may be open.'),
})

const retention = strict({
  runs: durationSchema.exactOptional().describe('Runs, leases and workers are dropped this long after their end. Default 30d.'),
  records: z.int().min(1).exactOptional().describe('Ended runs, leases and workers kept at most, of each. Default 500000.'),
  logs: sizeSchema.exactOptional().describe('Logs and outputs of ended runs together; the oldest go first. Default 10GiB.'),
  logAge: durationSchema.exactOptional().describe('Logs and outputs go this long after the end of their run. Default: as runs.'),
  journal: durationSchema.exactOptional().describe('Decisions are dropped after this long. Default 90d.'),
  journalRows: z.int().min(1).exactOptional().describe('Decisions kept at most. Default 5000000.'),
  crashes: z.int().min(0).exactOptional().describe('Crash bundles kept at most of each provider. Default 20.'),
  crashAge: durationSchema.exactOptional().describe('Crash bundles are removed after this long. Default 90d.'),
  tokens: durationSchema.exactOptional().describe('Revoked and expired tokens are forgotten after this long. Default 90d.'),
  replaced: durationSchema
    .exactOptional()
    .describe('What a restore replaced (`before-restore-…` in the data folder) is removed after this long. Default 90d.'),
  unpacked: durationSchema
    .exactOptional()
    .describe('Unpacked plugins that no provider has run for this long are removed. Default 30d.'),
})

export const fileSchema: z.ZodType<MusterFile> = strict({
  host: host.exactOptional(),
  providers: z.record(shortName, provider),
  pools: z.record(shortName, poolSchema),
  retention: retention.exactOptional(),
})

/** Absent: the API's own. */
export interface RequestLimits {
  perSecond?: number
  burst?: number
  inFlight?: number
  connections?: number
  connectionsPerAddress?: number
}

/** `muster.yaml` as written, with units already numbers. */
export interface MusterFile {
  host?: HostFile
  providers: Record<string, ProviderFile>
  pools: Record<string, PoolFile>
  retention?: RetentionFile
}

export interface RetentionFile {
  runs?: number
  records?: number
  logs?: number
  logAge?: number
  journal?: number
  journalRows?: number
  crashes?: number
  crashAge?: number
  tokens?: number
  replaced?: number
  unpacked?: number
}

export interface HostFile {
  data?: string
  listen?: string
  tls?: { cert: string; key: string }
  socket?: { path?: string; mode?: string }
  plugins?: string
  url?: string
  reconcile?: number
  orphanGrace?: number
  metrics?: { public?: boolean; listen?: string }
  limits?: RequestLimits
  telemetry?: { otlp?: OtlpFile }
  network?: NetworkSettings
  isolation?: { users?: UserRange | 'off'; maxHeapMb?: number }
  development?: boolean
}

export interface OtlpFile {
  url: string
  headers?: Record<string, string | { env: string } | { file: string }>
  sample?: number
}

export interface ProviderFile {
  plugin: string
  config?: unknown
  url?: string
  stats?: number | 'off'
  secrets?: Record<string, { env: string } | { file: string }>
}
