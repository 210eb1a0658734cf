/** A webhook of a cluster for tests: it denies, never answers, or rewrites labels, by the path that it is asked at. */
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { dirname } from 'node:path'
import { makeAuthority } from '@muster/test/systems/authority'
import type { KubernetesCluster } from '@muster/test/systems/kubernetes'

export type Deed = 'deny' | 'hang' | 'rewrite'

export interface Webhook extends AsyncDisposable {
  /** From now on until `withdraw` it is asked about every Pod that is made in the namespace. */
  rule(deed: Deed, namespace: string): Promise<void>
  withdraw(deed: Deed): Promise<void>
}

const GROUP = '/apis/admissionregistration.k8s.io/v1'
const rewriting = [{ op: 'replace', path: '/metadata/labels/muster-pool', value: 'another' }]

export async function startWebhook(cluster: KubernetesCluster): Promise<Webhook> {
  const folder = dirname(cluster.kubeconfig)
  const authority = await makeAuthority(folder, 'webhook')
  const { cert, key } = await authority.issue('server', [`IP:${cluster.hostAddress}`])
  const [ca, ...material] = await Promise.all([authority.file, cert, key].map((file) => readFile(file)))
  const server = createServer({ cert: material[0], key: material[1] }, (request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      if (request.url?.startsWith('/hang') === true) return
      const { uid } = (JSON.parse(Buffer.concat(parts).toString()) as { request: { uid: string } }).request
      const deny = request.url?.startsWith('/deny') === true
      const answer = deny
        ? { uid, allowed: false, status: { message: 'not here' } }
        : { uid, allowed: true, patchType: 'JSONPatch', patch: Buffer.from(JSON.stringify(rewriting)).toString('base64') }
      response.setHeader('Content-Type', 'application/json')
      response.end(JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: answer }))
    })
  }).listen(0, cluster.hostAddress)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    async rule(deed, namespace) {
      const webhook = {
        name: `${deed}.muster.test`,
        clientConfig: { url: `https://${cluster.hostAddress}:${port}/${deed}`, caBundle: ca?.toString('base64') },
        rules: [{ apiGroups: [''], apiVersions: ['v1'], resources: ['pods'], operations: ['CREATE'] }],
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } },
        ...{ admissionReviewVersions: ['v1'], sideEffects: 'None', failurePolicy: 'Fail', timeoutSeconds: 1 },
      }
      await cluster.ask({
        method: 'POST',
        path: `${GROUP}/mutatingwebhookconfigurations`,
        body: { metadata: { name: deed }, webhooks: [webhook] },
      })
    },
    async withdraw(deed) {
      await cluster.ask({ method: 'DELETE', path: `${GROUP}/mutatingwebhookconfigurations/${deed}` })
    },
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}
