/** The least rights that the plugin needs, made from the calls that it makes. Pure. */
import type { Right } from './api/calls.ts'
import { rights } from './client.ts'

export interface Role {
  apiVersion: 'rbac.authorization.k8s.io/v1'
  kind: 'Role'
  metadata: { name: string; namespace: string }
  rules: { apiGroups: string[]; resources: string[]; verbs: string[] }[]
}

/** One rule for each resource. */
export function roleOf(namespace: string, needed: readonly Right[] = rights, name = 'muster'): Role {
  const byResource = Map.groupBy(needed, ({ group, resource }) => `${group}/${resource}`)
  const rules = [...byResource.values()].map((same) => ({
    apiGroups: [same[0]?.group ?? ''],
    resources: [same[0]?.resource ?? ''],
    verbs: same.map(({ verb }) => verb),
  }))
  return { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata: { name, namespace }, rules }
}

/** As a file for `kubectl apply -f`. */
export function roleText(role: Role): string {
  const list = (items: readonly string[]): string => `[${items.map((item) => `'${item}'`).join(', ')}]`
  const rules = role.rules.map(
    ({ apiGroups, resources, verbs }) =>
      `  - apiGroups: ${list(apiGroups)}\n    resources: ${list(resources)}\n    verbs: ${list(verbs)}`,
  )
  const { name, namespace } = role.metadata
  const head = [`apiVersion: ${role.apiVersion}`, `kind: ${role.kind}`, `metadata: { name: ${name}, namespace: ${namespace} }`]
  return [...head, 'rules:', ...rules].join('\n')
}
