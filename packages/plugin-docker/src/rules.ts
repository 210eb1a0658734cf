/** What the operator of one provider lets workers have of the engine's machine (`providers.<name>.config` in `muster.yaml`). */
import { posix } from 'node:path'
import { ProviderError } from '@muster/core'
import * as z from 'zod'
import { isImageName } from './images/name.ts'

export interface Bind {
  /** Absolute, in its plain form. */
  readonly path: string
  readonly writable?: boolean
}

export interface RulesConfig {
  readonly binds?: readonly Bind[]
  readonly firewall?: { readonly image: string }
}

export interface HostRules {
  readonly binds: readonly Bind[]
  /** Where the engine's own socket may be found. */
  readonly sockets: readonly string[]
  /** An image with iptables, for workers with restricted egress. */
  readonly firewall?: string
}

/** Keys of the configuration, beside those that say where the engine is. */
export const rulesShape: {
  binds: z.ZodExactOptional<z.ZodType<readonly Bind[]>>
  firewall: z.ZodExactOptional<z.ZodType<{ readonly image: string }>>
} = {
  binds: z
    .array(
      z.strictObject({
        path: z.string().regex(/^\/[^:,]*$/),
        writable: z.boolean().describe('Default false: workers mount it read-only.').exactOptional(),
      }),
    )
    .describe("Paths of the engine's machine that a pool's workers may mount, exactly as written here.")
    .exactOptional(),
  firewall: z
    .strictObject({ image: z.string().min(1).describe('Has /bin/sh, iptables-restore and ip6tables-restore.') })
    .describe('What restricted egress is enforced with.')
    .exactOptional(),
}

const sockets = ['/var/run/docker.sock', '/run/docker.sock', '/var/run', '/run']

/**
 * The rules of a configuration whose shape is checked. A writable path with another one below is refused: whoever writes in the first
 * could put a link in the place of the second.
 */
export function rulesOf({ binds = [], firewall }: RulesConfig, socket?: string): HostRules {
  for (const [index, { path }] of binds.entries()) {
    const at = `config.binds.${index}.path`
    if (path !== posix.normalize(path) || (path.endsWith('/') && path !== '/'))
      throw invalid(at, 'write it without `.`, `..`, double and final slashes')
    const above = binds.find((other) => other.writable === true && isBelow(path, other.path))
    if (above !== undefined) throw invalid(at, `it lies below ${above.path}, which workers may write`)
  }
  if (firewall !== undefined && !isImageName(firewall.image)) throw invalid('config.firewall.image', 'it is no name of an image')
  const known = [...sockets, ...(socket === undefined ? [] : [socket])]
  return { binds, sockets: known, ...(firewall === undefined ? {} : { firewall: firewall.image }) }
}

/** Is a path below a folder, both in their plain form? */
export function isBelow(path: string, folder: string): boolean {
  return path !== folder && path.startsWith(folder === '/' ? '/' : `${folder}/`)
}

function invalid(path: string, message: string): ProviderError {
  return new ProviderError('invalid-spec', message, { effect: 'none', path })
}
