/** What a worker may do on its node: the level `restricted`, unless its pool's operator says otherwise. Pure. */
import type { LaunchSpec } from '@muster/core'
import type { SecurityContext } from '../objects.ts'
import { type Ids, idsOf, type KubernetesSettings, refuse, type SecurityLevel } from '../settings.ts'

/** Of nobody in particular: an image's own user is often root, or has a name that no node can judge. */
const WORKER: Ids = { uid: 1000, gid: 1000 }
/** Another one: what ends a worker's commands must not reach its services. */
const SERVICE: Ids = { uid: 1001, gid: 1001 }

/** Capabilities that each level lets be added: https://kubernetes.io/docs/concepts/security/pod-security-standards/ */
const addable: Readonly<Record<Exclude<SecurityLevel, 'privileged'>, readonly string[]>> = {
  restricted: ['NET_BIND_SERVICE'],
  baseline: [
    ...['AUDIT_WRITE', 'CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'KILL', 'MKNOD', 'NET_BIND_SERVICE'],
    ...['SETFCAP', 'SETGID', 'SETPCAP', 'SETUID', 'SYS_CHROOT'],
  ],
}

export const levels: Readonly<Record<SecurityLevel, number>> = { restricted: 0, baseline: 1, privileged: 2 }

/** Refuses, by its path, what is beyond the level that the pool's operator allows. */
export function checkSecurity({ security = {}, services = [] }: LaunchSpec, settings: KubernetesSettings): void {
  const { security: level = 'restricted' } = settings
  const needs = (least: SecurityLevel, at: string): void => {
    if (levels[level] < levels[least])
      throw refuse('unsupported', at, `the pool's settings.security is ${level}: it needs ${least}`)
  }
  if (security.privileged === true) needs('privileged', 'security.privileged')
  if (security.noNewPrivileges === false) needs('baseline', 'security.noNewPrivileges')
  if (security.noNewPrivileges === true && security.privileged === true)
    throw refuse('invalid-spec', 'security.noNewPrivileges', 'a privileged worker may have new ones')
  if (security.noNewPrivileges === true && security.capabilitiesAdd?.includes('SYS_ADMIN') === true)
    throw refuse('invalid-spec', 'security.noNewPrivileges', 'a worker with SYS_ADMIN may have new ones')
  if (security.user !== undefined) checkUser(security.user, 'security.user', level)
  for (const { name } of services) {
    const user = settings.services?.[name]?.user
    if (user !== undefined && user !== 'image') checkUser(user, `settings.services.${name}.user`, level)
  }
  const allowed = level === 'privileged' ? undefined : addable[level]
  const beyond = allowed && (security.capabilitiesAdd ?? []).find((name) => !allowed.includes(name))
  if (beyond !== undefined)
    throw refuse('unsupported', 'security.capabilitiesAdd', `the pool's settings.security is ${level}, which has no ${beyond}`)
}

function checkUser(user: string, at: string, level: SecurityLevel): void {
  const ids = idsOf(user)
  if (ids === undefined) throw refuse('unsupported', at, 'a cluster takes users and groups by number')
  if (ids.uid === 0 && level === 'restricted')
    throw refuse('unsupported', at, "root is beyond the pool's settings.security, which is restricted")
}

/** Of the worker's own container. */
export function securityOf({ security = {} }: LaunchSpec, settings: KubernetesSettings): SecurityContext {
  const { capabilitiesAdd, capabilitiesDrop = [], privileged = false, readOnlyRoot = true } = security
  const ids = security.user === undefined ? (settings.user === 'image' ? undefined : WORKER) : idsOf(security.user)
  return {
    ...contextOf(ids, settings),
    allowPrivilegeEscalation: privileged || security.noNewPrivileges === false || capabilitiesAdd?.includes('SYS_ADMIN') === true,
    readOnlyRootFilesystem: readOnlyRoot,
    ...(privileged
      ? { privileged }
      : {
          capabilities: {
            drop: [...new Set(['ALL', ...capabilitiesDrop])],
            ...(capabilitiesAdd === undefined ? {} : { add: capabilitiesAdd }),
          },
        }),
  }
}

/** Of a service, or of a program before the worker. A database writes where its image wants. */
export function besideOf(user: string | undefined, settings: KubernetesSettings): SecurityContext {
  const ids = user === 'image' ? undefined : user === undefined ? SERVICE : idsOf(user)
  return { ...contextOf(ids, settings), allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } }
}

function contextOf(ids: Ids | undefined, { security = 'restricted' }: KubernetesSettings): SecurityContext {
  return {
    ...(security === 'restricted' ? { runAsNonRoot: true } : {}),
    ...(ids === undefined ? {} : { runAsUser: ids.uid, ...(ids.gid === undefined ? {} : { runAsGroup: ids.gid }) }),
    seccompProfile: { type: 'RuntimeDefault' },
  }
}

/** Does it run as the user that we chose for want of one? Nothing of the image belongs to that one. */
export function isNobody({ security }: LaunchSpec, { user }: KubernetesSettings): boolean {
  return security?.user === undefined && user !== 'image'
}

/** Of all containers: volumes can be written by the worker's group. */
export function podSecurityOf({ security }: LaunchSpec, settings: KubernetesSettings): Record<string, unknown> {
  const gid = security?.user === undefined ? (settings.user === 'image' ? undefined : WORKER.gid) : idsOf(security.user)?.gid
  return {
    ...(settings.security === undefined || settings.security === 'restricted' ? { runAsNonRoot: true } : {}),
    seccompProfile: { type: 'RuntimeDefault' },
    ...(gid === undefined ? {} : { fsGroup: gid, fsGroupChangePolicy: 'OnRootMismatch' }),
  }
}
