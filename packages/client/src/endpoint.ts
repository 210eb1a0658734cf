/** What a daemon has written down in its data folder, and the token of that folder. A folder that was handed over, as a checked-out one, may say anything. */
import { constants, open, readFile, stat } from 'node:fs/promises'
import { isIPv4 } from 'node:net'
import { join } from 'node:path'
import { MusterError } from './errors.ts'
import type { Address } from './transport.ts'

/** Who asks: their id as a user, and the token that they have for the daemon at `MUSTER_URL`, which is sent to no other. */
export interface Asking {
  uid: number | undefined
  token: string | undefined
}

const SET =
  'Set MUSTER_URL to the address of the daemon that the token is for, and MUSTER_TOKEN; name no folder (-c, --data) then.'

/** The socket before the URL. Errors: `no-daemon`; `local` when the note is none, or when a token would go to who may be somebody else. */
export async function endpointOf(data: string, asking: Asking): Promise<Address> {
  const { url, socket } = await noteOf(data)
  if (socket !== undefined) return { socket }
  const file = join(data, 'admin.token')
  const token = await ownToken(file)
  if (token === '') {
    if (asking.token === undefined || asking.token === '') return { url }
    throw new MusterError(
      'local',
      `the token in MUSTER_TOKEN is for the daemon at MUSTER_URL, and not for one that ${data} names`,
      {
        hint: SET,
      },
    )
  }
  const doubt = (await isOthers([data, join(data, 'endpoint.json'), file], asking.uid))
    ? 'the folder, or a file in it, belongs to another user'
    : isLoopback(url)
      ? undefined
      : 'its address is not of this machine'
  if (doubt === undefined) return { url, token, tokenFrom: file }
  throw new MusterError('local', `no token is sent to the daemon that ${data} names: ${doubt}`, { hint: SET })
}

async function noteOf(data: string): Promise<{ url: string; socket?: string }> {
  const file = join(data, 'endpoint.json')
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    const hint =
      error.code === 'EACCES'
        ? 'Where it is of another user: set MUSTER_URL and MUSTER_TOKEN. Where it is yours: see to its permissions (`ls -ld`).'
        : 'Start it with `muster up`.'
    const reason =
      error.code === 'EACCES' ? `you may not read the data folder ${data}` : `no daemon runs with the data folder ${data}`
    throw new MusterError('no-daemon', reason, { hint, cause: error })
  })
  const { url, socket } = fieldsOf(text)
  if (typeof url !== 'string' || !(socket === undefined || typeof socket === 'string'))
    throw new MusterError('local', `${file} is not what a daemon writes: it is cut off or was changed`, {
      hint: 'Start the daemon anew: it writes it whole. Until then: MUSTER_URL and MUSTER_TOKEN, or MUSTER_URL=unix: and the path of its socket.',
    })
  return { url, ...(socket === undefined ? {} : { socket }) }
}

function fieldsOf(text: string): { url?: unknown; socket?: unknown } {
  try {
    return (JSON.parse(text) as object | null) ?? {}
  } catch {
    return {}
  }
}

/** No link is followed: by one, the token of another folder would go to the daemon of this one. */
async function ownToken(file: string): Promise<string> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW).catch(() => undefined)
  const text = await handle?.readFile('utf8').catch(() => '')
  await handle?.close()
  return (text ?? '').trim()
}

async function isOthers(paths: readonly string[], uid: number | undefined): Promise<boolean> {
  const owners = await Promise.all(paths.map((path) => stat(path)))
  return uid !== undefined && owners.some((one) => one.uid !== uid)
}

/** Names but `localhost` lead wherever somebody lets them lead. */
function isLoopback(text: string): boolean {
  // In a URL every spelling of an address becomes one.
  const host = URL.parse(text)?.hostname ?? ''
  return (
    host === 'localhost' || host === '[::1]' || (isIPv4(host) && host.startsWith('127.')) || /^\[::ffff:7f[0-9a-f]{2}:/.test(host)
  )
}
