/** An npm registry: what it says of a package, and its tarballs. */
import type { PluginNetwork } from '@muster/core'
import fetch from 'npm-registry-fetch'
import { z } from 'zod'
import { NetworkFault, type NetworkSettings, readNetwork } from '../config/network.ts'
import { maxTarballBytes } from '@muster/packed/archive'
import { sha512Of } from '@muster/packed/digest'
import { instantOf, jsonOf, type Origin, type Published } from './origin.ts'
import { PluginRefusal } from './refusal.ts'
import type { RegistryAddress } from './registry.ts'
import { nearestTo } from './resolve.ts'
import { secretReader } from './secrets.ts'
import { byHand } from './way-out.ts'
import { word } from './word.ts'
import { authorTool } from '@muster/packed/refusals'

/** Of a registry that keeps silent. */
const timeoutMs = 30_000
/** Of one whose answer has begun: the largest comes in it at 2 Mbit/s. */
const answerMs = 300_000
/** Registries stumble now and then; a command that a human waits for tries thrice. */
const retry = { retries: 2, factor: 2, minTimeout: 200, maxTimeout: 1000 }

interface Packument {
  versions: Record<string, { dist: { tarball: string; integrity?: unknown }; deprecated?: string | boolean }>
  time?: Record<string, string>
}

const packumentSchema: z.ZodType<Packument> = z.object({
  versions: z.record(
    z.string(),
    z.object({
      dist: z.object({ tarball: z.url(), integrity: z.unknown().exactOptional() }),
      deprecated: z.union([z.string(), z.boolean()]).exactOptional(),
    }),
  ),
  // It may hold more than instants, of versions that were taken back.
  time: z
    .record(z.string(), z.unknown())
    .transform(
      (time) => Object.fromEntries(Object.entries(time).filter(([, at]) => typeof at === 'string')) as Record<string, string>,
    )
    .exactOptional(),
})

export async function npmOrigin(
  address: RegistryAddress,
  settings: NetworkSettings | undefined,
  { patienceMs = answerMs }: { patienceMs?: number } = {},
): Promise<Origin> {
  const options = optionsOf(address, settings === undefined ? undefined : await networkOf(settings))
  const { url, token } = address
  if (token !== undefined) {
    const { value } = await secretReader({ token })('token').catch((error: Error) => {
      throw new PluginRefusal(
        'unauthorized',
        `the token of the registry ${url ?? ''} cannot be read: ${error.message}`,
        `run: ${'env' in token ? `printenv ${word(token.env)} | wc -c` : `ls -l ${word(token.file)}`}, which has to find it; see token in registries of plugins.json`,
      )
    })
    options[`${(url ?? '').replace(/^https?:/, '').replace(/\/?$/, '/')}:_authToken`] = value
  }
  const home = fetch.pickRegistry('x', options).replace(/\/?$/, '/')
  const known = new Map<string, Promise<Packument>>()

  async function packument(name: string): Promise<Packument> {
    const answer = await read(name, `/${pathOf(name)}`)
    if (answer.length > maxTarballBytes) throw tooLong(name)
    const parsed = packumentSchema.safeParse(jsonOf(answer.toString()))
    if (parsed.success) return parsed.data
    const at = parsed.error.issues[0]?.path.join('.') ?? ''
    throw new PluginRefusal(
      'unreachable',
      `what the registry says of ${name} cannot be read (at '${at}')`,
      `run: curl ${word(`${home}${pathOf(name)}`)}, which has to answer what a registry does; see registries of plugins.json`,
    )
  }

  /** At most one byte more than anybody wants. Errors: PluginRefusal. */
  async function read(name: string, path: string): Promise<Buffer> {
    const signal = AbortSignal.timeout(patienceMs)
    try {
      return await beginOf((await fetch(path, { ...options, signal })).body ?? [])
    } catch (error) {
      const late = `its answer has not ended within ${patienceMs / 1000} s`
      throw refusalOf(signal.aborted ? new Error(late) : error, name, { url, home })
    }
  }

  function tooLong(name: string): PluginRefusal {
    return refusalOf(new Error(`it says more than ${maxTarballBytes} bytes`), name, { url, home })
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
      const [nearest] = nearestTo(version, Object.keys(versions))
      if (found === undefined)
        throw new PluginRefusal(
          'no-version',
          `the registry has no ${name}@${version} any more${nearest === undefined ? '' : `; the nearest that it has is ${nearest}`}`,
          'run: muster plugins update; or take it from a mirror',
        )
      const bytes = await read(name, found.dist.tarball).catch((error: PluginRefusal) => {
        if (error.code !== 'no-package') throw error
        throw new PluginRefusal(
          'unreachable',
          `the registry says that it has ${name}@${version}, and has no tarball of it`,
          `run: curl --head ${word(found.dist.tarball)}, which has to answer 200; or take it from a mirror`,
        )
      })
      if (bytes.length > maxTarballBytes)
        throw new PluginRefusal(
          'bad-archive',
          `the tarball has more than ${maxTarballBytes} bytes`,
          `run: ${authorTool} build, as its author, which bundles it into one file`,
        )
      checkIntegrity(`${name}@${version}`, { bytes, integrity: found.dist.integrity })
      return bytes
    },
    async attestations(name, version) {
      const path = `/-/npm/v1/attestations/${pathOf(name)}@${version}`
      const answer = await read(name, path).catch((error: PluginRefusal) => {
        if (error.code === 'no-package') return undefined
        throw error
      })
      if (answer === undefined) return undefined
      if (answer.length > maxTarballBytes) throw tooLong(name)
      return jsonOf(answer.toString())
    },
  }
}

