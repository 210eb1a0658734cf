/** What another version of a plugin asks for and offers that the one before did not, as an operator reads it. Pure. */
import { isDeepStrictEqual } from 'node:util'
import type { JsonSchema, PluginManifest, PluginPermissions } from '@muster/core'

export interface Difference {
  /** `permissions.net`, `capabilities.exec`, `config.socket`, `contract`, `interpreter`, `secrets`, `limits.heapMb`. */
  path: string
  kind: 'added' | 'removed' | 'changed'
  /** As JSON, or the name itself. */
  before?: string
  after?: string
}

/** All of `after`, where there is nothing before. */
export function differences(before: PluginManifest | undefined, after: PluginManifest): Difference[] {
  return [
    ...lists('contract', before?.contract, after.contract),
    ...lists('interpreter', list(before?.interpreter), list(after.interpreter)),
    ...permissionDifferences(before?.permissions, after.permissions),
    ...lists('secrets', before?.secrets, after.secrets),
    ...values('capabilities', before?.capabilities, after.capabilities),
    ...values('limits', before?.limits, after.limits),
    // Of a plugin that is new, its schemas are its documentation.
    ...(before === undefined
      ? []
      : [...schemas('config', before.config, after.config), ...schemas('settings', before.settings, after.settings)]),
  ]
}

function permissionDifferences(before: PluginPermissions | undefined, after: PluginPermissions): Difference[] {
  const { childProcess: spawned = false, ...old } = before ?? { net: [], unix: [], fsRead: [], fsWrite: [], env: [] }
  const { childProcess, ...now } = after
  return [
    ...(Object.keys(now) as (keyof typeof now)[]).flatMap((key) => lists(`permissions.${key}`, old[key], now[key])),
    ...(spawned === childProcess ? [] : [changed('permissions.childProcess', spawned, childProcess)]),
  ]
}

/** Does it ask for more than before? Less needs nobody's consent. */
export function asksForMore(found: readonly Difference[]): boolean {
  return (
    found.some(
      ({ path, kind, after }) =>
        (path.startsWith('permissions.') || path === 'secrets' || path === 'interpreter') &&
        (kind === 'added' || (kind === 'changed' && after === 'true')),
    ) || found.some(({ path, before, after }) => path.startsWith('limits.') && Number(after) > Number(before ?? 0))
  )
}

function list(one: string | undefined): string[] {
  return one === undefined ? [] : [one]
}

function lists(path: string, before: readonly string[] = [], after: readonly string[]): Difference[] {
  return [
    ...before.filter((one) => !after.includes(one)).map((one): Difference => ({ path, kind: 'removed', before: one })),
    ...after.filter((one) => !before.includes(one)).map((one): Difference => ({ path, kind: 'added', after: one })),
  ]
}

function values(path: string, before: object | undefined, after: object): Difference[] {
  const [old, now] = [before ?? {}, after].map((one) => new Map<string, unknown>(Object.entries(one))) as [
    Map<string, unknown>,
    Map<string, unknown>,
  ]
  return [...new Set([...old.keys(), ...now.keys()])].flatMap((key) => {
    const [left, right] = [old.get(key), now.get(key)]
    if (isDeepStrictEqual(left, right) || (before === undefined && isNothing(right))) return []
    return [changed(`${path}.${key}`, left, right)]
  })
}

/** What is not offered need not be told of something new. */
function isNothing(value: unknown): boolean {
  return value === false || value === null || (Array.isArray(value) && value.length === 0)
}

function changed(path: string, before: unknown, after: unknown): Difference {
  const kind = before === undefined ? 'added' : after === undefined ? 'removed' : 'changed'
  return {
    path,
    kind,
    ...(before === undefined ? {} : { before: JSON.stringify(before) }),
    ...(after === undefined ? {} : { after: JSON.stringify(after) }),
  }
}

/** Property by property, as deep as they nest; whatever else a schema says is compared as a whole. */
function schemas(path: string, before: JsonSchema, after: JsonSchema): Difference[] {
  const { properties: old, ...around } = before
  const { properties: now, ...aroundNow } = after
  const own = isDeepStrictEqual(around, aroundNow) ? [] : [changed(path, brief(around), brief(aroundNow))]
  const [left, right] = [old, now].map((one) => new Map(Object.entries((one ?? {}) as Record<string, JsonSchema>))) as [
    Map<string, JsonSchema>,
    Map<string, JsonSchema>,
  ]
  const inner = [...new Set([...left.keys(), ...right.keys()])].flatMap((key): Difference[] => {
    const [one, other] = [left.get(key), right.get(key)]
    if (one === undefined || other === undefined)
      return [{ path: `${path}.${key}`, kind: one === undefined ? 'added' : 'removed' }]
    return schemas(`${path}.${key}`, one, other)
  })
  return [...own, ...inner]
}

/** What changes what may be written; descriptions do not. */
function brief({ description: _description, title: _title, ...schema }: JsonSchema): JsonSchema {
  return schema
}
