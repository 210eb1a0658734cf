/** An engine on TCP that asks for a client certificate. */
import { isIP } from 'node:net'
import { checkServerIdentity, connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import type { TlsEndpoint } from '../config.ts'
import { CONNECT_TIMEOUT_MS, type Connector } from './connector.ts'
import type { SecretSource } from './current.ts'
import { EngineFailure } from '../errors.ts'

/** Certificate and key are read for every new connection, so that a renewed one needs no restart. */
export function tlsConnector({ host, port, tls: { name, trust } }: TlsEndpoint, secret: SecretSource): Connector {
  const open = async (): Promise<TLSSocket> => {
    const read = async (one: string): Promise<string> => (await secret(one)).value
    const [cert, key, ca] = await Promise.all([
      read('tls-cert'),
      read('tls-key'),
      trust === 'secret' ? read('tls-ca') : undefined,
    ])
    return handshake({
      ...{ host, port, cert, key, minVersion: 'TLSv1.2' as const },
      ...(ca === undefined ? {} : { ca }),
      // An address is no name to ask a server by (RFC 6066, 3); its certificate is checked for it all the same.
      ...(isIP(name) === 0 ? { servername: name } : {}),
      checkServerIdentity: (_asked, certificate) => checkServerIdentity(name, certificate),
    })
  }
  return { open, reach: undefined, close: () => {} }
}

async function handshake(options: ConnectionOptions): Promise<TLSSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>()
  let socket: TLSSocket
  try {
    socket = connect(options)
  } catch (error) {
    // Text that is no certificate or key; the message of OpenSSL has none of it.
    throw failureOf(error as NodeJS.ErrnoException, 'ERR_TLS_MATERIAL')
  }
  const timer = setTimeout(() => {
    socket.destroy(Object.assign(new Error('the engine does not answer'), { code: 'ETIMEDOUT' }))
  }, CONNECT_TIMEOUT_MS)
  const failed = (error: Error): void => reject(failureOf(error))
  socket.once('error', failed)
  socket.once('secureConnect', () => resolve(socket))
  try {
    return await accepted(await promise)
  } finally {
    clearTimeout(timer)
    socket.removeListener('error', failed)
  }
}

/** Go's servers, as an engine, give a ticket at once; from others nothing comes, and nothing is lost but this time. */
const TICKET_WITHIN_MS = 1_000

/**
 * In TLS 1.3 a server looks at the client's certificate when the client is done already, and a refusal could come after the first request
 * or be lost with it. The server's ticket says that it is content.
 */
async function accepted(socket: TLSSocket): Promise<TLSSocket> {
  if (socket.getProtocol() !== 'TLSv1.3') return socket
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>()
  const given = (): void => resolve(socket)
  const failed = (error: Error): void => reject(failureOf(error))
  const closed = (): void => reject(failureOf(new Error('the engine ended the connection'), 'ECONNRESET'))
  const timer = setTimeout(given, TICKET_WITHIN_MS)
  socket.once('session', given).once('error', failed).once('close', closed)
  // A refusal is read like anything else.
  socket.read(0)
  try {
    return await promise
  } finally {
    clearTimeout(timer)
    socket.removeListener('session', given).removeListener('error', failed).removeListener('close', closed)
  }
}

/** As `ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE` or `ERR_SSL_TLSV1_ALERT_UNKNOWN_CA`: OpenSSL's names of one alert change with its version. */
const refusals = /_ALERT_(?:BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_\w+|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE)$/

function failureOf(error: NodeJS.ErrnoException, code: string | undefined = error.code): EngineFailure {
  const alert = refusals
    .exec(code ?? '')?.[0]
    .replace('_ALERT_', '')
    .replaceAll('_', ' ')
    .toLowerCase()
  if (alert !== undefined)
    return new EngineFailure(`the engine refused the client: ${alert}`, { code: 'TLS_CLIENT_REFUSED', sent: false, cause: error })
  return new EngineFailure(error.message, { code, sent: false, cause: error })
}
