/** The door of every method: whatever is thrown becomes a ProviderError, in the words of a worker's spec. */
import { type Call, ProviderError } from '@muster/core'
import { toKubernetesError } from './api/verdict.ts'

export interface Doing {
  /** Begins the message, as in "cannot <doing>: …". */
  doing: string
  mutates: boolean
}

export const reads = (doing: string): Doing => ({ doing, mutates: false })
export const changes = (doing: string): Doing => ({ doing, mutates: true })

/** Fields of a Pod that the API refuses, as those of the spec that they are made from. The first that fits wins. */
const paths: readonly [RegExp, string][] = [
  [/^spec\.containers\[0\]\.image$/, 'image'],
  [/^spec\.containers\[0\]\.resources/, 'resources'],
  [/^spec\.containers\[0\]\.env/, 'env'],
  [/^spec\.containers\[0\]\.workingDir/, 'workdir'],
  [/^spec\.containers\[0\]\.ports/, 'network.ports'],
  [/^spec\.containers\[0\]\.readinessProbe/, 'readiness'],
  [/^spec\.containers\[0\]\.lifecycle/, 'settings.preStop'],
  [/^spec\.containers\[0\]\.volumeMounts/, 'mounts'],
  [/^spec\.(?:containers\[0\]\.)?securityContext/, 'security'],
  [/^spec\.initContainers/, 'services'],
  [/^spec\.volumes/, 'mounts'],
  [/^spec\.(nodeSelector|affinity|tolerations)/, 'settings.$1'],
  [/^spec\.topologySpreadConstraints/, 'settings.spread'],
  [/^spec\.imagePullSecrets/, 'settings.pullSecrets'],
  [/^spec\.activeDeadlineSeconds/, 'lifetimeMs'],
  // Annotations have a bound together, and of all that are ours only the user's labels may be long.
  [/^metadata\.annotations$/, 'labels'],
  // These two of what is beside the Pod.
  [/^spec\.egress/, 'network.allow'],
  [/^spec\.ports/, 'settings.service'],
  [/^(?:spec|metadata)\./, 'settings.template'],
]

/** The field of a spec that a field of its Pod is made from; any other path is one already. */
export function specPath(path: string): string {
  // A Job has its Pod within.
  const own = path.replace(/^spec\.template\.(?=spec\.|metadata\.)/, '')
  const [pattern, name = own] = paths.find(([candidate]) => candidate.test(own)) ?? []
  // What the pattern has in brackets is a part of the path.
  return pattern === undefined ? path : name.replace('$1', pattern.exec(own)?.[1] ?? '')
}

export function asProviderError(thrown: unknown, call: Call, doing: Doing): ProviderError {
  const { signal } = call
  const given = signal.aborted && !(thrown instanceof ProviderError)
  const timedOut = signal.aborted && signal.reason instanceof Error && signal.reason.name === 'TimeoutError'
  // A timer may be a little before the clock.
  const late = timedOut || call.now() >= call.deadline
  const told = given ? new DOMException('given up', 'AbortError') : thrown
  const judged = toKubernetesError(told, { ...doing, timedOut: late })
  if (judged.path === undefined || specPath(judged.path) === judged.path) return judged
  const { code, message, effect, hint, retryAfterMs, scope, quota, path, cause } = judged
  return new ProviderError(code, message, {
    effect,
    path: specPath(path),
    ...(hint === undefined ? {} : { hint }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(scope === undefined ? {} : { scope }),
    ...(quota === undefined ? {} : { quota }),
    cause,
  })
}

export async function guarded<T>(call: Call, doing: Doing, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw asProviderError(error, call, doing)
  }
}

export async function* guardedStream<T>(call: Call, doing: Doing, work: () => AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* work()
  } catch (error) {
    throw asProviderError(error, call, doing)
  }
}
