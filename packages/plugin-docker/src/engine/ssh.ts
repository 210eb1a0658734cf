/**
 * An engine's socket on another machine, by channels of ssh connections (`direct-streamlocal@openssh.com`, OpenSSH's PROTOCOL, 2.4).
 * The only file that knows ssh2. dockerode's own way does not work with Node 26.
 */
import { Duplex } from 'node:stream'
import type { Client, ConnectConfig, ClientChannel } from 'ssh2'
import type { SshEndpoint } from '../config.ts'
import { CONNECT_TIMEOUT_MS, type Connector } from './connector.ts'
import type { SecretSource } from './current.ts'
import { EngineFailure } from '../errors.ts'
import { algorithmsFor, fingerprintOf } from './host-keys.ts'

/** All channels share one TCP stream and its window; a server takes some hundred, but slow ones would share too much. */
const CHANNELS_A_CONNECTION = 64

/** A dead machine is noticed after three of these without an answer. */
const ALIVE_EVERY_MS = 10_000

type Opening = (client: Client, done: (error: Error | undefined, made: ClientChannel) => void) => void

interface Line {
  client: Client
  channels: number
}

export function sshConnector({ ssh }: SshEndpoint, secret: SecretSource): Connector {
  const lines = new Set<Line>()
  let dialling: Promise<Line> | undefined
  let closed = false

  /** A place on a line: on one that stands, one that is being made, or a new one. */
  async function placeOnLine(): Promise<Line> {
    for (;;) {
      const line = [...lines].find(({ channels }) => channels < CHANNELS_A_CONNECTION)
      if (line !== undefined) {
        line.channels++
        return line
      }
      dialling ??= dial().finally(() => (dialling = undefined))
      await dialling
    }
  }

  async function dial(): Promise<Line> {
    const { value: privateKey } = await secret('ssh-key')
    const { default: ssh2 } = await import('ssh2')
    const key = await unlocked(ssh2.utils.parseKey(privateKey), secret)
    const client = new ssh2.Client()
    const line = { client, channels: 0 }
    await ready(client, { ...optionsOf(ssh), privateKey, ...key })
    if (closed) {
      client.destroy()
      throw lostLine(false)
    }
    lines.add(line)
    // One listener for each channel that is being opened.
    client
      .setMaxListeners(0)
      .on('error', () => {})
      .once('close', () => lines.delete(line))
    return line
  }

  async function channel(open: Opening, allowHalfOpen: boolean): Promise<Duplex> {
    const line = await placeOnLine()
    const { client } = line
    const release = (): void => {
      line.channels--
      // What came for a rush goes with it; the last one stays.
      if (line.channels === 0 && lines.size > 1 && lines.delete(line)) client.end()
    }
    const { promise, resolve, reject } = Promise.withResolvers<ClientChannel>()
    const lost = (): void => reject(lostLine(false))
    client.once('close', lost)
    try {
      open(client, (error, made) => (error === undefined ? resolve(made) : reject(channelFailure(error))))
      return asConnection(client, await promise, allowHalfOpen).once('close', release)
    } catch (error) {
      release()
      throw error instanceof EngineFailure ? error : channelFailure(error as Error)
    } finally {
      client.removeListener('close', lost)
    }
  }

  return {
    open: () => channel((client, done) => client.openssh_forwardOutStreamLocal(ssh.socketPath, done), false),
    reach: (host, port) => channel((client, done) => client.forwardOut('127.0.0.1', 0, host, port, done), true),
    close() {
      closed = true
      for (const { client } of lines) client.destroy()
      lines.clear()
    },
  }
}

