/** The components of a cluster for tests: what each is started with, and when it is ready. */
import { join } from 'node:path'

import { API_PORT, DNS_ADDRESS, HEALTH, NODE, NODE_PODS, PODS, SERVICES } from './addresses.ts'
import { CLUSTER_IMAGES } from './images.ts'
import { CONTEXT } from './identities.ts'
import { CNI } from './programs.ts'

/** In the order in which one needs the other. */
export const COMPONENTS = [
  'etcd',
  'apiserver',
  'controller',
  'scheduler',
  'containerd',
  'kubelet',
  'proxy',
  'coredns',
  'policies',
  'kwok',
] as const

export type Component = (typeof COMPONENTS)[number]

/** Where a component finds what it needs. */
export interface Place {
  folder: string
  /** Path of the program kubelab. */
  kubelab: string
  /** The node's address on the link to the machine. */
  node: string
  cgroup: string
}

/** The program and arguments of a component. */
export function commandOf(component: Component, place: Place): string[] {
  const { folder, kubelab, node } = place
  const at = (name: string): string => join(folder, name)
  const user = { kubeconfig: at(`${component}.kubeconfig`) }
  switch (component) {
    case 'etcd':
      return [kubelab, 'etcd', ...flags(etcdFlags(at, node))]
    case 'apiserver':
      return [kubelab, 'apiserver', ...flags(apiserverFlags(at, node))]
    case 'controller':
      return [kubelab, 'controller', ...flags({ ...controllerFlags(at), ...user })]
    case 'scheduler':
      return [kubelab, 'scheduler', ...flags({ config: at('scheduler.json'), 'secure-port': 0 })]
    case 'containerd':
      return ['containerd', ...flags({ config: at('containerd.toml') })]
    case 'kubelet':
      return [kubelab, 'kubelet', ...flags({ config: at('kubelet.json'), 'hostname-override': NODE, 'node-ip': node, ...user })]
    case 'proxy':
      return [kubelab, 'proxy', ...flags({ config: at('proxy.json') })]
    case 'coredns':
      return [kubelab, 'coredns', '-conf', at('Corefile')]
    case 'policies':
      return [kubelab, 'policies', ...flags({ node: NODE, services: SERVICES, 'health-port': HEALTH.policies.port, ...user })]
    case 'kwok':
      return [kubelab, 'kwok', ...flags({ ...kwokFlags(node), kubeconfig: at('admin.kubeconfig') })]
  }
}

function flags(values: Record<string, string | number | boolean>): string[] {
  return Object.entries(values).map(([name, value]) => `--${name}=${value}`)
}

type At = (name: string) => string

/** Nothing is written for good: the data is thrown away, and a test's disk is slow. */
function etcdFlags(at: At, node: string): Record<string, string | boolean> {
  const [client, peer] = [`http://${node}:${HEALTH.etcd.port}`, 'http://127.0.0.1:2380']
  return {
    'data-dir': at('etcd'),
    'unsafe-no-fsync': true,
    'log-level': 'warn',
    'listen-client-urls': client,
    'advertise-client-urls': client,
    'listen-peer-urls': peer,
    'initial-advertise-peer-urls': peer,
    'initial-cluster': `default=${peer}`,
  }
}

function apiserverFlags(at: At, node: string): Record<string, string | number | boolean> {
  return {
    'etcd-servers': `http://${node}:${HEALTH.etcd.port}`,
    'bind-address': node,
    'secure-port': API_PORT,
    'service-cluster-ip-range': SERVICES,
    'tls-cert-file': at('cluster-apiserver.crt'),
    'tls-private-key-file': at('cluster-apiserver.key'),
    'client-ca-file': at('cluster-ca.crt'),
    'authorization-mode': 'Node,RBAC',
    'enable-admission-plugins': 'NodeRestriction',
    'allow-privileged': true,
    'service-account-issuer': 'https://kubernetes.default.svc.cluster.local',
    'service-account-key-file': at('tokens.pub'),
    'service-account-signing-key-file': at('tokens.key'),
    'kubelet-certificate-authority': at('cluster-ca.crt'),
    'kubelet-client-certificate': at('cluster-admin.crt'),
    'kubelet-client-key': at('cluster-admin.key'),
    'kubelet-preferred-address-types': 'InternalIP',
  }
}

function controllerFlags(at: At): Record<string, string | number | boolean> {
  return {
    'use-service-account-credentials': true,
    'leader-elect': false,
    'secure-port': 0,
    // By default a new node keeps its first taint for up to 5 s.
    'node-monitor-period': '1s',
    'service-account-private-key-file': at('tokens.key'),
    'root-ca-file': at('cluster-ca.crt'),
    'cluster-signing-cert-file': at('cluster-ca.crt'),
    'cluster-signing-key-file': at('cluster-ca.key'),
    // With the defaults 2,000 pods of kwok take 105 s, not 58.
    'kube-api-qps': 300,
    'kube-api-burst': 600,
  }
}

