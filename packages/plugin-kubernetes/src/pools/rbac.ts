/** The least rights that the plugin needs, made from the calls that it makes. Pure. */
import type { Right } from '../api/calls.ts'
import { checkingRights, makingRights, removingRights, rights } from '../client.ts'
import type { TenantConfig } from './tenant.ts'

export interface Role {
  apiVersion: 'rbac.authorization.k8s.io/v1'
  kind: 'Role' | 'ClusterRole'
  metadata: { name: string; namespace?: string }
  rules: { apiGroups: string[]; resources: string[]; verbs: string[] }[]
}

/** One rule for each resource. */
export function roleOf(namespace: string, needed: readonly Right[] = rights, name = 'muster'): Role {
  return { ...kindOf('Role'), metadata: { name, namespace }, rules: rulesOf(needed) }
}

/** For a provider whose namespace is a tenant's own; `more` is what its kind of workers needs beside. One that is still to be made has no Role in it. */
export function tenantRoleOf(namespace: string, tenant: TenantConfig | undefined, more: readonly Right[] = []): Role {
  const needed = [...tenantRightsOf(tenant), ...more]
  if (tenant?.make !== true) return roleOf(namespace, needed)
  return { ...kindOf('ClusterRole'), metadata: { name: 'muster-tenants' }, rules: rulesOf(needed) }
}

export function tenantRightsOf(tenant: TenantConfig | undefined): readonly Right[] {
  if (tenant === undefined) return rights
  return tenant.make !== true ? checkingRights : tenant.remove === true ? removingRights : makingRights
}

const kindOf = <K extends Role['kind']>(kind: K): Pick<Role, 'apiVersion'> & { kind: K } => ({
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind,
})

function rulesOf(needed: readonly Right[]): Role['rules'] {
  const byResource = Map.groupBy(needed, ({ group, resource }) => `${group}/${resource}`)
  return [...byResource.values()].map((same) => ({
    apiGroups: [same[0]?.group ?? ''],
    resources: [same[0]?.resource ?? ''],
    verbs: same.map(({ verb }) => verb),
  }))
}

/** As a file for `kubectl apply -f`. */
export function roleText(role: Role): string {
  const list = (items: readonly string[]): string => `[${items.map((item) => `'${item}'`).join(', ')}]`
  const rules = role.rules.map(
    ({ apiGroups, resources, verbs }) =>
      `  - apiGroups: ${list(apiGroups)}\n    resources: ${list(resources)}\n    verbs: ${list(verbs)}`,
  )
  const { name, namespace } = role.metadata
  const head = [
    `apiVersion: ${role.apiVersion}`,
    `kind: ${role.kind}`,
    `metadata: { name: ${name}${namespace === undefined ? '' : `, namespace: ${namespace}`} }`,
  ]
  return [...head, 'rules:', ...rules].join('\n')
}
