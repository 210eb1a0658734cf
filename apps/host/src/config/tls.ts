/** The certificate of the API and its key: read, and looked at before anything goes by them. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFile, stat } from 'node:fs/promises'
import { duplexPair } from 'node:stream'
import { connect, createSecureContext, type SecureContext, TLSSocket } from 'node:tls'

export interface TlsFiles {
  /** Absolute paths of PEM files. */
  cert: string
  key: string
}

export interface TlsMaterial {
  cert: string
  key: string
  /** Whom it is for; one that names nobody there has the names it is valid for. */
  subject: string
  /** Milliseconds since 1970. */
  expiresAt: number
}

/** What is wrong with one of the two files. */
export class TlsFault extends Error {
  override readonly name = 'TlsFault'
  readonly which: keyof TlsFiles
  readonly fix: string

  constructor(which: keyof TlsFiles, message: string, fix: string) {
    super(message)
    this.which = which
    this.fix = fix
  }
}

const CERTIFICATE = 'a certificate in PEM form, with its chain, of a key that clients take: RSA of 2048 bits, or EC P-256'

/** Error: TlsFault. */
export async function readTls(files: TlsFiles, now: number = Date.now()): Promise<TlsMaterial> {
  const [cert, key] = [await readPem(files, 'cert'), await readPem(files, 'key')]
  const leaf = parse('cert', () => new X509Certificate(cert), CERTIFICATE)
  const own = parse('key', () => createPrivateKey(key), 'a private key in PEM form, without a passphrase')
  if (!leaf.checkPrivateKey(own))
    throw new TlsFault('key', 'it is not the key of the certificate', 'name the pair that belongs together')
  const expiresAt = leaf.validToDate.getTime()
  if (expiresAt <= now) throw new TlsFault('cert', `it expired at ${leaf.validToDate.toISOString()}`, 'renew it')
  const begins = leaf.validFromDate
  if (begins.getTime() > now)
    throw new TlsFault(
      'cert',
      `it is valid from ${begins.toISOString()} on`,
      'name one that is valid now, or set the clock right',
    )
  await tryOut({ cert, key })
  return { cert, key, subject: subjectOf(leaf), expiresAt }
}

/** Within this process it takes some milliseconds. */
const HANDSHAKE_MS = 10_000

/** A pair may be right and of no use: what is wrong further down the chain, or with the kind of the key, only a handshake shows. */
async function tryOut(pair: Pick<TlsMaterial, 'cert' | 'key'>): Promise<void> {
  let secureContext: SecureContext
  try {
    secureContext = createSecureContext(pair)
  } catch (error) {
    throw new TlsFault('cert', `it cannot be used: ${reasonOf(error)}`, `write ${CERTIFICATE}`)
  }
  const [here, there] = duplexPair()
  const server = new TLSSocket(here, { isServer: true, secureContext })
  const client = connect({ socket: there, rejectUnauthorized: false })
  // Either of them may be the one that is told what is wrong, and the other still be at it.
  for (const end of [client, server]) end.on('error', () => undefined)
  const signal = AbortSignal.timeout(HANDSHAKE_MS)
  try {
    await Promise.all([once(server, 'secure', { signal }), once(client, 'secureConnect', { signal })])
  } catch (error) {
    throw new TlsFault('cert', `no client could come in by it: ${reasonOf(error)}`, `write ${CERTIFICATE}`)
  } finally {
    for (const end of [client, server]) end.destroy()
  }
}

/** OpenSSL says it in words of its own, behind its numbers. */
function reasonOf(error: unknown): string {
  const { reason, message } = error as Error & { reason?: string }
  return reason ?? message
}

/** In one line: Node gives each of its parts a line. */
function subjectOf({ subject, subjectAltName = '' }: Pick<X509Certificate, 'subject' | 'subjectAltName'>): string {
  // Typed as always there; a certificate without a subject has none.
  return ((subject as string | undefined) || subjectAltName).replaceAll('\n', ', ')
}

async function readPem(files: TlsFiles, which: keyof TlsFiles): Promise<string> {
  try {
    // Nobody may ever write into a pipe: who reads it waits for ever, and so does the end of the daemon.
    if (!(await stat(files[which])).isFile()) throw new TlsFault(which, `${files[which]} is no file`, 'name a file')
    return await readFile(files[which], 'utf8')
  } catch (error) {
    if (error instanceof TlsFault) throw error
    const { code, message } = error as NodeJS.ErrnoException
    const reason = code === 'ENOENT' ? `${files[which]} does not exist` : `${files[which]} cannot be read: ${message}`
    throw new TlsFault(which, reason, code === 'ENOENT' ? 'name a file that exists' : 'give this user the right to read it')
  }
}

function parse<T>(which: keyof TlsFiles, read: () => T, wanted: string): T {
  try {
    return read()
  } catch {
    throw new TlsFault(which, 'it cannot be used', `write ${wanted}`)
  }
}
