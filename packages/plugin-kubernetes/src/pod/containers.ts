/** Parts that the containers of a Pod have alike. Pure. */
import type { Readiness } from '@muster/core'
import type { Probe } from '../objects.ts'
import type { KubernetesSettings } from '../settings.ts'

/**
 * Text that stays what it is where Kubernetes puts variables in: in `$(NAME)` of commands, arguments and environments, `$$` is a dollar.
 * https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
 */
export function literal(text: string): string {
  return text.replaceAll('$', '$$$$')
}

/** A cluster counts in whole seconds: what is shorter is rounded up. */
export function probeOf({ check, intervalMs, timeoutMs, failures }: Readiness): Probe {
  return {
    ...(check.kind === 'exec'
      ? { exec: { command: check.command } }
      : check.kind === 'tcp'
        ? { tcpSocket: { port: check.port } }
        : { httpGet: { port: check.port, path: check.path } }),
    periodSeconds: secondsOf(intervalMs),
    timeoutSeconds: secondsOf(timeoutMs),
    failureThreshold: failures,
  }
}

export function secondsOf(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000))
}

const policies = { missing: 'IfNotPresent', always: 'Always', never: 'Never' } as const

export function pullPolicyOf({ pull = 'missing' }: KubernetesSettings): string {
  return policies[pull]
}
