/**
 * A program: one helper of the vendor's library in a process of its own, since some of them end it. Its arguments: path of a kubeconfig, the
 * helper, a namespace, and in it a Pod of `silence.test.helper.ts`. What the helper gives goes to stdout; it is told `before`, and `after` at
 * SIGUSR2. stderr says when the helper tells that it has ended.
 */
import { PassThrough } from 'node:stream'
import { Exec, KubeConfig, Log, PortForward, Watch } from '@kubernetes/client-node'

const [kubeconfig = '', helper = '', namespace = '', pod = ''] = process.argv.slice(2)
const { stdout, stderr } = process
const input = new PassThrough()
const config = new KubeConfig()
config.loadFromFile(kubeconfig)
const ended = (how: unknown): void => void stderr.write(`ended: ${String(how)}\n`)

const helpers: Readonly<Record<string, () => Promise<unknown>>> = {
  log: () => new Log(config).log(namespace, pod, 'main', stdout, { follow: true }),
  watch: () =>
    new Watch(config).watch(
      `/api/v1/namespaces/${namespace}/pods`,
      { fieldSelector: `metadata.name=${pod}` },
      (_type, { metadata }: { metadata: { annotations?: { said?: string } } }) => stdout.write(metadata.annotations?.said ?? ''),
      ended,
    ),
  exec: () => new Exec(config).exec(namespace, pod, 'main', ['cat'], stdout, stderr, input, false, ({ status }) => ended(status)),
  forward: () => new PortForward(config).portForward(namespace, pod, [7000], stdout, stderr, input),
}
await helpers[helper]?.()
input.write('before\n')
process.on('SIGUSR2', () => input.write('after\n'))
// A helper that gives up is to be seen as that, not as the end of a program that has nothing to do.
setInterval(() => {}, 60_000)
