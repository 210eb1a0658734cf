/** Finds the daemon of a folder, as every command does. */
import { readFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { endpointOf } from './endpoint.ts'
import { MusterError } from './errors.ts'
import type { Address } from './transport.ts'

export interface DiscoverOptions {
  /** Where the search for `muster.yaml` begins, and goes up from. Default: the current folder. */
  cwd?: string
  /** This configuration instead of the nearest. */
  config?: string
  /** This data folder instead of the configuration's. */
  data?: string
  /** Default: that of this process. */
  env?: NodeJS.ProcessEnv
}

/**
 * Where the daemon is: `MUSTER_URL` (with `MUSTER_TOKEN`, and `MUSTER_CA`, the file of who signed its certificate; or `unix:` and the path of
 * a socket) when set and no folder is named; else as the daemon of the data folder has
 * written down, its socket before its URL. `MUSTER_TOKEN` goes to `MUSTER_URL` only, the token of a folder to a daemon on this machine only.
 * Errors: `no-daemon`; `local` for what cannot be read, or trusted with a token.
 */
export async function discover(options: DiscoverOptions = {}): Promise<Address> {
  const env = options.env ?? process.env
  const { MUSTER_URL: url, MUSTER_TOKEN: token, MUSTER_CA: ca } = env
  if (url !== undefined && url !== '' && options.config === undefined && options.data === undefined)
    return url.startsWith('unix:')
      ? { socket: url.slice('unix:'.length).replace(/^\/\/(?=\/)/, '') }
      : {
          url,
          ...(token === undefined || token === '' ? {} : { token, tokenFrom: 'MUSTER_TOKEN' }),
          ...(ca === undefined || ca === '' ? {} : { ca: await readCa(ca) }),
        }
  return endpointOf(await dataFolder(options), { uid: process.getuid?.(), token })
}

async function readCa(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((cause: Error) => {
    throw new MusterError('local', `the file of MUSTER_CA cannot be read: ${cause.message}`, { hint: 'Name a PEM file.', cause })
  })
}

/** The data folder that is meant: given, or that of the configuration (default `.muster` beside it). Error: `no-daemon` without one. */
export async function dataFolder({ cwd = process.cwd(), config, data }: DiscoverOptions): Promise<string> {
  if (data !== undefined) return resolve(cwd, data)
  const file = config === undefined ? await nearest(resolve(cwd)) : resolve(cwd, config)
  if (file === undefined)
    throw new MusterError('no-daemon', `there is no muster.yaml in ${resolve(cwd)} or above it`, {
      hint: 'Go to the folder of the daemon, or name it: -c FILE, --data DIR, or MUSTER_URL.',
    })
  const text = await readFile(file, 'utf8').catch((cause: Error) => {
    throw new MusterError('no-daemon', `${file} cannot be read: ${cause.message}`, { hint: 'Name another with -c.', cause })
  })
  // Loaded only for files that name one.
  const named = text.includes('data') ? (await import('./muster-yaml.ts')).dataOf(text) : undefined
  return resolve(dirname(file), named ?? '.muster')
}

async function nearest(folder: string): Promise<string | undefined> {
  for (let at = folder; ; at = dirname(at)) {
    const file = join(at, 'muster.yaml')
    if (await readFile(file).then(Boolean, () => false)) return file
    if (at === dirname(at)) return undefined
  }
}
