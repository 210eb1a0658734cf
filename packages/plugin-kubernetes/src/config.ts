/** The configuration of one provider that uses this plugin (`providers.<name>.config` in `muster.yaml`). */
import { ProviderError } from '@muster/core'
import * as z from 'zod'
import { addressOf, cidrOf } from './network/addresses.ts'
import type { ClusterSource } from './api/kubeconfig.ts'
import { type CopiesConfig, copiesSchema, type CopyLimits, copyLimitsOf } from '@muster/provider-parts/copies'
import type { NetworkConfig } from './network/network.ts'
import { type WorkerKind, workerKinds } from './workers.ts'
import { type TenantConfig, tenantSchema } from './pools/tenant.ts'

export interface KubernetesConfig {
  readonly kubeconfig?: string
  readonly context?: string
  readonly inCluster?: boolean
  readonly namespace?: string
  readonly as?: WorkerKind
  readonly tenant?: TenantConfig
  readonly rate?: { readonly perSecond?: number; readonly burst?: number }
  readonly copies?: CopiesConfig
  readonly gate?: { readonly image: string; readonly address?: string; readonly seconds?: number }
  readonly resolvers?: readonly string[]
}

/** A configuration that was checked. */
export interface CheckedConfig {
  readonly source: ClusterSource
  readonly namespace: string
  readonly as: WorkerKind
  readonly tenant?: TenantConfig
  readonly rate: { readonly rate: number; readonly burst: number }
  readonly copies: CopyLimits
  readonly network: NetworkConfig
}

/** A namespace of its own: what else is in one has a part in its quota and its rights. */
const NAMESPACE = 'muster'

/** client-go's defaults are 5 and 10, made for controllers that do little; kubectl's are 50 and 300. The server's own fairness decides in the end. */
const RATE = { perSecond: 50, burst: 100 }

/** Engines of policies take about a second, and longer on a node that has just come. */
const GATE_SECONDS = 60

const count = z.number().positive()

export const configSchema: z.ZodType<KubernetesConfig> = z.strictObject({
  kubeconfig: z.string().startsWith('/').describe('Path of a kubeconfig.').exactOptional(),
  context: z.string().min(1).describe("One of its contexts. Default: the file's current one.").exactOptional(),
  inCluster: z.boolean().describe('Instead: the service account of the Pod that the daemon runs in.').exactOptional(),
  namespace: z
    .string()
    .regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/)
    .describe('Where the workers are made; it must be there, unless `tenant.make`. Default: muster.')
    .exactOptional(),
  as: z.enum(workerKinds).describe('What a worker is: a Pod of its own (default), or a Job with one.').exactOptional(),
  tenant: tenantSchema.exactOptional(),
  rate: z
    .strictObject({
      perSecond: count.describe('Requests a second in the long run. Default: 50.').exactOptional(),
      burst: count.describe('So many at once after a rest. Default: 100.').exactOptional(),
    })
    .describe('Most requests of this provider.')
    .exactOptional(),
  copies: copiesSchema.exactOptional(),
  gate: z
    .strictObject({
      image: z.string().min(1).describe('Has /bin/sh and nc, as busybox.'),
      address: z
        .string()
        .refine((text) => addressOf(text) !== undefined, 'an address with a port')
        .describe('ADDRESS:PORT that answers every Pod whose way is open. Default: the API server.')
        .exactOptional(),
      seconds: z
        .int()
        .min(1)
        .max(600)
        .describe('So long after a Pod runs its network may still be open. Default: 60.')
        .exactOptional(),
    })
    .describe('A container before each worker with egress none or restricted, which ends once the way out is closed.')
    .exactOptional(),
  resolvers: z
    .array(z.string().refine((text) => cidrOf(text) !== undefined, 'an address or a CIDR'))
    .describe('Where the cluster resolves names: addresses or CIDRs. Default: the Pods k8s-app=kube-dns of kube-system.')
    .exactOptional(),
})

/** Checks a configuration. An error is `invalid-spec` with the field's path. */
export function parseConfig(input: unknown): CheckedConfig {
  const parsed = configSchema.safeParse(input ?? {})
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw refused(issue?.message ?? 'the configuration is not valid', issue?.path.map(String) ?? [])
  }
  const {
    namespace = NAMESPACE,
    as = 'pod',
    rate: { perSecond = RATE.perSecond, burst = RATE.burst } = {},
    copies = {},
  } = parsed.data
  return Object.freeze({
    source: sourceOf(parsed.data),
    namespace,
    as,
    ...(parsed.data.tenant === undefined ? {} : { tenant: parsed.data.tenant }),
    rate: { rate: perSecond, burst },
    copies: copyLimitsOf(copies),
    network: networkOf(parsed.data),
  })
}

function networkOf({ gate, resolvers }: KubernetesConfig): NetworkConfig {
  return {
    ...(gate === undefined
      ? {}
      : { gate: { image: gate.image, address: addressOf(gate.address ?? ''), seconds: gate.seconds ?? GATE_SECONDS } }),
    ...(resolvers === undefined ? {} : { resolvers: resolvers.map((text) => cidrOf(text) ?? text) }),
  }
}

function sourceOf({ kubeconfig, context, inCluster = false }: KubernetesConfig): ClusterSource {
  if (inCluster) {
    if (kubeconfig !== undefined)
      throw refused('a provider is one cluster: give `kubeconfig` or `inCluster`, not both', ['kubeconfig'])
    if (context !== undefined) throw refused('a context is one of a kubeconfig', ['context'])
    return { from: 'pod' }
  }
  if (kubeconfig === undefined) throw refused('say which cluster: `kubeconfig`, or `inCluster: true`', [])
  return { from: 'file', path: kubeconfig, ...(context === undefined ? {} : { context }) }
}

function refused(message: string, path: readonly string[]): ProviderError {
  return new ProviderError('invalid-spec', message, { effect: 'none', path: ['config', ...path].join('.') })
}
