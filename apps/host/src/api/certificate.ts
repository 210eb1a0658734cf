/** The certificate in use: renewed on disk, it is taken up without a restart; one that is wrong changes nothing and is told. */
import type { Server } from 'node:https'
import type { FastifyBaseLogger } from 'fastify'
import { readTls, type TlsFiles, type TlsMaterial } from '../config/tls.ts'
import type { Change } from '../config/diff.ts'
import type { Conditions } from '../engine/api.ts'

export interface Certificate {
  /** Reads the files now, and takes what they hold; `only`: says what it would be. Undefined: what is in use, or nothing that can be. */
  look(only?: 'only'): Promise<Change | undefined>
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

  async function look(only?: 'only'): Promise<Change | undefined> {
    let taken: Change | undefined
    try {
      const found = await readTls(files, now())
      if (found.cert !== used.cert || found.key !== used.key) {
        taken = changeOf(used, found)
        if (only === undefined) {
          server.setSecureContext({ cert: found.cert, key: found.key })
          used = found
          log.info({ subject: found.subject, expiresAt: instant(found.expiresAt) }, 'another certificate is in use')
        }
      }
    } catch (error) {
      const message = `the certificate on disk is not taken: ${(error as Error).message}`
      conditions.raise({ ...certificateKey, message, hint: 'The one before it is in use. Mend host.tls, then: muster apply' })
      return undefined
    }
    if (used.expiresAt - now() > SOON_MS) conditions.clear(certificateKey)
    else
      conditions.raise({
        ...certificateKey,
        message: `the certificate expires at ${instant(used.expiresAt)}`,
        hint: 'Renew it; the files are read again by themselves.',
      })
    return taken
  }

  const timer = setInterval(() => void look(), EVERY_MS)
  timer.unref()
  return { look, stop: () => clearInterval(timer) }
}

/** Its names in the file stay; what they hold is another one. */
function changeOf(before: TlsMaterial, after: TlsMaterial): Change {
  const [was, is] = [before, after].map(({ subject, expiresAt }) => `${subject}, expires at ${instant(expiresAt)}`)
  return { path: 'host.tls', kind: 'changed', before: was ?? '', after: is ?? '', effect: 'at once, for new connections' }
}

const instant = (ms: number): string => new Date(ms).toISOString()
