/** Everything that is asked of one cluster: {@link connect}. */
import { type Bucket, createBucket } from './bucket.ts'
import { createIdentities } from './identity.ts'
import type { ClusterSource } from './kubeconfig.ts'
import { createRequests, type Requests } from './requests.ts'
import { createTransport, type Transport } from './transport.ts'

export interface ClusterClient {
  requests: Requests
  transport: Transport
  close(): void
}

export interface ClientOptions {
  userAgent?: string
  bucket?: Bucket
}

/** client-go's defaults are 5 and 10, made for controllers that do little; kubectl's are 50 and 300. The server's own fairness decides in the end. */
const RATE = { rate: 50, burst: 100 }

/** Asks nothing yet: what the source says is read with the first request. */
export function connect(source: ClusterSource, { userAgent, bucket = createBucket(RATE) }: ClientOptions = {}): ClusterClient {
  const identities = createIdentities(source)
  const transport = createTransport({ identities, bucket, ...(userAgent === undefined ? {} : { userAgent }) })
  return { requests: createRequests(transport), transport, close: () => transport.close() }
}
