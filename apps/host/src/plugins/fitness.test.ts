import { expect, test } from 'vitest'
import { isVendors } from './blame.ts'
import { fitnessOf } from './fitness.ts'

function watched(): { told: string[]; fitness: ReturnType<typeof fitnessOf> } {
  const told: string[] = []
  return { told, fitness: fitnessOf((reason) => told.push(reason)) }
}
const crash = { violated: false, said: ['Error: a bug'] }

test('five failed starts in a row are too many, and each further one is told', () => {
  const { told, fitness } = watched()
  for (let n = 1; n <= 4; n++) fitness.failed(`start ${n}`)
  expect([told, fitness.isUnfit()]).toEqual([[], false])
  fitness.failed('start 5')
  fitness.failed('start 6')
  expect([told, fitness.isUnfit()]).toEqual([['start 5', 'start 6'], true])
  fitness.renew()
  expect(fitness.isUnfit()).toBe(false)
})

test('one that was well falls by what it was asked, not by its start; it begins anew', () => {
  const { told, fitness } = watched()
  for (let n = 0; n < 9; n++) {
    fitness.well()
    fitness.ended('it fell', crash)
  }
  for (let n = 0; n < 4; n++) fitness.failed('it crashed')
  fitness.well()
  fitness.ended('it fell', crash)
  for (let n = 0; n < 4; n++) fitness.ended('it fell before it was well', crash)
  expect(told).toEqual([])
  fitness.ended('it fell before it was well', crash)
  expect(told).toEqual(['it fell before it was well'])
})

test('what would come again is told at once: a lie, and a violation before it was well', () => {
  const lie = watched()
  lie.fitness.failed('it lies', { final: true })
  expect(lie.told).toEqual(['it lies'])
  const violation = watched()
  violation.fitness.ended('it broke the protocol', { violated: true, said: [] })
  expect(violation.told).toEqual(['it broke the protocol'])
})

test('what falls over its vendor is no failed start, however often', () => {
  const { told, fitness } = watched()
  for (let n = 0; n < 20; n++) fitness.ended('it fell', { violated: false, said: ['Error: connect ECONNREFUSED 10.0.0.1:443'] })
  expect([told, fitness.isUnfit()]).toEqual([[], false])
})

test.each([
  'connect ECONNREFUSED /var/run/docker.sock',
  'getaddrinfo ENOTFOUND api.cloud.example',
  'TypeError: fetch failed',
  'connect ENOENT: no such file, /run/podman.sock',
  'Request timed out',
  'HTTP 401: the token is not valid',
  'AccessDenied: not allowed to list instances',
  'Could not load credentials from any providers',
  '503 Service Unavailable',
  'self-signed certificate in certificate chain',
])('the vendor is away or refuses: %s', (line) => {
  expect(isVendors(['    at start (plugin.js:1:1)', line])).toBe(true)
})

test.each([
  'TypeError: undefined is not a function',
  'out of luck',
  'RangeError: Invalid array length',
  'it ended by itself (exit 3)',
])('nobody but the plugin: %s', (line) => {
  expect(isVendors([line])).toBe(false)
})
