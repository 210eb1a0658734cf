/** The certificate in use: renewed on disk, it is taken up without a restart; one that is wrong changes nothing and is told. */
import type { Server } from 'node:https'
import type { FastifyBaseLogger } from 'fastify'
import { readTls, type TlsFiles, type TlsMaterial } from '../config/tls.ts'
import type { Conditions } from '../engine/api.ts'

export interface Certificate {
  /** Reads the files now. */
  look(): Promise<void>
  stop(): void
}

export interface CertificateDeps {
  server: Pick<Server, 'setSecureContext'>
  files: TlsFiles
  /** What the server began with. */
  current: TlsMaterial
  conditions: Conditions
  log: FastifyBaseLogger
  now?(): number
}

/** Certificates are renewed weeks before their end: a minute is soon enough, and two small reads cost nothing. */
const EVERY_MS = 60_000
/** What renews them by itself does so a month before; two weeks before the end nobody does it any more. */
const SOON_MS = 14 * 86_400_000
export const certificateKey = { scope: 'host', name: 'api', type: 'certificate' } as const

export function followCertificate({ server, files, current, conditions, log, now = Date.now }: CertificateDeps): Certificate {
  let used = current

  async function look(): Promise<void> {
    try {
      const found = await readTls(files, now())
      if (found.cert !== used.cert || found.key !== used.key) {
        server.setSecureContext({ cert: found.cert, key: found.key })
        used = found
        log.info({ expiresAt: new Date(found.expiresAt).toISOString() }, 'another certificate is in use')
      }
    } catch (error) {
      const message = `the certificate on disk is not taken: ${(error as Error).message}`
      conditions.raise({ ...certificateKey, message, hint: 'The one before it is in use. Mend host.tls, then: muster apply' })
      return
    }
    if (used.expiresAt - now() > SOON_MS) conditions.clear(certificateKey)
    else
      conditions.raise({
        ...certificateKey,
        message: `the certificate expires at ${new Date(used.expiresAt).toISOString()}`,
        hint: 'Renew it; the files are read again by themselves.',
      })
  }

  const timer = setInterval(() => void look(), EVERY_MS)
  timer.unref()
  return { look, stop: () => clearInterval(timer) }
}
