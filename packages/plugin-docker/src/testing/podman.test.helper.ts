/** What podman's service of Docker's API does otherwise: told to the conformance suite, and written into the README from here. */
import type { LaunchSpec, SpecField } from '@muster/core'

const beside = { name: 'beside', image: 'i' }
const volume = { target: '/v', source: { kind: 'volume' as const, name: 'v' } }
const restricted = { egress: 'restricted' as const }

/** A field that it does not keep, as a spec that has it and the path by which it is refused. */
export interface Refusal {
  parts: Partial<LaunchSpec>
  path: string
}

/** Of the contract's fields. */
export const fieldRefusals: Partial<Record<SpecField, Refusal>> = {
  'mounts.volume': { parts: { mounts: [volume] }, path: 'mounts.volume' },
  'network.egress.restricted': { parts: { network: restricted }, path: 'network.egress.restricted' },
  'network.allow': { parts: { network: { ...restricted, allow: ['127.0.0.1:9'] } }, path: 'network.egress.restricted' },
  services: { parts: { services: [beside] }, path: 'services' },
}

/** Of a pool's settings. */
export const settingRefusals: Record<string, Refusal> = {
  'settings.network.scope': { parts: { settings: { network: { scope: 'pool' } } }, path: 'settings.network.scope' },
  'settings.deviceRequests': { parts: { settings: { deviceRequests: [{ count: 1 }] } }, path: 'settings.deviceRequests' },
}

/** What the suite does not ask of it, and why. */
export const excuses = {
  oom: 'podman 4.3 says nothing of a kill for lack of memory under cgroup v1',
  lines: 'podman 4.3 ends each piece of a line that it read in pieces',
  signal: 'without an init a command is process 1, which no signal of its own ends',
} as const

/** The part of the README. */
export function declared(): string {
  const refused = [...Object.entries(fieldRefusals), ...Object.entries(settingRefusals)]
  return [
    '| refused as `unsupported` on podman | by the path |',
    '| --- | --- |',
    ...refused.map(([name, { path }]) => `| \`${name}\` | \`${path}\` |`),
    '',
    '| not asked of podman by the conformance suite | why |',
    '| --- | --- |',
    ...Object.entries(excuses).map(([name, why]) => `| \`${name}\` | ${why} |`),
  ].join('\n')
}