function kwokFlags(node: string): Record<string, string | number | boolean> {
  return {
    'manage-all-nodes': false,
    'manage-nodes-with-annotation-selector': 'kwok.x-k8s.io/node=fake',
    cidr: '10.200.0.0/16',
    'node-ip': '127.0.0.1',
    'node-lease-duration-seconds': 40,
    'server-address': `${node}:${HEALTH.kwok.port}`,
  }
}

/** The files that components are configured by: name → content. JSON is YAML. */
export function configFiles(place: Place): Record<string, string> {
  const at: At = (name) => join(place.folder, name)
  const { node } = place
  const json = {
    scheduler: schedulerConfig(at),
    kubelet: kubeletConfig(at, place),
    proxy: proxyConfig(at, node),
    network: podNetwork(at),
  }
  return {
    ...Object.fromEntries(Object.entries(json).map(([name, value]) => [`${name}.json`, JSON.stringify(value, undefined, 2)])),
    'containerd.toml': containerdConfig(at),
    Corefile: corefile(at, node),
    'resolv.conf': 'nameserver 127.0.0.1\n',
  }
}

function schedulerConfig(at: At): object {
  return {
    apiVersion: 'kubescheduler.config.k8s.io/v1',
    kind: 'KubeSchedulerConfiguration',
    leaderElection: { leaderElect: false },
    clientConnection: { kubeconfig: at('scheduler.kubeconfig'), qps: 300, burst: 600 },
  }
}

function kubeletConfig(at: At, { node, cgroup }: Place): object {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    address: node,
    healthzBindAddress: node,
    healthzPort: HEALTH.kubelet.port,
    containerRuntimeEndpoint: `unix://${at('containerd.sock')}`,
    cgroupDriver: 'cgroupfs',
    cgroupRoot: `/${cgroup}`,
    failSwapOn: false,
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: at('cluster-ca.crt') },
    },
    authorization: { mode: 'Webhook' },
    tlsCertFile: at('cluster-kubelet.crt'),
    tlsPrivateKeyFile: at('cluster-kubelet.key'),
    clusterDNS: [DNS_ADDRESS],
    clusterDomain: 'cluster.local',
    resolvConf: at('resolv.conf'),
    // A machine that is nearly full is no reason to evict what a test looks at.
    evictionHard: {
      'memory.available': '200Mi',
      'nodefs.available': '1%',
      'imagefs.available': '1%',
      'nodefs.inodesFree': '1%',
    },
    imageGCHighThresholdPercent: 100,
    serializeImagePulls: false,
    maxPods: 200,
    syncFrequency: '10s',
    nodeStatusUpdateFrequency: '5s',
    // Some machines do not let root lower these.
    oomScoreAdj: 0,
  }
}

function proxyConfig(at: At, node: string): object {
  return {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode: 'iptables',
    bindAddress: node,
    hostnameOverride: NODE,
    clusterCIDR: PODS,
    healthzBindAddress: `${node}:${HEALTH.proxy.port}`,
    metricsBindAddress: '127.0.0.1:10249',
    clientConnection: { kubeconfig: at('proxy.kubeconfig') },
    // Of the whole machine, and not to be set in a network of one's own.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
    iptables: { minSyncPeriod: '100ms', syncPeriod: '30s' },
    oomScoreAdj: 0,
  }
}

function podNetwork(at: At): object {
  return {
    cniVersion: '0.4.0',
    name: CONTEXT,
    plugins: [
      {
        type: 'bridge',
        bridge: 'pods',
        isGateway: true,
        ipMasq: false,
        hairpinMode: true,
        ipam: {
          type: 'host-local',
          dataDir: at('addresses'),
          ranges: [[{ subnet: NODE_PODS }]],
          routes: [{ dst: '0.0.0.0/0' }],
        },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  }
}

/** `restrict_oom_score_adj`: without CAP_SYS_RESOURCE runc may not lower a sandbox's score, and no pod would start. */
function containerdConfig(at: At): string {
  const cri = 'plugins."io.containerd.grpc.v1.cri"'
  return `version = 2
root = "${at('containerd/root')}"
state = "${at('containerd/state')}"
[grpc]
  address = "${at('containerd.sock')}"
[plugins."io.containerd.internal.v1.opt"]
  path = "${at('containerd/opt')}"
[${cri}]
  sandbox_image = "${CLUSTER_IMAGES.pause}"
  restrict_oom_score_adj = true
[${cri}.cni]
  bin_dir = "${CNI}"
  conf_dir = "${at('cni')}"
[${cri}.registry]
  config_path = "${at('registries')}"
[${cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
`
}

/** Names of the cluster only: a name from outside is none. */
function corefile(at: At, node: string): string {
  return `.:53 {
  bind ${node}
  errors
  ready ${node}:${HEALTH.coredns.port}
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    kubeconfig ${at('coredns.kubeconfig')} ${CONTEXT}
    pods insecure
    ttl 1
  }
  template ANY ANY . {
    rcode NXDOMAIN
  }
}
`
}
