import { expect, test } from 'vitest'

import { verdictOf } from './presence.ts'

const absent = { name: 'docker', absent: 'an engine of our own needs root' }

test('an absent system that nobody demands is a skip which says why', () => {
  const skip = 'needs docker, absent: an engine of our own needs root'
  expect(verdictOf(absent, '')).toEqual({ skip })
  expect(verdictOf(absent, 'dockers,registry')).toEqual({ skip })
})

test('an absent system that is demanded is a failure which says why', () => {
  const failure = 'MUSTER_TEST_REQUIRE names docker, but it is absent: an engine of our own needs root'
  expect(verdictOf(absent, 'registry, docker')).toEqual({ failure })
})