/** Whoever stands between a registry and its files may have others; what the lock has is compared beside. Error: PluginRefusal `other-bytes`. */
function checkIntegrity(name: string, { bytes, integrity }: { bytes: Buffer; integrity: unknown }): void {
  const said = typeof integrity === 'string' ? integrity.split(/\s+/).filter((one) => one.startsWith('sha512-')) : []
  const found = sha512Of(bytes)
  if (said.length === 0 || said.includes(found)) return
  throw new PluginRefusal(
    'other-bytes',
    `the tarball of ${name} is another one than its registry says: its hash is ${found}, its registry says ${said.join(' ')}`,
    `run: npm view ${word(name)} dist.integrity, as others see it; get it from another registry or from a mirror, and tell who runs this one`,
  )
}

/** As registries write it: the slash of a scope is no part of the path. */
function pathOf(name: string): string {
  return encodeURIComponent(name).replace('%40', '@')
}

async function networkOf(settings: NetworkSettings): Promise<PluginNetwork> {
  return readNetwork(settings).catch((error: unknown) => {
    if (!(error instanceof NetworkFault)) throw error
    const place = `host.network.${error.key}`
    throw new PluginRefusal('unreachable', `${place}: ${error.message}`, byHand(`under ${place} ${error.fix}`, 'muster.yaml'))
  })
}

function optionsOf({ url }: RegistryAddress, network: PluginNetwork | undefined): Record<string, unknown> {
  return {
    ...(url === undefined ? {} : { registry: url }),
    timeout: timeoutMs,
    retry,
    userAgent: 'muster',
    ...(network?.proxy === undefined ? {} : { proxy: network.proxy, httpsProxy: network.proxy }),
    ...(network?.noProxy === undefined ? {} : { noProxy: network.noProxy }),
    ...(network?.ca === undefined ? {} : { ca: network.ca }),
  }
}

async function beginOf(body: AsyncIterable<string | Buffer> | Iterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const piece of body) {
    const chunk = Buffer.from(piece)
    size += chunk.length
    chunks.push(chunk)
    if (size > maxTarballBytes) break
  }
  return Buffer.concat(chunks)
}

/** `url`: as it is written, if it is. */
function refusalOf(error: unknown, name: string, { url, home }: { url: string | undefined; home: string }): PluginRefusal {
  if (error instanceof PluginRefusal) return error
  const { statusCode, code, message } = error as Error & { statusCode?: number; code?: string }
  const where = url ?? 'the registry'
  const asked = `curl --head ${word(`${home}${pathOf(name)}`)}`
  if (statusCode === 404)
    return new PluginRefusal(
      'no-package',
      `${where} has no package ${name}`,
      'run: muster plugins, which lists each package with its source; correct the name, or give its registry a token',
    )
  if (statusCode === 401 || statusCode === 403)
    return new PluginRefusal(
      'unauthorized',
      `${where} does not give ${name} to this token: ${statusCode}`,
      `run: ${asked}, which has to answer 200; see token in registries of plugins.json`,
    )
  return new PluginRefusal(
    'unreachable',
    `${where} cannot be asked for ${name}: ${code ?? statusCode ?? message}`,
    `run: ${asked}, which says what is in the way; see registries of plugins.json, and host.network`,
  )
}
