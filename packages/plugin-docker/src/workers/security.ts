/** What a worker may do on the engine's machine: as little as a container can, unless its pool's operator says otherwise. Pure. */
import type { LaunchSpec } from '@muster/core'
import type { CreateBody } from '../client.ts'
import type { EngineFacts } from '../engine/facts.ts'
import { type DockerSettings, type Power, refuse } from '../settings.ts'

type HostConfig = NonNullable<CreateBody['HostConfig']>

/** Refuses what the operator has not allowed, and what the engine would not keep. */
export function checkSecurity(spec: LaunchSpec, settings: DockerSettings, facts: EngineFacts): void {
  const { privileged } = spec.security ?? {}
  const { apparmor, seccomp, hostNamespaces = [] } = settings
  if (privileged === true) {
    allowed('privileged', 'security.privileged', settings)
    // An engine gives a privileged container every capability, no profile and every device, whatever else is asked.
    if (spec.security?.capabilitiesDrop !== undefined)
      throw refuse('invalid-spec', 'security.capabilitiesDrop', 'a privileged worker has every capability')
    if (spec.security?.noNewPrivileges === true)
      throw refuse('invalid-spec', 'security.noNewPrivileges', 'a privileged worker may have new ones')
    if (seccomp !== undefined && seccomp !== 'unconfined')
      throw refuse('invalid-spec', 'settings.seccomp', 'a privileged worker has no profile')
  }
  if (apparmor !== undefined && !facts.security.apparmor)
    throw refuse('unsupported', 'settings.apparmor', "the engine's kernel has no AppArmor")
  if (seccomp !== undefined && seccomp !== 'unconfined' && !facts.security.seccomp)
    throw refuse('unsupported', 'settings.seccomp', "the engine's kernel has no seccomp")
  if (hostNamespaces.includes('network') && spec.network?.egress !== undefined && spec.network.egress !== 'full')
    throw refuse('invalid-spec', 'settings.hostNamespaces', "the machine's own network has full egress")
  if (facts.security.userns && hostNamespaces.includes('users') && (spec.files?.length ?? 0) > 0)
    throw refuse('unsupported', 'files', "the engine remaps users: to a worker with the machine's users they would be another's")
  if (facts.security.userns && !hostNamespaces.includes('users')) {
    if (privileged === true)
      throw refuse('unsupported', 'security.privileged', 'the engine remaps users: add users to settings.hostNamespaces')
    const shared = hostNamespaces.find((name) => name === 'network' || name === 'pid')
    if (shared !== undefined)
      throw refuse('unsupported', 'settings.hostNamespaces', `the engine remaps users: ${shared} needs users too`)
  }
}

/** Throws unless the pool's operator allows it. */
export function allowed(power: Power, path: string, { allow = [] }: DockerSettings): void {
  if (!allow.includes(power)) throw refuse('unsupported', path, `the pool's settings.allow does not name ${power}`)
}

/** The engine's words for it. */
export function securityOf(spec: LaunchSpec, settings: DockerSettings): HostConfig {
  const { readOnlyRoot, noNewPrivileges = true, privileged = false, capabilitiesAdd, capabilitiesDrop } = spec.security ?? {}
  const { capabilities = 'none', groups, seccomp = 'default', apparmor, hostNamespaces = [] } = settings
  const drop = [
    ...(capabilities === 'none' ? ['ALL'] : []),
    // With raw sockets packets pass by the rules.
    ...(spec.network?.egress === 'restricted' && capabilities === 'engine' ? ['NET_RAW'] : []),
    ...(capabilitiesDrop ?? []),
  ]
  return {
    // A privileged one is asked for by name and has all.
    ...(privileged ? { Privileged: true } : { CapDrop: [...new Set(drop)] }),
    ...(capabilitiesAdd === undefined ? {} : { CapAdd: capabilitiesAdd }),
    SecurityOpt: [
      `no-new-privileges=${noNewPrivileges && !privileged}`,
      ...(seccomp === 'default' ? [] : [`seccomp=${seccomp === 'unconfined' ? seccomp : JSON.stringify(seccomp)}`]),
      ...(apparmor === undefined ? [] : [`apparmor=${apparmor}`]),
    ],
    ...(readOnlyRoot === undefined ? {} : { ReadonlyRootfs: readOnlyRoot }),
    ...(groups === undefined ? {} : { GroupAdd: groups }),
    ...(hostNamespaces.includes('pid') ? { PidMode: 'host' } : {}),
    ...(hostNamespaces.includes('ipc') ? { IpcMode: 'host' } : {}),
    ...(hostNamespaces.includes('users') ? { UsernsMode: 'host' } : {}),
  }
}
