/** A certificate authority of a test's own, and servers that have their certificates from it. Made by openssl. */
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { runProcess } from './process.ts'

export interface Authority {
  /** Its own certificate, PEM. */
  readonly file: string
  /** Its key, PEM. */
  readonly key: string
  /**
   * PEM files of a certificate for these names, as `IP:127.0.0.1` and `DNS:localhost`, and of its key. Its subject, as
   * `/O=group/CN=user`, is by default one that tells the authority.
   */
  issue(name: string, names: readonly string[], subject?: string): Promise<{ cert: string; key: string }>
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

/** Files go into `folder`, named after `name`. */
export async function makeAuthority(folder: string, name: string): Promise<Authority> {
  const at = (file: string): string => join(folder, `${name}-${file}`)
  const made = async (
    file: string,
    more: readonly string[],
    subject = `/CN=${name} ${file}`,
  ): Promise<{ cert: string; key: string }> => {
    const [cert, key] = [at(`${file}.crt`), at(`${file}.key`)]
    const { code, stderr } = await runProcess(
      ['openssl', 'req', '-x509', ...newKey, '-keyout', key, '-out', cert, '-days', '2', '-subj', subject, ...more],
      {},
    )
    if (code !== 0) throw new Error(`openssl: ${stderr}`)
    return { cert, key }
  }
  const own = await made('ca', [])
  return {
    file: own.cert,
    key: own.key,
    issue: (file, names, subject) => {
      const alternatives = names.length === 0 ? [] : ['-addext', `subjectAltName=${names.join(',')}`]
      return made(file, ['-CA', own.cert, '-CAkey', own.key, ...alternatives], subject)
    },
  }
}

/** For `requireSystem`. */
export async function opensslProblem(): Promise<string | undefined> {
  const found = await runProcess(['openssl', 'version']).catch(() => undefined)
  return found?.code === 0 ? undefined : 'there is no openssl'
}

export interface TlsSite extends AsyncDisposable {
  readonly port: number
}

/** Answers every request with `text`, over TLS, on one address of loopback. */
export async function startTlsSite(
  host: string,
  { cert, key, text }: { cert: string; key: string; text: string },
): Promise<TlsSite> {
  const server = createServer({ cert: await readFile(cert), key: await readFile(key) }, (_request, answer) => {
    answer.setHeader('connection', 'close')
    answer.end(text)
  })
  server.listen(0, host)
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
