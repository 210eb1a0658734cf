import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { credentialMethods } from './credential-messages.ts'
import { jsonSchemas } from './json-schema.ts'
import { workerMethods } from './worker-messages.ts'

const folder = new URL('../../schema/', import.meta.url)

function references(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, part]) => (key === '$ref' ? [part as string] : references(part)))
}

function at(document: unknown, pointer: string): unknown {
  const keys = pointer.slice(2).split('/')
  return keys.reduce<unknown>(
    (value, key) => (value as Record<string, unknown>)[key.replaceAll('~1', '/').replaceAll('~0', '~')],
    document,
  )
}

describe('JSON Schemas in the package', () => {
  it('are current: `pnpm run schema` writes them', () => {
    const documents = jsonSchemas()
    expect(readdirSync(folder).toSorted()).toEqual(Object.keys(documents).toSorted())
    for (const [name, document] of Object.entries(documents))
      expect(JSON.parse(readFileSync(new URL(name, folder), 'utf8'))).toEqual(JSON.parse(JSON.stringify(document)))
  })

  it('say the same in the same order, whatever the order of the sources', () => {
    const { limits, $defs } = jsonSchemas()['wire.json'] as { limits: object; $defs: object }
    for (const part of [limits, $defs]) {
      expect(Object.keys(part).length).toBeGreaterThan(10)
      expect(Object.keys(part)).toEqual(Object.keys(part).toSorted())
    }
  })

  it('name every method, and every reference is there', () => {
    const wire = jsonSchemas()['wire.json'] as { methods: object }
    expect(Object.keys(wire.methods).toSorted()).toEqual(
      [
        'describe',
        'configure',
        'retire',
        'secret',
        ...Object.keys(workerMethods).map((name) => `worker.${name}`),
        ...Object.keys(credentialMethods).map((name) => `credential.${name}`),
      ].toSorted(),
    )
    const all = references(wire)
    expect(all.length).toBeGreaterThan(100)
    expect(all.filter((one) => typeof at(wire, one) !== 'object')).toEqual([])
  })
})
