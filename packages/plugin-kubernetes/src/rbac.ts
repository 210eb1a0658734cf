/** The least rights that the plugin needs, made from the requests that it makes. Pure. */
import { calls, type Right } from './calls.ts'

export interface Role {
  apiVersion: 'rbac.authorization.k8s.io/v1'
  kind: 'Role'
  metadata: { name: string; namespace: string }
  rules: { apiGroups: string[]; resources: string[]; verbs: string[] }[]
}

export const rights: readonly Right[] = Object.values(calls)

/** One rule for each resource, its verbs in the order of their first use. */
export function roleOf(namespace: string, needed: readonly Right[] = rights): Role {
  const byResource = Map.groupBy(needed, ({ apiGroup, resource }) => `${apiGroup}/${resource}`)
  const rules = [...byResource.values()].map((same) => ({
    apiGroups: [same[0]?.apiGroup ?? ''],
    resources: [same[0]?.resource ?? ''],
    verbs: [...new Set(same.map(({ verb }) => verb))],
  }))
  return { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata: { name: 'muster', namespace }, rules }
}

/** As a file for `kubectl apply -f`. */
export function roleText(role: Role): string {
  const list = (items: readonly string[]): string => `[${items.map((item) => JSON.stringify(item)).join(', ')}]`
  const rules = role.rules.map(
    ({ apiGroups, resources, verbs }) =>
      `- apiGroups: ${list(apiGroups)}\n  resources: ${list(resources)}\n  verbs: ${list(verbs)}`,
  )
  const { name, namespace } = role.metadata
  const head = [`apiVersion: ${role.apiVersion}`, 'kind: Role', `metadata: { name: ${name}, namespace: ${namespace} }`, 'rules:']
  return [...head, ...rules].join('\n')
}