function optionsOf({ user, host, port, hostKeys }: SshEndpoint['ssh']): ConnectConfig {
  const serverHostKey = algorithmsFor(hostKeys)
  return {
    ...{ host, port, username: user, readyTimeout: CONNECT_TIMEOUT_MS },
    ...{ keepaliveInterval: ALIVE_EVERY_MS, keepaliveCountMax: 3 },
    ...(serverHostKey === undefined ? {} : { algorithms: { serverHostKey: serverHostKey as never } }),
    hostVerifier(key: Buffer) {
      const shown = fingerprintOf(key)
      if (hostKeys.some(({ fingerprint }) => fingerprint === shown)) return true
      const known = hostKeys.map(({ fingerprint }) => fingerprint).join(', ')
      throw new EngineFailure(`the machine shows the host key ${shown}, known is ${known}`, { code: 'SSH_HOST_KEY', sent: false })
    },
  }
}

/** A locked key needs its passphrase; any other one must not ask for one. */
async function unlocked(parsed: unknown, secret: SecretSource): Promise<Pick<ConnectConfig, 'passphrase'>> {
  if (!(parsed instanceof Error)) return {}
  if (/passphrase/i.test(parsed.message)) return { passphrase: (await secret('ssh-passphrase')).value }
  throw new EngineFailure('the secret `ssh-key` is no private key', { code: 'SSH_KEY', sent: false })
}

async function ready(client: Client, options: ConnectConfig): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  client.once('ready', resolve)
  client.on('error', (error) => reject(connectFailure(error)))
  client.once('close', () => reject(new EngineFailure('the machine ended the connection', { code: 'ECONNRESET', sent: false })))
  try {
    client.connect(options)
    await promise
  } catch (error) {
    client.destroy()
    throw error instanceof EngineFailure ? error : connectFailure(error as Error)
  }
}

function connectFailure(error: Error & { level?: string; code?: string }): EngineFailure {
  if (error instanceof EngineFailure) return error
  const code = error.level === 'client-authentication' ? 'SSH_AUTH' : error.level === 'client-timeout' ? 'ETIMEDOUT' : error.code
  return new EngineFailure(error.message, { code: code ?? 'SSH_PROTOCOL', sent: false, cause: error })
}

/** RFC 4254, 5.1: 1 is "administratively prohibited". */
function channelFailure(error: Error & { reason?: unknown }): EngineFailure {
  const code = error.reason === 1 ? 'SSH_PROHIBITED' : 'SSH_CHANNEL'
  return new EngineFailure(error.message, { code, sent: false, cause: error })
}

function lostLine(sent: boolean): EngineFailure {
  return new EngineFailure('the ssh connection was lost', { code: 'ECONNRESET', sent })
}

/**
 * A channel as an agent and its requests take a socket: it ends without being read, is destroyed with its line, and says so. A channel of
 * ssh2 does none of that, so that an idle one would be used again after its death.
 */
function asConnection(client: Client, channel: ClientChannel, allowHalfOpen: boolean): Duplex {
  const lost = (): void => void connection.destroy(lostLine(true))
  let isEnded = false
  const ended = (): void => {
    if (isEnded || connection.destroyed) return
    isEnded = true
    connection.push(null)
    // Where nobody reads, this is what tells of the end.
    connection.read(0)
  }
  const connection = new Duplex({
    allowHalfOpen,
    read: () => void channel.resume(),
    write: (chunk: Buffer, _encoding, done) => void channel.write(chunk, () => done()),
    final(done) {
      channel.end()
      done()
    },
    destroy(error, done) {
      client.removeListener('close', lost)
      channel.resume()
      channel.close()
      done(error)
    },
  })
  client.once('close', lost)
  channel.on('data', (chunk: Buffer) => {
    if (!connection.destroyed && !connection.push(chunk)) channel.pause()
  })
  // A closed channel takes no more, in silence; what it gave is read to its end.
  channel.once('close', () => {
    if (connection.readableEnded) connection.destroy()
    else connection.once('end', () => connection.destroy())
    ended()
  })
  channel.once('end', ended).on('error', (error: Error) => connection.destroy(channelFailure(error)))
  const nothing = (): void => {}
  return Object.assign(connection, {
    ...{ setKeepAlive: nothing, setNoDelay: nothing, setTimeout: nothing, ref: nothing, unref: nothing },
    destroySoon: () => connection.destroy(),
  })
}
