import { expect, test } from 'vitest'
import { createGate, type Gate, type Place } from './gate.ts'

/** Those that have gone, by name. */
function entered(gate: Gate): { went: string[]; enter: (name: string, free?: boolean) => Place } {
  const went: string[] = []
  return { went, enter: (name, free = false) => gate.enter(free, () => went.push(name)) }
}

test('as many go as there are places; the others wait in order, and go as places get free', () => {
  const gate = createGate(2)
  const { went, enter } = entered(gate)
  const places = ['a', 'b', 'c', 'd'].map((name) => enter(name))
  for (const place of places) place.start()
  expect([went, gate.waiting]).toEqual([['a', 'b'], 2])
  places[1]?.leave()
  expect([went, gate.waiting]).toEqual([['a', 'b', 'c'], 1])
  places[0]?.leave()
  places[2]?.leave()
  expect([went, gate.waiting]).toEqual([['a', 'b', 'c', 'd'], 0])
})

test('one that leaves while it waits, or before it started, never goes and frees no place', () => {
  const gate = createGate(1)
  const { went, enter } = entered(gate)
  const [first, waits, unstarted, last] = ['first', 'waits', 'unstarted', 'last'].map((name) => enter(name))
  first?.start()
  waits?.start()
  unstarted?.leave()
  unstarted?.start()
  waits?.leave()
  last?.start()
  expect([went, gate.waiting]).toEqual([['first'], 1])
  first?.leave()
  first?.leave()
  expect([went, gate.waiting]).toEqual([['first', 'last'], 0])
  enter('next').start()
  expect(gate.waiting).toBe(1)
})

test('one that needs no place goes at once, once', () => {
  const gate = createGate(1)
  const { went, enter } = entered(gate)
  enter('full').start()
  const free = enter('free', true)
  free.start()
  free.start()
  free.leave()
  const waits = enter('waits')
  waits.start()
  waits.start()
  expect([went, gate.waiting]).toEqual([['full', 'free'], 1])
})
