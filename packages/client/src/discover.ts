/** Finds the daemon of a folder, as every command does. */
import { constants, readFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
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
 * written down, its socket before its URL. `MUSTER_TOKEN` goes to `MUSTER_URL` alone. Error: `no-daemon`.
 */
export async function discover(options: DiscoverOptions = {}): Promise<Address> {
  const env = options.env ?? process.env
  const { MUSTER_URL: url, MUSTER_TOKEN: token, MUSTER_CA: ca } = env
  if (url !== undefined && url !== '' && options.config === undefined && options.data === undefined)
    return url.startsWith('unix:')
      ? { socket: url.slice('unix:'.length).replace(/^\/\/(?=\/)/, '') }
      : {
          url,
          ...tokenOf(token, 'MUSTER_TOKEN'),
          ...(ca === undefined || ca === '' ? {} : { ca: await readCa(ca) }),
        }
  const data = await dataFolder(options)
  const text = await readFile(join(data, 'endpoint.json'), 'utf8').catch((error: NodeJS.ErrnoException) => {
    const hint = error.code === 'EACCES' ? 'Set MUSTER_URL and MUSTER_TOKEN.' : 'Start it with `muster up`.'
    const reason =
      error.code === 'EACCES' ? `the data folder ${data} belongs to another user` : `no daemon runs with the data folder ${data}`
    throw new MusterError('no-daemon', reason, { hint, cause: error })
  })
  const { url: address, socket } = endpointOf(text, join(data, 'endpoint.json'))
  if (socket !== undefined) return { socket }
  const file = join(data, 'admin.token')
  // Whoever made the folder, as in a checkout, chose the address: it gets no token from anywhere else, by a link of the folder neither.
  const own = (await readFile(file, { encoding: 'utf8', flag: constants.O_RDONLY | constants.O_NOFOLLOW }).catch(() => '')).trim()
  return { url: address, ...tokenOf(own, file) }
}

/** Error: `no-daemon` for what no daemon wrote, or not to its end. */
function endpointOf(text: string, file: string): { url: string; socket?: string } {
  const { url, socket } = objectIn(text)
  if (typeof url === 'string' && (socket === undefined || typeof socket === 'string'))
    return { url, ...(socket === undefined ? {} : { socket }) }
  throw new MusterError('no-daemon', `${file} names no daemon`, { hint: 'Remove it; a daemon writes it at its start.' })
}

function objectIn(text: string): { url?: unknown; socket?: unknown } {
  try {
    return Object(JSON.parse(text)) as object
  } catch {
    return {}
  }
}

function tokenOf(token = '', tokenFrom: string): { token?: string; tokenFrom?: string } {
  return token === '' ? {} : { token, tokenFrom }
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
