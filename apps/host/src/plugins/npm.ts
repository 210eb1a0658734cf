/** An npm registry: what it says of a package, and its tarballs. */
import type { PluginNetwork } from '@muster/core'
import fetch from 'npm-registry-fetch'
import { z } from 'zod'
import { type NetworkSettings, readNetwork } from '../config/network.ts'
import { maxTarballBytes } from '@muster/packed/archive'
import type { Origin, Published } from './origin.ts'
import { PluginRefusal } from './refusal.ts'
import type { RegistryAddress } from './registry.ts'
import { secretReader } from './secrets.ts'

/** Of a registry that keeps silent. */
const timeoutMs = 30_000
/** Registries stumble now and then; a command that a human waits for tries thrice. */
const retries = 2

interface Packument {
  versions: Record<string, { dist: { tarball: string }; deprecated?: string | boolean }>
  time?: Record<string, string>
}

const packumentSchema: z.ZodType<Packument> = z.object({
  versions: z.record(
    z.string(),
    z.object({ dist: z.object({ tarball: z.url() }), deprecated: z.union([z.string(), z.boolean()]).exactOptional() }),
  ),
  // It may hold more than instants, of versions that were taken back.
  time: z
    .record(z.string(), z.unknown())
    .transform(
      (time) => Object.fromEntries(Object.entries(time).filter(([, at]) => typeof at === 'string')) as Record<string, string>,
    )
    .exactOptional(),
})

export async function npmOrigin(address: RegistryAddress, settings: NetworkSettings | undefined): Promise<Origin> {
  const options = optionsOf(address, settings === undefined ? undefined : await readNetwork(settings))
  const { url, token } = address
  if (token !== undefined) {
    const { value } = await secretReader({ token })('token').catch((error: Error) => {
      throw new PluginRefusal(
        'unauthorized',
        `the token of the registry ${url ?? ''} cannot be read: ${error.message}`,
        'see token in registries',
      )
    })
    options[`${(url ?? '').replace(/^https?:/, '').replace(/\/?$/, '/')}:_authToken`] = value
  }
  const known = new Map<string, Promise<Packument>>()

  async function packument(name: string): Promise<Packument> {
    const answer = await asking(name, () => fetch.json(`/${pathOf(name)}`, options))
    const parsed = packumentSchema.safeParse(answer)
    if (parsed.success) return parsed.data
    const at = parsed.error.issues[0]?.path.join('.') ?? ''
    throw new PluginRefusal(
      'unreachable',
      `what the registry says of ${name} cannot be read (at '${at}')`,
      'see whether registries names a registry',
    )
  }

  async function asking<T>(name: string, ask: () => Promise<T>): Promise<T> {
    try {
      return await ask()
    } catch (error) {
      throw refusalOf(error, name, url)
    }
  }

  const once = (name: string): Promise<Packument> => {
    const asked = known.get(name) ?? packument(name)
    known.set(name, asked)
    return asked
  }

  return {
    aged: true,
    async versions(name) {
      const { versions, time = {} } = await once(name)
      return Object.entries(versions).map(([version, { deprecated }]): Published => {
        const published = Object.hasOwn(time, version) ? time[version] : undefined
        return {
          version,
          ...instantOf(published),
          ...(typeof deprecated === 'string' && deprecated !== '' ? { deprecated } : {}),
        }
      })
    },
    async tarball(name, version) {
      const { versions } = await once(name)
      const found = Object.hasOwn(versions, version) ? versions[version] : undefined
      if (found === undefined)
        throw new PluginRefusal(
          'no-version',
          `the registry has no ${name}@${version} any more`,
          'run: muster plugins update; or take it from a mirror',
        )
      return asking(name, async () => bounded((await fetch(found.dist.tarball, options)).body ?? []))
    },
    async attestations(name, version) {
      try {
        return await fetch.json(`/-/npm/v1/attestations/${pathOf(name)}@${version}`, options)
      } catch (error) {
        if ((error as { statusCode?: number }).statusCode === 404) return undefined
        throw refusalOf(error, name, url)
      }
    },
  }
}

/** As registries write it: the slash of a scope is no part of the path. */
function pathOf(name: string): string {
  return encodeURIComponent(name).replace('%40', '@')
}

/** None where it is no instant: then nobody knows. */
function instantOf(text: string | undefined): { published?: string } {
  const at = Date.parse(text ?? '')
  return Number.isNaN(at) ? {} : { published: new Date(at).toISOString() }
}

function optionsOf({ url }: RegistryAddress, network: PluginNetwork | undefined): Record<string, unknown> {
  return {
    ...(url === undefined ? {} : { registry: url }),
    timeout: timeoutMs,
    fetchRetries: retries,
    userAgent: 'muster',
    ...(network?.proxy === undefined ? {} : { proxy: network.proxy, httpsProxy: network.proxy }),
    ...(network?.noProxy === undefined ? {} : { noProxy: network.noProxy }),
    ...(network?.ca === undefined ? {} : { ca: network.ca }),
  }
}

async function bounded(body: AsyncIterable<string | Buffer> | Iterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const piece of body) {
    const chunk = Buffer.from(piece)
    size += chunk.length
    if (size > maxTarballBytes)
      throw new PluginRefusal(
        'bad-archive',
        `the tarball has more than ${maxTarballBytes} bytes`,
        'bundle the plugin into one file',
      )
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function refusalOf(error: unknown, name: string, url: string | undefined): PluginRefusal {
  if (error instanceof PluginRefusal) return error
  const { statusCode, code, message } = error as Error & { statusCode?: number; code?: string }
  const where = url ?? 'the registry'
  if (statusCode === 404)
    return new PluginRefusal(
      'no-package',
      `${where} has no package ${name}`,
      'correct the name; a private one needs the token of its registry',
    )
  if (statusCode === 401 || statusCode === 403)
    return new PluginRefusal(
      'unauthorized',
      `${where} does not give ${name} to this token: ${statusCode}`,
      'see token in registries of the registry manifest',
    )
  return new PluginRefusal(
    'unreachable',
    `${where} cannot be asked for ${name}: ${code ?? statusCode ?? message}`,
    'see registries of the registry manifest, and host.network',
  )
}
