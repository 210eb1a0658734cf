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
  await make(folder, name, { file: 'ca' })
  return openAuthority(folder, name)
}

/** The one that was made so before. */
export function openAuthority(folder: string, name: string): Authority {
  const own = pairOf(folder, name, 'ca')
  return {
    file: own.cert,
    key: own.key,
    issue: (file, names, subject) => {
      const alternatives = names.length === 0 ? [] : ['-addext', `subjectAltName=${names.join(',')}`]
      return make(folder, name, { file, subject, more: ['-CA', own.cert, '-CAkey', own.key, ...alternatives] })
    },
  }
}

interface Pair {
  cert: string
  key: string
}

function pairOf(folder: string, name: string, file: string): Pair {
  const at = (ending: string): string => join(folder, `${name}-${file}.${ending}`)
  return { cert: at('crt'), key: at('key') }
}

async function make(
  folder: string,
  name: string,
  { file, subject = `/CN=${name} ${file}`, more = [] }: { file: string; subject?: string | undefined; more?: string[] },
): Promise<Pair> {
  const pair = pairOf(folder, name, file)
  const { code, stderr } = await runProcess(
    ['openssl', 'req', '-x509', ...newKey, '-keyout', pair.key, '-out', pair.cert, '-days', '2', '-subj', subject, ...more],
    {},
  )
  if (code !== 0) throw new Error(`openssl: ${stderr}`)
  return pair
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
