/** The configuration of one provider that uses this plugin (`providers.<name>.config` in `muster.yaml`). */
import { ProviderError } from '@muster/core'
import * as z from 'zod'

export interface KubernetesConfig {
  readonly kubeconfig?: string
  readonly context?: string
  readonly namespace?: string
}

/** A name of a namespace is a DNS label. */
const namespace = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/)

export const configSchema: z.ZodType<KubernetesConfig> = z.strictObject({
  kubeconfig: z.string().startsWith('/').exactOptional(),
  context: z.string().min(1).exactOptional(),
  namespace: namespace.describe('Where the workers are made. It must be there. Default: muster.').exactOptional(),
})

export function parseConfig(input: unknown): KubernetesConfig {
  const parsed = configSchema.safeParse(input ?? {})
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const path = ['config', ...(issue?.path.map(String) ?? [])].join('.')
  throw new ProviderError('invalid-spec', issue?.message ?? 'the configuration is not valid', { effect: 'none', path })
}
