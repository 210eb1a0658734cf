/** The addresses and names within a cluster for tests. Only the link to the machine differs from cluster to cluster. */

/** The name of the one node. */
export const NODE = 'node'

/** Of pods and of services: inside of a network of their own, so that two clusters do not meet. */
export const PODS = '10.244.0.0/16'
export const NODE_PODS = '10.244.0.0/24'
export const SERVICES = '10.96.0.0/16'
/** Of the service `kubernetes`: the first of the services. */
export const SERVICE_ADDRESS = '10.96.0.1'
export const DNS_ADDRESS = '10.96.0.10'

/** Port of the node's address that the API server has. */
export const API_PORT = 6443

/** Ports of the node's address, and paths, where components say by HTTP that they are ready. */
export const HEALTH = {
  etcd: { port: 2379, path: '/health' },
  kubelet: { port: 10_248, path: '/healthz' },
  proxy: { port: 10_256, path: '/healthz' },
  coredns: { port: 8_181, path: '/ready' },
  policies: { port: 20_244, path: '/healthz' },
  kwok: { port: 10_247, path: '/healthz' },
} as const
