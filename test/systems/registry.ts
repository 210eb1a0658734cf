/** An image registry for tests: Debian's docker-registry on a loopback port, with a password, on a temporary folder. */
import { existsSync } from 'node:fs'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import type { Presence } from './presence.ts'
import { mustRun, startProcess } from './process.ts'
import { tempFolder } from './temp.ts'
import { waitFor } from './wait.ts'

export interface RegistryOptions {
  user?: string
  password?: string
  /** Default 127.0.0.1: the address of this machine that it listens on. */
  address?: string
  /** PEM files of a certificate for 127.0.0.1 and of its key: it speaks TLS then. */
  tls?: { cert: string; key: string }
  /** Who gives tokens for it, and the PEM file of the certificate they are signed with: instead of passwords. */
  tokens?: { realm: string; service: string; issuer: string; cert: string }
}

export interface ImageRegistry {
  /** `ADDRESS:PORT`, the first part of its images' names. An engine speaks plain HTTP to 127.0.0.0/8. */
  readonly host: string
  readonly url: string
  readonly user: string
  readonly password: string
  /** For the header `Authorization` of a request to the registry. */
  readonly authorization: string
  /** For the header `X-Registry-Auth` of a request to an engine. */
  readonly engineAuth: string
  readonly log: string
  readonly pid: number
  /** Ends it and removes its images. Idempotent. */
  stop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const REGISTRY = '/usr/bin/docker-registry'
const HTPASSWD = '/usr/bin/htpasswd'

/** {@link startRegistry}, if the programs it needs are installed. Any user can run it. */
export function findRegistry(): Presence<typeof startRegistry> {
  const missing = [REGISTRY, HTPASSWD].find((file) => !existsSync(file))
  if (missing === undefined) return { name: 'registry', system: startRegistry }
  return { name: 'registry', absent: `${missing} is not installed: run test/systems/install.sh` }
}

/** Starts a registry; answers when it answers. Rejects, with nothing left, when it does not come up in 90 s. */
export async function startRegistry(options: RegistryOptions = {}): Promise<ImageRegistry> {
  const { user = 'tester', password = 'only for tests', tls } = options
  const folder = await tempFolder('registry')
  const log = join(folder.path, 'registry.log')
  let stop = folder.remove
  try {
    const passwords = join(folder.path, 'htpasswd')
    // -B: bcrypt, the only kind the registry takes; -i: the password by stdin, not by argument.
    await writeFile(passwords, await mustRun([HTPASSWD, '-niB', user], { input: password }))
    const config = join(folder.path, 'config.yml')
    await writeFile(config, configuration(folder.path, passwords, options))
    await chmod(config, 0o600)
    const running = await startProcess([REGISTRY, 'serve', config], { logFile: log, env: {} })
    stop = async () => {
      await running.stop()
      await folder.remove()
    }
    const host = await waitFor("the registry's port in its log", async () => {
      const text = await readFile(log, 'utf8')
      if (!running.running()) return 'ended'
      return /listening on ([\d.]+:\d+)/.exec(text)?.[1]
    })
    if (host === undefined || host === 'ended') {
      throw new Error(`docker-registry ended. Its log ends:\n${(await readFile(log, 'utf8')).slice(-2_000)}`)
    }
    const url = `${tls === undefined ? 'http' : 'https'}://${host}`
    // One with a certificate of a test's own is told by its log alone.
    if (tls === undefined)
      await waitFor('the registry to answer', async () => (await fetch(`${url}/v2/`)).status, {
        until: (status) => status === 401,
      })
    const credentials = { username: user, password, serveraddress: host }
    return {
      host,
      url,
      user,
      password,
      authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`,
      engineAuth: paddedBase64Url(JSON.stringify(credentials)),
      log,
      pid: running.pid,
      stop,
      [Symbol.asyncDispose]: stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

/** base64url with its padding: without it an engine takes the header for empty, in silence. */
function paddedBase64Url(text: string): string {
  return Buffer.from(text).toString('base64').replaceAll('+', '-').replaceAll('/', '_')
}

/** JSON is YAML. Port 0: the system chooses a free one, and the log says which. */
function configuration(folder: string, passwords: string, { address = '127.0.0.1', tls, tokens }: RegistryOptions): string {
  return JSON.stringify({
    version: 0.1,
    log: { level: 'info', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(folder, 'data') }, delete: { enabled: true } },
    http: {
      ...{ addr: `${address}:0`, secret: 'tests have one process' },
      ...(tls === undefined ? {} : { tls: { certificate: tls.cert, key: tls.key } }),
    },
    auth: tokens === undefined ? { htpasswd: { realm: 'tests', path: passwords } } : { token: tokenPart(tokens) },
  })
}

function tokenPart({ realm, service, issuer, cert }: NonNullable<RegistryOptions['tokens']>): object {
  return { realm, service, issuer, rootcertbundle: cert }
}
