/** Who is who in a cluster for tests: an authority of its own, a certificate and a kubeconfig for each component. */
import { generateKeyPairSync } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { makeAuthority } from '../authority.ts'
import { API_PORT, NODE, SERVICE_ADDRESS } from './addresses.ts'

/** The users of the cluster's components and of its administrator; Kubernetes knows the names that begin with `system:`. */
const USERS = {
  admin: '/O=system:masters/CN=admin',
  controller: '/CN=system:kube-controller-manager',
  coredns: '/CN=coredns',
  kubelet: `/O=system:nodes/CN=system:node:${NODE}`,
  policies: '/CN=policies',
  proxy: '/CN=system:kube-proxy',
  scheduler: '/CN=system:kube-scheduler',
} as const

/** The context of each kubeconfig. */
export const CONTEXT = 'muster-test'

/**
 * Files in `folder`, good for two days: `cluster-ca.crt` and `.key`, `cluster-NAME.crt` and `.key` of `apiserver` and of each user,
 * `NAME.kubeconfig` of each user, `tokens.key` and `tokens.pub`.
 */
export async function makeIdentities(folder: string, node: string): Promise<void> {
  const at = (name: string): string => join(folder, name)
  const authority = await makeAuthority(folder, 'cluster')
  const own = ['DNS:localhost', 'IP:127.0.0.1', `IP:${node}`]
  const services = ['', '.default', '.default.svc', '.default.svc.cluster.local'].map((domain) => `DNS:kubernetes${domain}`)
  await Promise.all([
    authority.issue('apiserver', [...own, ...services, `IP:${SERVICE_ADDRESS}`], '/CN=kube-apiserver'),
    ...Object.entries(USERS).map(([name, subject]) =>
      authority.issue(name, name === 'kubelet' ? [...own, `DNS:${NODE}`] : [], subject),
    ),
    makeTokenKeys(at),
  ])
  await Promise.all(Object.keys(USERS).map((name) => writeKubeconfig(at, name, node)))
}

/** What tokens of service accounts are signed with and proved by. */
async function makeTokenKeys(at: (name: string) => string): Promise<void> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  })
  await writeFile(at('tokens.key'), privateKey, { mode: 0o600 })
  await writeFile(at('tokens.pub'), publicKey)
}

/** A file that stands by itself. JSON is YAML. */
async function writeKubeconfig(at: (name: string) => string, name: string, node: string): Promise<void> {
  const [authority, cert, key] = await Promise.all(
    ['ca.crt', `${name}.crt`, `${name}.key`].map((file) => readFile(at(`cluster-${file}`), 'base64')),
  )
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: CONTEXT, cluster: { server: `https://${node}:${API_PORT}`, 'certificate-authority-data': authority } }],
    users: [{ name, user: { 'client-certificate-data': cert, 'client-key-data': key } }],
    contexts: [{ name: CONTEXT, context: { cluster: CONTEXT, user: name } }],
    'current-context': CONTEXT,
  }
  await writeFile(at(`${name}.kubeconfig`), JSON.stringify(config, undefined, 2), { mode: 0o600 })
}
