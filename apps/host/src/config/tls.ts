/** The certificate of the API and its key: read, and looked at before anything goes by them. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'

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

/** Error: TlsFault. */
export async function readTls(files: TlsFiles, now: number = Date.now()): Promise<TlsMaterial> {
  const [cert, key] = [await readPem(files, 'cert'), await readPem(files, 'key')]
  const leaf = parse('cert', () => new X509Certificate(cert), 'a certificate in PEM form, with its chain')
  const own = parse('key', () => createPrivateKey(key), 'a private key in PEM form, without a passphrase')
  if (!leaf.checkPrivateKey(own))
    throw new TlsFault('key', 'it is not the key of the certificate', 'name the pair that belongs together')
  const expiresAt = leaf.validToDate.getTime()
  if (expiresAt <= now) throw new TlsFault('cert', `it expired at ${leaf.validToDate.toISOString()}`, 'renew it')
  return { cert, key, subject: subjectOf(leaf), expiresAt }
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
