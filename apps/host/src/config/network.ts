/** How the host and its plugins reach the network: read, and looked at before anything goes by it. */
import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { PluginManifest, PluginNetwork } from '@muster/core'
import { bareHost, isLoopback } from './address.ts'

export interface NetworkSettings {
  /** An address, or where it is: it may have a password in it. */
  proxy?: string | { env: string } | { file: string }
  noProxy?: string[]
  /** Absolute path of a PEM file. */
  ca?: string
}

/** What is wrong with one of the keys; never says what a proxy's address is. */
export class NetworkFault extends Error {
  override readonly name = 'NetworkFault'
  readonly key: 'proxy' | 'ca'
  readonly fix: string

  constructor(key: 'proxy' | 'ca', message: string, fix: string) {
    super(message)
    this.key = key
    this.fix = fix
  }
}

/** It goes to each plugin in one message of at most 1 MiB; all authorities of a browser are 220 KiB. */
const MOST_CA_BYTES = 512 * 1024

/** Read anew for each process that is started, so that a renewed file needs no restart. Error: NetworkFault. */
export async function readNetwork({ proxy, noProxy, ca }: NetworkSettings): Promise<PluginNetwork> {
  return {
    ...(proxy === undefined ? {} : { proxy: await readProxy(proxy) }),
    ...(noProxy === undefined ? {} : { noProxy: [...noProxy] }),
    ...(ca === undefined ? {} : { ca: await readAuthorities(ca) }),
  }
}

/** Does a plugin ask for more of the network than loopback? */
export function reachesOut({ permissions }: Pick<PluginManifest, 'permissions'>): boolean {
  return permissions.net.some((place) => !isLoopback(bareHost(place.replace(/:(?:\d+|\*)$/, ''))))
}

async function readProxy(given: NonNullable<NetworkSettings['proxy']>): Promise<string> {
  const [where, text] =
    typeof given === 'string'
      ? ['it', given]
      : 'env' in given
        ? [`the variable ${given.env}`, process.env[given.env] ?? '']
        : [given.file, (await readText('proxy', given.file)).trim()]
  const fix = 'write it as http://proxy.example:3128, with name:password@ before the host where it asks for them'
  if (text === '') throw new NetworkFault('proxy', `${where} is empty`, fix)
  if (!isAddress(text)) throw new NetworkFault('proxy', `${where} is not the http: or https: address of a proxy`, fix)
  if (!isDecodable(text))
    throw new NetworkFault('proxy', `${where} has a % in its name or password that begins no code`, 'write % as %25')
  return text
}

export function isAddress(text: string): boolean {
  const url = URL.parse(text)
  return url !== null && /^https?:$/.test(url.protocol) && url.pathname === '/' && url.search === '' && url.hash === ''
}

function isDecodable(address: string): boolean {
  const { username, password } = new URL(address)
  try {
    decodeURIComponent(`${username}${password}`)
    return true
  } catch {
    return false
  }
}

/** The certificates of the file, without whatever else is in it: a key would be told to every plugin. */
async function readAuthorities(path: string): Promise<string> {
  const text = await readText('ca', path)
  const wanted = 'name a file with the certificates of authorities in PEM form'
  const found = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  if (found.length === 0) throw new NetworkFault('ca', `${path} has no certificate in PEM form`, wanted)
  for (const [index, one] of found.entries())
    try {
      void new X509Certificate(one)
    } catch {
      throw new NetworkFault('ca', `the certificate ${index + 1} in ${path} cannot be read`, wanted)
    }
  const pem = `${found.join('\n')}\n`
  if (pem.length > MOST_CA_BYTES)
    throw new NetworkFault(
      'ca',
      `${path} has ${pem.length} bytes of certificates, more than ${MOST_CA_BYTES}`,
      'name a smaller file',
    )
  return pem
}

async function readText(key: 'proxy' | 'ca', path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    const { code = 'unreadable' } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') throw new NetworkFault(key, `${path} does not exist`, 'name a file that exists')
    throw new NetworkFault(key, `${path} cannot be read: ${code}`, 'name a file that this user may read')
  }
}
